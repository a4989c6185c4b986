//! Legal but unwise settings.

use crate::tests::*;

fn warnings(text: &str) -> Vec<String> {
    parse(text).warnings().iter().map(|warning| format!("{}: {warning}", warning.line)).collect()
}

fn connector(name: &str, bindings: &str, ranges: &str, more: &str) -> String {
    format!(
        "[[connector]]\nname = \"{name}\"\nbindings = {bindings}\nremote_ip_ranges = {ranges}\n{more}\n"
    )
}

const ANY_RECIPIENT: &str = "permission_groups = [\"AnonymousUsers\"]\n\
     grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }";
const TRUSTED: &str = "permission_groups = [\"ExchangeServers\"]\n\
     auth_mechanism = [\"ExternalAuthoritative\"]";
const ANONYMOUS: &str = "permission_groups = [\"AnonymousUsers\"]";

#[test]
fn an_ipv4_address_written_as_ipv6_is_read_as_ipv4_and_said_so() {
    let mapped =
        connector("C", "[\"[::ffff:10.0.0.9]:25\"]", "[\"::ffff:10.0.0.0/104\"]", ANONYMOUS);
    let text = format!("{mapped}[proxies]\nxclient_from = [\"::ffff:10.0.0.1\"]\n");
    let text = format!("hostname = \"e.example\"\ndelivery.smart_host = \"h:25\"\n{text}");
    let config = Config::parse(&text, "relay.toml").unwrap();
    let connector = &config.connectors()[0];
    assert_eq!(connector.bindings[0].to_string(), "10.0.0.9:25");
    assert_eq!(connector.remote_ip_ranges[0].text(), "10.0.0.0/8");
    assert_eq!(config.proxies.xclient_from[0].text(), "10.0.0.1");
    let warnings = config.warnings();
    let said: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.line, warning.to_string()))
        .filter(|(_, warning)| warning.contains("written as IPv6"))
        .collect();
    for (line, remedy) in [(5, "10.0.0.9:25"), (6, "10.0.0.0/8"), (9, "10.0.0.1")] {
        let is_it = |(at, text): &&(u32, String)| *at == line && text.contains(remedy);
        assert!(said.iter().any(|it| is_it(&it)), "{line}: {said:?}");
    }
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn every_warning_by_its_text() {
    let v4 = "[\"0.0.0.0:25\"]";
    for (connectors, expected) in [
        (
            connector("C", v4, "[\"10.0.0.0/8\", \"203.0.113.0/24\", \"8.8.8.8\"]", ANY_RECIPIENT),
            "7: connector \"C\": remote_ip_ranges: anonymous may relay to any recipient, and \
             203.0.113.0/24 (and 1 more public ranges) is public: an open relay\n    limit \
             remote_ip_ranges to your own hosts",
        ),
        (
            connector("C", "[\"[::]:25\"]", "[\"::/0\"]", ANY_RECIPIENT),
            "7: connector \"C\": remote_ip_ranges: anonymous may relay to any recipient, and ::/0 \
             is the whole Internet: an open relay\n    limit remote_ip_ranges to your own hosts",
        ),
        (
            connector("C", v4, "[\"100.64.0.0/10\"]", TRUSTED),
            "7: connector \"C\": remote_ip_ranges: ExternalAuthoritative trusts every client of \
             this connector, and 100.64.0.0/10 is public\n    limit remote_ip_ranges to your own \
             hosts",
        ),
        (
            connector("C", v4, "[\"0.0.0.0-255.255.255.255\"]", TRUSTED),
            "7: connector \"C\": remote_ip_ranges: ExternalAuthoritative trusts every client of \
             this connector, and 0.0.0.0-255.255.255.255 is the whole Internet\n    limit \
             remote_ip_ranges to your own hosts",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{ANONYMOUS}\nmessage_rate_limit = 5\nmessage_rate_source = \"none\""),
            ),
            "9: connector \"C\": message_rate_limit: has no effect: message_rate_source is None\n    \
             remove it, or write message_rate_source = \"IPAddress\"",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{ANONYMOUS}\nmessage_rate_source = \"User\""),
            ),
            "9: connector \"C\": message_rate_source: has no effect: messages are not limited\n    \
             remove it, or write message_rate_limit = 600",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!(
                    "{ANONYMOUS}\nmax_inbound_connection = \"unlimited\"\n\
                     max_inbound_connection_percentage_per_source = 5"
                ),
            ),
            "10: connector \"C\": max_inbound_connection_percentage_per_source: has no effect: \
             max_inbound_connection is unlimited\n    remove it, or write a number for \
             max_inbound_connection",
        ),
        (
            connector("C", v4, "[\"10.0.0.1\"]", ""),
            "4: connector \"C\": permission_groups: no client can send: anonymous lacks \
             ms-Exch-SMTP-Submit\n    write permission_groups = [\"AnonymousUsers\"], or refuse = \
             true if this is intended",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                "permission_groups = [\"AnonymousUsers\", \"ExchangeServers\"]",
            ),
            "4: connector \"C\": permission_groups: ExchangeServers has no effect: without \
             ExchangeServer in auth_mechanism no client is a server, and without \
             ExternalAuthoritative no client is externally secured\n    remove it",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{TRUSTED}\ngrants = {{ anonymous = [\"ms-Exch-SMTP-Submit\"] }}"),
            ),
            "4: connector \"C\": grants: some have no effect: with ExternalAuthoritative no \
             client is anonymous\n    write them for externally-secured, or remove them",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                "permission_groups = [\"AnonymousUsers\", \"ExchangeLegacyServers\"]",
            ),
            "4: connector \"C\": permission_groups: ExchangeLegacyServers has no effect: no \
             client can be a server of Exchange 2003 here\n    remove it",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                "permission_groups = [\"AnonymousUsers\", \"Partners\"]",
            ),
            "4: connector \"C\": permission_groups: Partners has no effect: without \
             domain_secure_enabled no client is a partner\n    remove it",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{ANONYMOUS}\ndenies = {{ anonymous = [\"ms-Exch-Bypass-Anti-Spam\"] }}"),
            ),
            "4: connector \"C\": denies: anonymous does not have ms-Exch-Bypass-Anti-Spam in any \
             case; the denial has no effect\n    remove it",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!(
                    "{ANY_RECIPIENT}\ndenies = {{ anonymous = \
                     [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }}"
                ),
            ),
            "4: connector \"C\": grants: ms-Exch-SMTP-Accept-Any-Recipient is denied to \
             anonymous; the denial overrides the grant\n    remove the grant or the denial",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!(
                    "{ANONYMOUS}\ngrants = {{ anonymous = [\"ms-exch-smtp-accept-exch50\"] }}"
                ),
            ),
            "9: connector \"C\": grants: anonymous: ms-exch-smtp-accept-exch50 has no effect on a \
             relay\n    remove it",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                "permission_groups = [\"AnonymousUsers\", \"ExchangeUsers\"]",
            ),
            "4: connector \"C\": permission_groups: ExchangeUsers has no effect: without \
             BasicAuth no client can authenticate as a user\n    remove it",
        ),
        (
            connector("C", "[\"0.0.0.0:25\", \"[::]:25\"]", "[\"10.0.0.1\"]", ANONYMOUS),
            "4: connector \"C\": bindings: [::]:25 serves no client: no range is IPv6\n    remove \
             the binding, or add a range, for all clients \"::/0\"",
        ),
        (
            connector("C", "[\"[::]:25\"]", "[\"10.0.0.1\"]", ANONYMOUS)
                .replace("[::]", "0.0.0.0")
                .replace("10.0.0.1", "fd00::1"),
            "4: connector \"C\": bindings: 0.0.0.0:25 serves no client: no range is IPv4\n    \
             remove the binding, or add a range, for all clients \"0.0.0.0/0\"",
        ),
        (
            connector("C", v4, "[\"10.0.0.1\", \"fd00::1\", \"fd00::2\"]", ANONYMOUS),
            "7: connector \"C\": remote_ip_ranges: no client has an address of fd00::1 (or of 1 \
             more ranges): no binding is IPv6\n    remove it, or add \"[::]:25\" to bindings",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{ANONYMOUS}\nauth_mechanism = [\"Tls\"]"),
            ),
            "9: connector \"C\": auth_mechanism: Tls without a certificate: STARTTLS is not offered\n    \
             name certificate and key in [tls], or remove Tls",
        ),
        (
            format!(
                "{CONNECTOR}auth_mechanism = []\ntls_minimum_version = \"1.3\"\n\
                 [tls]\ncertificate = \"/c\"\nkey = \"/k\"\n"
            ),
            "10: connector \"C\": tls_minimum_version: has no effect without Tls in \
             auth_mechanism\n    remove it",
        ),
        (
            format!(
                "{CONNECTOR}[[certificate]]\nname = \"x\"\ncertificate = \"/c\"\nkey = \"/k\"\n"
            ),
            "9: certificate \"x\": no connector shows it\n    name it in tls_certificate_name of a \
             connector, or remove it",
        ),
        (
            format!("{CONNECTOR}[fleet]\nca = \"/ca\"\nnames = [\"hub.contoso.example\"]\n"),
            "9: [fleet]: no connector uses it\n    write ExchangeServer in auth_mechanism of a \
             connector, or remove it",
        ),
        (
            format!(
                "{CONNECTOR}[partners]\nca = \"/ca\"\n\
                 tls_receive_domain_secure_list = [\"partner.example\"]\n"
            ),
            "9: [partners]: no connector uses it\n    write domain_secure_enabled = true in a \
             connector, or remove it",
        ),
        (
            connector("C", v4, "[\"10.0.0.0/8\", \"10.0.0.1\"]", ANONYMOUS),
            "7: connector \"C\": remote_ip_ranges: 10.0.0.1 lies inside 10.0.0.0/8 of the same \
             connector\n    remove it, unless you need separate counters",
        ),
        (
            connector("C", v4, "[\"10.0.0.0/31\"]", ANONYMOUS)
                + &connector("D", v4, "[\"10.0.0.0\", \"10.0.0.1\"]", ANONYMOUS),
            "7: connector \"C\": remote_ip_ranges: smaller ranges cover every address of \
             10.0.0.0/31 on 0.0.0.0:25\n    remove it, or one of the smaller ranges",
        ),
        (
            connector("C", "[\"10.0.0.5:25\"]", "[\"10.0.0.0/8\"]", ANONYMOUS)
                + &connector("D", v4, "[\"0.0.0.0/0\"]", ANONYMOUS),
            "4: connector \"C\": bindings: 10.0.0.5:25 gets every connection to that address \
             instead of 0.0.0.0:25 of connector \"D\", also from addresses that only the latter \
             serves\n    bind both to the same address, unless this is intended",
        ),
        (
            connector(
                "C",
                v4,
                "[\"10.0.0.1\"]",
                &format!("{ANONYMOUS}\nsyn_budget = {{ rate = \"1/s\", burst = 1 }}"),
            ),
            "4: connector \"C\": syn_budget: has no effect: no guard counts SYNs\n    name \
             interfaces in [classifier], with mode auto or kernel",
        ),
        (
            format!("classifier = {{ mode = \"userspace\", cross_check = true }}\n{CONNECTOR}"),
            "4: [classifier]: cross_check: has no effect: mode is userspace, without the kernel \
             half\n    remove it, or write mode = \"auto\"",
        ),
    ] {
        assert_eq!(warnings(&format!("{NEEDED}{connectors}")), [expected], "{connectors}");
    }
    let text = format!("{NEEDED}{CONNECTOR}").replace("[{ name = \"contoso.example\" }]", "[]");
    assert_eq!(
        warnings(&text),
        ["4: connector \"C\": every recipient is refused: there is no accepted domain and no \
         relay right\n    write [[accepted_domain]] with the name of your domain"]
    );
}

