//! The text and the report of an import.

use relay_connector::{MessageRateSource, Permission, PermissionGroup, Principal};

use super::*;
use crate::properties::RECEIVE_CONNECTOR;

#[test]
fn a_typical_server_becomes_a_sound_configuration() {
    let imported = imported(&typical());
    let config = config(&imported);
    let connector = |name: &str| {
        config.connectors().iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name}"))
    };
    let frontend = connector("Default Frontend EX01");
    // Users have no rights on it, so BasicAuth would never succeed; a relay has no Kerberos.
    assert!(frontend.auth_mechanism.tls && frontend.auth_mechanism.basic_auth.is_none());
    assert!(!frontend.auth_mechanism.exchange_server && !frontend.encryption.domain_secure_enabled);
    assert_eq!(
        frontend.permission_groups.iter().collect::<Vec<_>>(),
        [PermissionGroup::AnonymousUsers]
    );
    assert_eq!(frontend.fqdn, "edge1.contoso.example");
    let scanners = connector("Scanners");
    let may = |permission| scanners.permissions(Principal::Anonymous).contains(permission);
    assert!(may(Permission::AcceptAnyRecipient) && !may(Permission::BypassAntiSpam));
    assert_eq!(scanners.limits.max_message_size, 10 << 20);
    assert!(scanners.limits.tarpit_interval.is_zero());
    assert_eq!(scanners.remote_ip_ranges.len(), 3);
    assert_eq!(connector("Applications").principal(), Principal::ExternallySecured);
    let clients = connector("Client Frontend EX01");
    assert_eq!(clients.limits.message_rate_limit, Some(5));
    assert_eq!(clients.limits.message_rate_source, MessageRateSource::User);
    assert!(config.accepted_domains.covering("sub.fabrikam.example").is_some());
    assert!(config.accepted_domains.covering("sub.contoso.example").is_none());
}

/// Every property of section 2, and every one that this version does not know, is reported once.
#[test]
fn every_property_is_reported_once() {
    let mut text = String::new();
    for (name, _) in
        RECEIVE_CONNECTOR.iter().chain([&("NewInVersion16", properties::Meaning::Special)])
    {
        let value = match *name {
            "Name" => "All",
            "Bindings" => "{0.0.0.0:25}",
            "RemoteIPRanges" => "{10.0.0.0/8}",
            "AuthMechanism" => "Tls",
            "PermissionGroups" => "AnonymousUsers",
            "Banner" => "220 ready",
            "TarpitInterval" => "00:00:01",
            _ => "",
        };
        text.push_str(&format!("{name}: {value}\n"));
    }
    let exported = ExportedObjects { objects: vec![receive(&text)], access: Vec::new() };
    let imported = imported(&exported);
    config(&imported);
    let report = report(&imported, "All");
    for (name, _) in RECEIVE_CONNECTOR {
        fate(report, name);
    }
    assert_eq!(report.properties.len(), RECEIVE_CONNECTOR.len() + 1);
    assert_eq!(fate(report, "SuppressXAnonymousTls"), Fate::Meaningless);
    assert_eq!(fate(report, "TarpitInterval"), Fate::TakenOver);
}

/// The table knows every property that the documentation of Exchange's rules lists.
#[test]
fn the_table_has_every_parameter_of_the_document() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/exchange-parameters.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut count = 0;
    for (name, _) in rows {
        count += 1;
        let is_known = RECEIVE_CONNECTOR.iter().any(|(known, _)| *known == name);
        assert!(is_known, "{name}");
    }
    assert!(count > 60, "{count}");
}

#[test]
fn an_unknown_property_stays_as_a_comment() {
    let text = format!(
        "{SCANNERS}\nNewInVersion16: 42\nComment: printers\nDefaultDomain: contoso.example"
    );
    let exported = ExportedObjects { objects: vec![receive(&text)], ..typical() };
    let imported = imported(&exported);
    assert_eq!(config(&imported).connectors()[0].comment, "printers");
    let report = report(&imported, "Scanners");
    for property in ["NewInVersion16", "DefaultDomain", "Identity"] {
        assert_eq!(fate(report, property), Fate::Reference, "{property}");
        assert!(imported.text.contains(&format!("# {property} = ")), "{}", imported.text);
    }
}

