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

/// Exports at random: every one that the daemon would load grants what Exchange granted.
#[test]
fn random_exports_have_no_difference() {
    const GROUPS: &[&str] = &[
        "AnonymousUsers",
        "ExchangeUsers",
        "ExchangeServers",
        "ExchangeLegacyServers",
        "Partners",
    ];
    const AUTHS: &[&str] = &[
        "None",
        "Tls",
        "Tls, Integrated",
        "Tls, BasicAuth",
        "Tls, BasicAuth, BasicAuthRequireTLS",
        "Tls, Integrated, BasicAuth, BasicAuthRequireTLS, ExchangeServer",
        "Tls, ExternalAuthoritative",
        "ExternalAuthoritative",
    ];
    const ACCOUNTS: &[&str] = &[
        ANONYMOUS,
        "NT-AUTORITÄT\\ANONYMOUS-ANMELDUNG",
        "NT AUTHORITY\\Authenticated Users",
        "MS Exchange\\Externally Secured Servers",
        "Everyone",
        "CONTOSO\\scanner",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut loaded = 0;
    for round in 0..150 {
        let mut exported = ExportedObjects::default();
        exported.objects.push(domain("contoso.example", "Authoritative"));
        for index in 0..random.usize(1..6) {
            let groups: Vec<_> = GROUPS.iter().filter(|_| random.bool()).copied().collect();
            let groups = if groups.is_empty() { "None".to_owned() } else { groups.join(", ") };
            let ranges: Vec<_> = (0..random.usize(1..4))
                .map(|part| match random.u8(0..3) {
                    0 => format!("10.{index}.{part}.{}", random.u8(1..)),
                    1 => format!("10.{index}.{part}.9/{}", random.u8(24..=32)),
                    _ => format!("10.{index}.{part}.{}-10.{index}.{part}.200", random.u8(..200)),
                })
                .collect();
            let name = format!("C{index}");
            exported.objects.push(receive(&format!(
                "Name: {name}\nServer: EX01\nBindings: {{0.0.0.0:{}}}\nRemoteIPRanges: {{{}}}\n\
                 AuthMechanism: {}\nPermissionGroups: {groups}\nMaxMessageSize: {} KB\n\
                 Enabled: {}\nRequireTLS: {}",
                if random.bool() { 25 } else { 587 },
                if random.u8(0..4) == 0 { "0.0.0.0/0".to_owned() } else { ranges.join(", ") },
                random.choice(AUTHS).unwrap(),
                random.u32(64..100_000),
                if random.u8(0..5) == 0 { "False" } else { "True" },
                if random.u8(0..5) == 0 { "True" } else { "False" },
            )));
            for _ in 0..random.usize(0..5) {
                let kind = if random.bool() { AccessKind::Allow } else { AccessKind::Deny };
                let permission = random.choice(relay_connector::Permission::ALL).unwrap();
                let account = random.choice(ACCOUNTS).unwrap();
                exported.access.push(row(&name, account, permission.name(), kind));
            }
        }
        let Ok(imported) = import(&exported, None, "relay.toml", &options()) else { continue };
        if imported.refusals.is_some() {
            continue;
        }
        loaded += 1;
        let verification = verified(&exported, &imported, &imported.text);
        assert_eq!(verification.differences.first(), None, "round {round}\n{}", imported.text);
    }
    assert!(loaded >= 60, "{loaded}");
}
