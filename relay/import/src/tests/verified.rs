//! The verification finds nothing in a correct import, and each mistake in a wrong one.

use super::*;

fn verified(exported: &ExportedObjects, imported: &Imported, text: &str) -> Verification {
    let config =
        Config::parse(text, "relay.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    verify(exported, &config, &imported.names, None).unwrap()
}

#[test]
fn a_correct_import_has_no_difference() {
    let mut exported = typical();
    exported.access.push(row(
        "Scanners",
        ANONYMOUS,
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        AccessKind::Deny,
    ));
    let imported = imported(&exported);
    let verification = verified(&exported, &imported, &imported.text);
    assert_eq!(verification.differences, []);
    // Three bindings; random addresses of small ranges coincide.
    assert!(verification.addresses > 3 * 3000, "{}", verification.addresses);
    assert!(verification.questions > 5 * verification.addresses, "{}", verification.questions);
}

/// One mutation of the mapping for each question.
#[test]
fn each_mistake_of_the_mapping_is_a_difference() {
    let exported = typical();
    let imported = imported(&exported);
    for (from, to, question) in [
        ("\"10.4.9.0/24\"", "\"10.4.9.0-10.4.9.254\"", "connector"),
        ("\"10.4.9.0/24\"", "\"10.4.9.0-10.4.10.0\"", "connector"),
        ("\"10.4.8.20\", ", "", "connector"),
        ("name = \"Scanners\"\n", "name = \"Scanners\"\nenabled = false\n", "connector"),
        (
            "anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"]",
            "anonymous = []",
            "may relay to any recipient",
        ),
        (
            "Accept-Any-Recipient\"] }",
            "Accept-Any-Recipient\"] }\ndenies = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Sender\"] }",
            "accepts any sender",
        ),
        (
            "Accept-Any-Recipient\"] }",
            "Accept-Any-Recipient\"] }\ndenies = { anonymous = [\"ms-Exch-SMTP-Accept-Authoritative-Domain-Sender\"] }",
            "accepts an authoritative sender",
        ),
        ("max_message_size = \"10 MB\"", "max_message_size = \"11 MB\"", "size limit"),
        ("max_message_size = \"10 MB\"\n", "", "size limit"),
        (
            "\"ExternalAuthoritative\"]\npermission_groups = [\"ExchangeServers\"]",
            "\"ExternalAuthoritative\"]\npermission_groups = [\"ExchangeServers\"]\ndenies = { externally-secured = [\"ms-Exch-Bypass-Message-Size-Limit\"] }",
            "size limit",
        ),
        (", \"BasicAuthRequireTLS\"", "", "logon of users"),
        (
            "permission_groups = [\"ExchangeUsers\"]",
            "permission_groups = [\"ExchangeUsers\"]\ndenies = { user = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }",
            "a user may relay to any recipient",
        ),
    ] {
        assert!(imported.text.contains(from), "{from}\n{}", imported.text);
        let verification = verified(&exported, &imported, &imported.text.replacen(from, to, 1));
        assert!(verification.different > 0, "{to}");
        let found = verification.differences.iter().any(|it| it.question == question);
        assert!(found, "{to}: {:?}", verification.differences.first());
    }
}

/// Each server is compared with the one configuration that replaces both.
#[test]
fn a_second_server_with_other_rights_is_a_difference() {
    let mut exported = ExportedObjects { objects: vec![receive(SECURED)], access: vec![] };
    let other = SECURED.replace("EX01", "EX02").replace("10.6.0.15", "10.6.0.16");
    exported.objects.push(receive(&other));
    let imported = imported(&exported);
    let verification = verified(&exported, &imported, &imported.text);
    let clients: Vec<_> = verification
        .differences
        .iter()
        .map(|it| (it.server.as_deref(), it.client.to_string()))
        .collect();
    let expected = [(Some("EX01"), "10.6.0.16".to_owned()), (Some("EX02"), "10.6.0.15".to_owned())];
    assert_eq!(clients, expected);
}
