//! One export in the forms of the shell: `ConvertTo-Json`, `Export-Clixml` and `Format-List`.

use super::*;
use crate::read::{ExportError, exchange};

const JSON: &str = include_str!("exports/connectors.json");
const CLIXML: &str = include_str!("exports/connectors.xml");
const LIST: &str = include_str!("exports/connectors.list.txt");
const ACCESS_LIST: &str = include_str!("exports/permissions.list.txt");

fn read(text: &str) -> ExportedObjects {
    exchange(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn all_forms_give_the_same_objects_and_the_same_configuration() {
    let json = read(JSON);
    assert_eq!(json.objects.len(), 2);
    for text in [CLIXML, LIST] {
        let other = read(text);
        assert_eq!(other.objects.len(), 2);
        for (json, other) in json.objects.iter().zip(&other.objects) {
            for ExportedProperty { name, values } in &json.properties {
                assert_eq!(other.values(name), values, "{name}");
            }
            assert_eq!((other.kind, other.properties.len()), (json.kind, json.properties.len()));
        }
        // The order of keys is that of the file, and JSON has none.
        let lines = |exported: &ExportedObjects| {
            let mut lines: Vec<_> = imported(exported).text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&other), lines(&json));
    }
    // As the redirection of the shell writes it.
    let units = LIST.replace('\n', "\r\n");
    let utf16: Vec<u8> =
        [0xfeff].into_iter().chain(units.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(exchange(&utf16).unwrap().objects[1].values("RemoteIPRanges").len(), 3);
}

#[test]
fn an_access_list_with_empty_lines_between_its_lines() {
    let access = read(ACCESS_LIST).access;
    let rows: Vec<_> =
        access.iter().map(|row| (row.account.as_str(), row.kind, row.origin)).collect();
    let expected = [
        (ANONYMOUS, AccessKind::Allow, AccessOrigin::Own),
        ("NT AUTHORITY\\Authenticated Users", AccessKind::Deny, AccessOrigin::Inherited),
    ];
    assert_eq!(rows, expected);
    assert_eq!(
        (access[0].rights[0].as_str(), access[0].connector.as_str()),
        (ANY_RECIPIENT, "EX01\\Scanners")
    );
}

#[test]
fn a_cut_list_is_refused_with_its_name() {
    for (from, to) in [
        ("10.5.0.10-\n                                   10.5.0.40}", "10.5.0.10...}"),
        ("10.5.0.10-\n                                   10.5.0.40}", "10.5.0.10…}"),
        ("10.5.0.10-\n                                   10.5.0.40}", "10.5.0.1"),
    ] {
        let cut = LIST.replace(from, to);
        assert_ne!(cut, LIST);
        let error = exchange(cut.as_bytes()).unwrap_err();
        let is_cut = matches!(&error, ExportError::Cut { number: 2, property } if property == "RemoteIPRanges");
        assert!(is_cut, "{error}");
    }
}

#[test]
fn what_is_no_export_is_an_error() {
    let of = |text: &str| exchange(text.as_bytes()).unwrap_err();
    assert!(matches!(of("Name : x\nnot a property\n"), ExportError::UnknownFormat { line: 2 }));
    assert!(matches!(of("   Name : x\n"), ExportError::UnknownFormat { line: 1 }));
    assert!(matches!(of("<html></html>"), ExportError::NotClixml(_)));
    assert!(matches!(of("<Objs>"), ExportError::NotXml(_)));
    let bomb = "<!DOCTYPE a [<!ENTITY b \"b\">]><Objs>&b;</Objs>";
    assert!(matches!(of(bomb), ExportError::NotXml(_)));
    // A circle of references, and a value that is a binary object.
    let ranges =
        |value: &str| format!("<Objs><Obj RefId=\"0\"><Props>{value}</Props></Obj></Objs>");
    // Each level names the next one a thousand times.
    let level = |id: usize| {
        let next = format!("<Ref RefId=\"{}\" />", id + 1).repeat(1000);
        format!("<Obj N=\"L{id}\" RefId=\"{id}\"><LST>{next}</LST></Obj>")
    };
    let multiplied: String = (2..9).map(level).collect();
    let multiplied = format!(
        "<Obj N=\"RemoteIPRanges\" RefId=\"1\"><LST><Ref RefId=\"2\" /></LST></Obj>{multiplied}"
    );
    for value in [
        "<Obj N=\"RemoteIPRanges\" RefId=\"1\"><LST><Ref RefId=\"1\" /></LST></Obj>",
        "<Obj N=\"RemoteIPRanges\" RefId=\"1\"><LST><Ref RefId=\"7\" /></LST></Obj>",
        "<BA N=\"RemoteIPRanges\">AAEA</BA>",
        &multiplied,
    ] {
        let error = of(&ranges(value));
        assert!(matches!(error, ExportError::UnknownForm { .. }), "{value}: {error}");
    }
}
