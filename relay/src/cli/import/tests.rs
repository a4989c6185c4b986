//! The commands of docs/from-exchange.md, in order.

use std::path::Path;

use clap::Parser;
use serde_json::Value;

use super::super::{Arguments, run};
use super::*;

const CONNECTORS: &str = r#"[
  {"Name": "Default Frontend EX01", "Server": "EX01", "Enabled": true,
   "Bindings": ["[::]:25", "0.0.0.0:25"],
   "RemoteIPRanges": ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0-255.255.255.255"],
   "AuthMechanism": 31, "PermissionGroups": 13, "TransportRole": 16384,
   "ConnectionTimeout": "00:10:00", "MaxMessageSize": "36 MB (37,748,736 bytes)"},
  {"Name": "Scanners", "Server": "EX01", "Enabled": true, "Bindings": ["0.0.0.0:25"],
   "RemoteIPRanges": ["10.4.9.0/24"], "AuthMechanism": 0, "PermissionGroups": 33,
   "TransportRole": 16384}
]"#;

const PERMISSIONS: &str = r#"{"Identity": "EX01\\Scanners", "User": "NT AUTHORITY\\ANONYMOUS LOGON",
  "Deny": false, "IsInherited": false, "ExtendedRights": ["ms-Exch-SMTP-Accept-Any-Recipient"]}"#;

const DOMAINS: &str = r#"{"Name": "Contoso", "DomainName": "contoso.example",
  "DomainType": "Authoritative", "MatchSubDomains": false}"#;

/// The exported files of the page, in a directory of their own.
fn exported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("connectors.json", CONNECTORS),
        ("permissions.json", PERMISSIONS),
        ("domains.json", DOMAINS),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs a command line; the page's file names are in `folder`.
fn relay(line: &str, folder: &Path) -> (Outcome, String, String) {
    let words = line.split_whitespace().map(|word| {
        let is_file = [".json", ".toml"].iter().any(|end| word.ends_with(end));
        if is_file { folder.join(word).display().to_string() } else { word.to_owned() }
    });
    // The default output is in the working directory, which is not this test's.
    let output = (!line.contains("--output") && line.contains("import"))
        .then(|| format!("--output={}", folder.join("relay.toml").display()));
    let arguments =
        Arguments::try_parse_from(["relay".to_owned()].into_iter().chain(words).chain(output));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console =
        Console { out: &mut out, err: &mut err, terminal: None, in_is_terminal: false };
    let outcome = match run(arguments.unwrap().command, &mut console) {
        Ok(outcome) => outcome,
        Err(error) => {
            writeln!(console.err, "{error:#}").unwrap();
            Outcome::Unusable
        }
    };
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn each_command_of_the_page_does_what_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/from-exchange.md");
    let page = fs::read_to_string(page).unwrap();
    let commands: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("$ relay ")).collect();
    let [dry_run, import, explain, connectors] = &commands[..] else { panic!("{commands:?}") };
    let folder = exported();
    let file = folder.path().join("relay.toml");

    let (outcome, out, err) = relay(dry_run, folder.path());
    assert_eq!((outcome, err.as_str(), file.exists()), (Outcome::Yes, "", false));
    assert!(out.contains("[[connector]]") && out.contains("taken over"), "{out}");

    let (outcome, out, _) = relay(import, folder.path());
    assert_eq!(outcome, Outcome::Yes, "{out}");
    let verified = out.lines().find(|line| line.starts_with("verified: ")).unwrap();
    assert!(verified.ends_with(", 0 differences"), "{verified}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);

    let (outcome, out, _) = relay(explain, folder.path());
    assert_eq!(outcome, Outcome::Yes, "{out}");
    assert!(out.contains("connector  Scanners"), "{out}");
    let (outcome, out, _) = relay(&explain.replace("10.4.9.7", "10.4.10.7"), folder.path());
    assert_eq!(outcome, Outcome::No, "{out}");
    assert!(out.contains("550 5.7.54"), "{out}");
    assert_eq!(relay(connectors, folder.path()).0, Outcome::Yes);

    // A second import would overwrite connectors.
    let before = fs::read_to_string(&file).unwrap();
    let (outcome, _, err) = relay(import, folder.path());
    assert_eq!(outcome, Outcome::Unusable);
    assert!(err.contains("nothing was written") && err.contains("\"Scanners\""), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

/// What the page says about a file that exists, and about one that would be refused.
#[test]
fn an_existing_file_has_a_backup_and_a_refused_result_is_not_written() {
    let folder = exported();
    let file = folder.path().join("relay.toml");
    let other =
        "# ours\nhostname = \"edge2.contoso.example\"\n[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n";
    fs::write(&file, other).unwrap();
    let line = "import exchange connectors.json permissions.json domains.json --json";
    let (outcome, out, _) = relay(line, folder.path());
    assert_eq!(outcome, Outcome::Yes, "{out}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["written"], true);
    let backup = json["backup"].as_str().unwrap();
    assert!(backup.ends_with("relay.toml.before-import"));
    assert_eq!(fs::read_to_string(backup).unwrap(), other);
    assert!(fs::read_to_string(&file).unwrap().starts_with(other));

    // The same range on one binding in two connectors.
    let twice = CONNECTORS.replace("10.4.9.0/24", "0.0.0.0-255.255.255.255");
    fs::write(folder.path().join("connectors.json"), twice).unwrap();
    fs::remove_file(&file).unwrap();
    let line = "import exchange connectors.json --hostname edge1.contoso.example";
    let (outcome, out, err) = relay(line, folder.path());
    assert_eq!((outcome, file.exists()), (Outcome::Unusable, false));
    assert!(err.contains("is also a range of") && out.contains("DANGER"), "{err}{out}");
}
