//! Exports as files.

use super::*;
use crate::read::{ExportError, exchange};

const CONNECTOR: &str = r#"{
  "Name": "Scanners", "Identity": {"RawIdentity": "EX01\\Scanners"}, "Server": "EX01",
  "Bindings": ["0.0.0.0:25"],
  "RemoteIPRanges": [
    {"LowerBound": "10.4.9.0", "UpperBound": "10.4.9.255", "Size": {"High": 0}},
    {"Expression": "10.4.8.20"}
  ],
  "AuthMechanism": 15, "PermissionGroups": 33, "TransportRole": 16384, "Enabled": true,
  "MessageRateLimit": {"IsUnlimited": true},
  "MaxMessageSize": "36 MB (37,748,736 bytes)",
  "ConnectionTimeout": {"Days": 1, "TotalSeconds": 86461.0},
  "TlsCertificateName": null,
  "ObjectCategory": {"Parent": {"Depth": 3}}
}"#;

#[test]
fn one_connector_in_the_forms_of_json() {
    let exported = exchange(CONNECTOR.as_bytes()).unwrap();
    let connector = &exported.objects[0];
    for (property, values) in [
        ("Identity", &["EX01\\Scanners"][..]),
        ("RemoteIPRanges", &["10.4.9.0-10.4.9.255", "10.4.8.20"]),
        ("AuthMechanism", &["Tls, Integrated, BasicAuth, BasicAuthRequireTLS"]),
        ("PermissionGroups", &["AnonymousUsers, Custom"]),
        ("TransportRole", &["FrontendTransport"]),
        ("Enabled", &["True"]),
        ("MessageRateLimit", &["Unlimited"]),
        ("ConnectionTimeout", &["1.00:01:01"]),
        ("TlsCertificateName", &[]),
    ] {
        assert_eq!(connector.values(property), values, "{property}");
    }
    assert_eq!(connector.kind, ObjectKind::ReceiveConnector);
    // The default encoding of a redirection in PowerShell.
    let utf16: Vec<u8> =
        [0xfeff].into_iter().chain(CONNECTOR.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert_eq!(exchange(&utf16).unwrap().objects.len(), 1);
}

#[test]
fn entries_of_the_access_list_and_other_objects() {
    let text = r#"[
      {"Identity": "EX01\\Scanners", "User": "S-1-5-7", "Deny": true, "IsInherited": true,
       "ExtendedRights": [{"RawIdentity": "ms-Exch-SMTP-Submit"}]},
      {"DomainName": "contoso.example", "DomainType": 0},
      {"Name": "out", "AddressSpaces": ["smtp:*;1"]},
      {"ExternalPostmasterAddress": null}
    ]"#;
    let exported = exchange(text.as_bytes()).unwrap();
    let row = &exported.access[0];
    assert_eq!((row.kind, row.origin), (AccessKind::Deny, AccessOrigin::Inherited));
    assert_eq!(
        (row.rights[0].as_str(), row.connector.as_str()),
        ("ms-Exch-SMTP-Submit", "EX01\\Scanners")
    );
    let kinds: Vec<_> = exported.objects.iter().map(|object| object.kind).collect();
    let expected =
        [ObjectKind::AcceptedDomain, ObjectKind::SendConnector, ObjectKind::TransportConfig];
    assert_eq!(kinds, expected);
    assert_eq!(exported.objects[0].text("DomainType"), Some("Authoritative"));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let of = |text: &str| exchange(text.as_bytes()).unwrap_err();
    assert!(matches!(of("{"), ExportError::NotJson(_)));
    assert!(matches!(of("[1]"), ExportError::UnknownObject { number: 1 }));
    assert!(matches!(of("{\"Name\": \"mailbox\"}"), ExportError::UnknownObject { number: 1 }));
    let cut =
        CONNECTOR.replace("\"Expression\": \"10.4.8.20\"", "\"Expression\": \"10.4.8.20...\"");
    assert!(matches!(of(&cut), ExportError::Cut { property, .. } if property == "RemoteIPRanges"));
    for (from, to, wanted) in [
        ("\"AuthMechanism\": 15", "\"AuthMechanism\": 4096", "AuthMechanism"),
        ("{\"Expression\": \"10.4.8.20\"}", "{\"Depth\": 1}", "RemoteIPRanges"),
    ] {
        let error = of(&CONNECTOR.replace(from, to));
        assert!(matches!(error, ExportError::UnknownForm { property, .. } if property == wanted));
    }
    assert!(matches!(exchange(&[0xff, 0xfe, 0x00]).unwrap_err(), ExportError::NotText));
    assert!(matches!(exchange(&[0xc3]).unwrap_err(), ExportError::NotText));
}

/// A denial that is read as a permission would open the relay.
#[test]
fn an_entry_whose_effect_cannot_be_read_is_refused() {
    let of = |deny: &str, right: &str| {
        let text = format!(
            "{{\"Identity\": \"EX01\\\\Scanners\", \"User\": \"S-1-5-7\", {deny} \
             \"ExtendedRights\": [{right}]}}"
        );
        exchange(text.as_bytes())
    };
    let right = "\"ms-Exch-SMTP-Accept-Any-Recipient\"";
    assert!(of("\"Deny\": false,", right).is_ok());
    for deny in ["", "\"Deny\": null,", "\"Deny\": {\"IsPresent\": true},", "\"Deny\": \"?\","] {
        let error = of(deny, right).unwrap_err();
        let is_deny =
            matches!(&error, ExportError::UnknownForm { property, .. } if property == "Deny");
        assert!(is_deny, "{deny}: {error}");
    }
    let error = of("\"Deny\": false,", "{\"Depth\": 1}").unwrap_err();
    assert!(
        matches!(&error, ExportError::UnknownForm { property, .. } if property == "ExtendedRights")
    );
}

#[test]
fn a_file_is_replaced_with_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    assert_eq!(replace(&path, "one").unwrap(), None);
    let backup = replace(&path, "two").unwrap().unwrap();
    let second = replace(&path, "three").unwrap().unwrap();
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        (text(&path), text(&backup), text(&second)),
        ("three".into(), "one".into(), "two".into())
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    assert!(replace(&folder.path().join("nowhere/relay.toml"), "x").is_err());
}