#[test]
fn private_addresses_cause_no_warnings() {
    let private = [
        "10.0.0.0/8",
        "172.16.0.0-172.31.255.255",
        "192.168.1.1/24",
        "127.0.0.1",
        "169.254.0.0/16",
    ];
    let ipv4 = connector("C", "[\"0.0.0.0:25\"]", &format!("{private:?}"), ANY_RECIPIENT);
    assert_eq!(warnings(&format!("{NEEDED}{ipv4}")), [""; 0]);
    let private = ["::1", "fd00::/8", "fe80::1"];
    let ipv6 = connector("C", "[\"[::]:25\"]", &format!("{private:?}"), TRUSTED);
    assert_eq!(warnings(&format!("{NEEDED}{ipv6}")), [""; 0]);
}

#[test]
fn refused_and_disabled_connectors_cause_no_trust_warning() {
    for key in ["refuse = true", "enabled = false"] {
        let more = format!("{TRUSTED}\n{key}");
        let connector = connector("C", "[\"0.0.0.0:25\"]", "[\"0.0.0.0/0\"]", &more);
        assert_eq!(warnings(&format!("{NEEDED}{connector}")), [""; 0], "{key}");
    }
}

#[test]
fn unused_servers_have_no_effect() {
    let asked = |checks: &str| {
        let servers = "dns.servers = [\"127.0.0.1\"]\nrspamd.url = \"http://127.0.0.1:11333\"";
        let more = format!("{ANONYMOUS}\n{checks}");
        let connector = connector("C", "[\"0.0.0.0:25\"]", "[\"10.0.0.1\"]", &more);
        warnings(&format!("{}{servers}\n{connector}", NEEDED))
    };
    let idle = "has no effect: no connector has a check that uses it\n    remove it, or enable a \
     check in [antispam]";
    assert_eq!(asked(""), [format!("5: [rspamd]: {idle}")]);
    assert_eq!(asked("antispam = { spf = \"Annotate\" }"), [format!("5: [rspamd]: {idle}")]);
    let both = "antispam = { spf = \"Annotate\", rspamd = \"Annotate\" }";
    assert_eq!(asked(both), [""; 0]);
}

