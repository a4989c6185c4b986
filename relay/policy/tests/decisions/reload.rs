//! Values that a reload keeps.

use super::*;

#[test]
fn a_reload_keeps_the_ids_of_names() {
    let parse = |names: &[&str]| {
        let connectors: String = names
            .iter()
            .enumerate()
            .map(|(number, name)| {
                format!(
                    "[[connector]]\nname = \"{name}\"\nbindings = [\"0.0.0.0:25\"]\n\
                     remote_ip_ranges = [\"10.0.0.{number}\"]\n"
                )
            })
            .collect();
        let head = "hostname = \"edge1\"\ndelivery.smart_host = \"127.0.0.1:2626\"\n";
        Config::parse(&format!("{head}{connectors}"), "relay.toml").unwrap()
    };
    let mut ids = ConnectorIds::default();
    let before = parse(&["a", "b"]).rules(&mut ids, 1).unwrap();
    let after = parse(&["c", "b"]).rules(&mut ids, 2).unwrap();
    let of = |rules: &Rules, remote: &str| {
        let found = rules.table.classify("10.9.9.9:25".parse().unwrap(), remote.parse().unwrap());
        match found {
            TableMatch::Connector { connector, .. } => {
                (connector.0, rules.connector(connector).unwrap().name.clone())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of(&before, "10.0.0.0"), (1, "a".to_owned()));
    assert_eq!(of(&before, "10.0.0.1"), (2, "b".to_owned()));
    assert_eq!(of(&after, "10.0.0.0"), (3, "c".to_owned()));
    assert_eq!(of(&after, "10.0.0.1"), (2, "b".to_owned()));
    assert_eq!((before.generation, after.generation), (1, 2));
}