#[test]
fn a_denial_wins_over_groups_and_grants() {
    let rows = vec![
        row("Scanners", ANONYMOUS, ANY_RECIPIENT, AccessKind::Allow),
        row("Scanners", "NT-AUTORITÄT\\ANONYMOUS-ANMELDUNG", ANY_RECIPIENT, AccessKind::Deny),
        row(
            "Scanners",
            "S-1-5-7",
            "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
            AccessKind::Deny,
        ),
        row("Scanners", ANONYMOUS, "ms-Exch-SMTP-Submit", AccessKind::Allow),
        row("Scanners", ANONYMOUS, "ms-Exch-Bypass-Anti-Spam", AccessKind::Allow),
        row("Scanners", ANONYMOUS, "ms-Exch-SMTP-Accept-XShadow", AccessKind::Allow),
        row("Scanners", "CONTOSO\\scanner", ANY_RECIPIENT, AccessKind::Allow),
        row("EX02\\Scanners", ANONYMOUS, "ms-Exch-Bypass-Message-Size-Limit", AccessKind::Allow),
    ];
    let exported = ExportedObjects { objects: vec![receive(SCANNERS)], access: rows };
    let imported = imported(&exported);
    let config = config(&imported);
    let permissions = config.connectors()[0].permissions(Principal::Anonymous);
    let expected = [
        Permission::Submit,
        Permission::AcceptAnySender,
        Permission::BypassAntiSpam,
        Permission::AcceptHeadersRouting,
    ];
    assert_eq!(permissions.iter().collect::<Vec<_>>(), expected);
    let fates: Vec<_> =
        report(&imported, "Scanners").rights.iter().map(|right| right.fate).collect();
    let expected = [
        Fate::TakenOver,   // denies
        Fate::TakenOver,   // denies
        Fate::Changed,     // the grant that is denied
        Fate::TakenOver,   // Submit: the group gives it
        Fate::TakenOver,   // grants
        Fate::Meaningless, // XShadow
        Fate::Reference,   // an account of the domain
    ];
    assert_eq!(fates, expected);
    assert!(dangers(&imported, DangerLevel::ToDo, "Scanners").contains("CONTOSO\\scanner"));
}

#[test]
fn equal_connectors_of_two_servers_are_one() {
    let second = |text: &str| receive(&text.replace("EX01", "EX02"));
    let mut exported = typical();
    exported.objects.extend([second(DEFAULT_FRONTEND), second(SCANNERS)]);
    exported.access.push(row("EX02\\Scanners", ANONYMOUS, ANY_RECIPIENT, AccessKind::Allow));
    let one = imported(&exported);
    let names: Vec<_> = config(&one).connectors().iter().map(|it| it.name.clone()).collect();
    let expected = ["Default Frontend", "Scanners", "Applications", "Client Frontend EX01"];
    assert_eq!(names, expected);
    assert!(one.text.contains("# From EX01\\Scanners, EX02\\Scanners."), "{}", one.text);

    // Without its right, the second one is another connector. Both have the same ranges, so the
    // text is refused, and the report says why.
    exported.access.pop();
    let two = imported(&exported);
    assert!(two.text.contains("name = \"Scanners (EX01)\""));
    assert!(two.text.contains("name = \"Scanners (EX02)\""));
    let differs = dangers(&two, DangerLevel::Note, "Scanners (EX02)");
    assert!(differs.contains("differs") && differs.contains("grants"), "{differs}");
    assert!(two.refusals.is_some());
    assert!(dangers(&two, DangerLevel::Danger, "Scanners").contains("10.4.8.20"));
    let only = ImportOptions { server: Some("ex02".to_owned()), ..options() };
    let only = import(&exported, None, "relay.toml", &only).unwrap();
    let names: Vec<_> = config(&only).connectors().iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["Default Frontend EX02", "Scanners"]);
}