#[test]
fn a_public_range_of_proxies_is_unwise() {
    let text = format!(
        "{NEEDED}{CONNECTOR}[proxies]\nproxy_protocol_from = [\"10.0.0.4\", \"0.0.0.0/0\"]\n\
         xclient_from = [\"10.0.0.5\"]\n"
    );
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("[proxies]: proxy_protocol_from: every client in 0.0.0.0/0 can"),
        "{warnings:#?}"
    );
}

#[test]
fn ports_that_contradict_the_keys() {
    let connector = connector("C", "[\"0.0.0.0:25\"]", "[\"10.0.0.1\"]", ANY_RECIPIENT);
    let found = |delivery: &str| {
        let text = format!("hostname = \"edge1\"\n[delivery]\n{delivery}\n{connector}");
        let warnings = parse(&text).warnings().to_vec();
        warnings.into_iter().map(|w| (w.line, w.key, w.problem)).collect::<Vec<_>>()
    };
    let auth = "auth = \"/etc/relay/x\"";
    for (delivery, part) in [
        (format!("smart_host = \"m:465\"\n{auth}"), Some("wait for a TLS handshake")),
        ("smart_host = \"m:465\"\ntls = \"off\"".to_owned(), Some("wait for a TLS handshake")),
        (format!("smart_host = \"m:465\"\nimplicit_tls = true\n{auth}"), None),
        ("smart_host = \"m:465\"\nimplicit_tls = true".to_owned(), Some("require AUTH")),
        ("smart_host = \"m:587\"".to_owned(), Some("require AUTH")),
        (format!("smart_host = \"m:587\"\n{auth}"), None),
        (
            format!("smart_host = \"m:25\"\nimplicit_tls = true\n{auth}"),
            Some("greet in plain text"),
        ),
        (format!("smart_host = \"m:587\"\nimplicit_tls = true\n{auth}"), Some("greet in plain")),
        ("smart_host = \"m:25\"".to_owned(), None),
        ("smart_host = \"m:2465\"\nimplicit_tls = true".to_owned(), None),
    ] {
        let found = found(&delivery);
        match part {
            None => assert!(found.is_empty(), "{delivery}: {found:?}"),
            Some(part) => {
                assert_eq!((found.len(), found[0].0, &*found[0].1), (1, 3, "smart_host"));
                assert!(found[0].2.contains(part), "{delivery}: {found:?}");
            }
        }
    }
    let several = found("smart_hosts = [\"a:25\", \"b:465\", \"c:465\"]");
    let keys: Vec<_> = several.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(keys, ["smart_hosts", "smart_hosts"]);
}