#[test]
fn an_existing_file_keeps_its_text() {
    let existing = "# ours\nhostname = \"edge1.contoso.example\" # here\n\n\
                    [delivery]\nsmart_host = \"mail.contoso.example:25\"\n\n\
                    [[accepted_domain]]\nname = \"contoso.example\"\n\n\
                    # the first\n[[connector]]\nname = \"Old\"\nbindings = [\"0.0.0.0:2525\"]\n\
                    remote_ip_ranges = [\"10.0.0.0/8\"]\n";
    let exported = ExportedObjects {
        objects: vec![receive(SCANNERS), domain("contoso.example", "InternalRelay")],
        ..typical()
    };
    let added = import(&exported, Some(existing), "relay.toml", &options()).unwrap();
    assert!(added.text.starts_with(existing.trim_end()), "{}", added.text);
    let names: Vec<_> = config(&added).connectors().iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["Old", "Scanners"]);
    assert!(dangers(&added, DangerLevel::Note, "contoso.example").contains("InternalRelay"));

    let again = import(&exported, Some(&added.text), "relay.toml", &options()).unwrap_err();
    assert!(matches!(again, ImportError::Exists { names } if names == ["Scanners"]));
    let broken = import(&exported, Some("[["), "relay.toml", &options()).unwrap_err();
    assert!(matches!(broken, ImportError::NotToml(_)));
}

#[test]
fn send_connectors_become_routes() {
    let send = |text: &str| object(ObjectKind::SendConnector, text);
    let mut exported = typical();
    exported.objects.extend([
        send("Name: Internet\nAddressSpaces: {SMTP:*;10}\nSmartHosts: {[10.0.0.9], hub.contoso.example}\nDNSRoutingEnabled: False\nEnabled: True"),
        send("Name: Partner\nAddressSpaces: {SMTP:*.partner.example;1, X400:c=US;1}\nDNSRoutingEnabled: True\nRequireTLS: True"),
        send("Name: Fallback\nAddressSpaces: {*;20}\nSmartHosts: {10.0.0.10}"),
        send("Name: Off\nEnabled: False\nAddressSpaces: {*;1}\nSmartHosts: {10.0.0.11}"),
        object(ObjectKind::TransportConfig, "ExternalPostmasterAddress: pm@contoso.example\nMaxReceiveSize: 10 MB (10,485,760 bytes)"),
    ]);
    let imported = imported(&exported);
    let config = config(&imported);
    let hosts = "smart_hosts = [\"10.0.0.9:25\", \"hub.contoso.example:25\"]";
    assert!(imported.text.contains(hosts), "{}", imported.text);
    assert_eq!(config.routes.routes().len(), 1);
    assert!(
        imported.text.contains("recipient_domains = [\"*.partner.example\"]\ntls = \"required\"")
    );
    assert_eq!(config.postmaster().unwrap().to_string(), "pm@contoso.example");
    assert!(dangers(&imported, DangerLevel::ToDo, "Fallback").contains("cost 20"));
    assert!(!imported.text.contains("10.0.0.11"));
}

#[test]
fn a_hub_connector_behind_a_front_end_is_written_disabled() {
    let hub = "Name: Default EX01\nServer: EX01\nBindings: {0.0.0.0:2525}\n\
               RemoteIPRanges: {0.0.0.0-255.255.255.255}\nEnabled: True\n\
               TransportRole: HubTransport\nAuthMechanism: Tls, ExchangeServer\n\
               PermissionGroups: ExchangeUsers, ExchangeServers";
    let mut exported = typical();
    exported.objects.push(receive(hub));
    let imported = imported(&exported);
    let config = config(&imported);
    let hub = config.connectors().iter().find(|it| it.name == "Default EX01").unwrap();
    assert!(!hub.enabled);
    assert_eq!(fate(report(&imported, "Default EX01"), "Enabled"), Fate::Changed);
}
