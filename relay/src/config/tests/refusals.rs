//! What is refused: each with its line, its key, what is wrong and the mend.

use super::*;

/// The refusals of a text, as the command line prints them.
fn refusals(text: &str) -> Vec<String> {
    let refusals = Config::parse(text, "relay.toml").expect_err(text);
    refusals.list.iter().map(|refusal| format!("{}: {refusal}", refusal.line)).collect()
}

/// Checks that a text is refused once, with these words.
fn check(text: &str, expected: &str) {
    let found = refusals(text);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    assert_eq!(found[0], expected, "{text}");
}

/// A connector with these keys more, from line 9 on.
fn check_connector(keys: &str, line: u32, problem: &str, mend: &str) {
    let text = format!("{NEEDED}{CONNECTOR}{keys}\n");
    check(&text, &format!("{line}: connector \"C\": {problem}\n    {mend}"));
}

/// A connector whose own `key` is replaced.
fn check_replaced(key: &str, with: &str, line: u32, problem: &str, mend: &str) {
    let lines: Vec<_> = CONNECTOR.lines().filter(|line| !line.starts_with(key)).collect();
    let text = format!("{NEEDED}{}\n{with}\n", lines.join("\n"));
    check(&text, &format!("{line}: connector \"C\": {problem}\n    {mend}"));
}

#[test]
fn the_daemons_tables() {
    for (keys, expected) in [
        (
            "hostnam = \"a\"\n",
            "4: hostnam: is not a key of this table\n    did you mean `hostname`?",
        ),
        (
            "classifier = { mode = \"kernal\" }\n",
            "4: [classifier]: mode: `kernal` is not known\n    did you mean `kernel`?",
        ),
        (
            "classifier = { mode = \"bpf\" }\n",
            "4: [classifier]: mode: `bpf` is not known\n    write one of auto, kernel, userspace",
        ),
        (
            "classifier = { mode = \"userspace\", interfaces = [\"eth0\"] }\n",
            "4: [classifier]: interfaces: the guard is part of the kernel half, which `userspace` \
             does without\n    remove interfaces, or write mode = \"auto\"",
        ),
        (
            "classifier.interfaces = [\"eth0 \"]\n",
            "4: [classifier]: interfaces: `eth0 ` is not a name of an interface\n    \
             `ip link` shows the names",
        ),
        (
            "classifier.interfaces = \"eth0\"\n",
            "4: [classifier]: interfaces: a text where a list belongs\n    \
             put it in brackets: interfaces = [ … ]",
        ),
        (
            "classifier.cross_check = \"yes\"\n",
            "4: [classifier]: cross_check: a text where true or false belongs\n    \
             write true or false, without quotes",
        ),
        (
            "queue = \"/var/lib/relay\"\n",
            "4: queue: a text where a table belongs\n    \
             write [queue] on a line of its own, and its keys below",
        ),
        ("queue.directory = \"\"\n", "4: [queue]: directory: is empty\n    write a path"),
        (
            "queue.directory = 7\n",
            "4: [queue]: directory: a number where a text belongs\n    put it in quotes",
        ),
        (
            "queue.directory = \"a\\tb\"\n",
            "4: [queue]: directory: holds a control character\n    \
             write it on one line, without tabs",
        ),
        (
            "tls.certificate = \"/c\"\n",
            "4: [tls]: key: is missing\n    write certificate = \"/etc/relay/chain.pem\" and \
             key = \"/etc/relay/key.pem\"",
        ),
        (
            "log.format = \"text\"\n",
            "4: [log]: format: `text` is not known\n    write one of human, json",
        ),
        (
            "log.levle = \"info\"\n",
            "4: [log]: levle: is not a key of this table\n    did you mean `level`?",
        ),
        (
            "log.colour = true\n",
            "4: [log]: colour: is not a key of this table\n    known here: format, level",
        ),
    ] {
        check(&format!("{NEEDED}{keys}{CONNECTOR}"), expected);
    }
    let socket = format!("control.socket = \"/{}\"\n", "s".repeat(107));
    check(
        &format!("{NEEDED}{socket}{CONNECTOR}"),
        "4: [control]: socket: is too long for the path of a socket\n    \
         write a path of at most 107 octets",
    );
}

#[test]
fn what_has_to_be_there() {
    let accepted = "accepted_domain = [{ name = \"contoso.example\" }]\n";
    let smart_host = "delivery.smart_host = \"m:25\"\n";
    check(
        &format!("{accepted}{smart_host}{CONNECTOR}"),
        "1: hostname: is missing\n    write hostname = \"edge1.contoso.example\" at the top",
    );
    check(
        &format!("{accepted}hostname = \"edge1\"\n{CONNECTOR}"),
        "1: [delivery]: smart_host: is missing\n    write smart_host = \
         \"mail.contoso.example:25\"; this version does not look up MX records",
    );
    check(
        NEEDED,
        "1: connector: is missing\n    write [[connector]] and its keys below, or take \
         deploy/relay.toml as a start",
    );
    for (key, mend) in [
        ("bindings", "write bindings = [\"0.0.0.0:25\", \"[::]:25\"], or an address of this host"),
        (
            "remote_ip_ranges",
            "write remote_ip_ranges = [\"10.38.97.0/24\"]; for everybody [\"0.0.0.0/0\", \"::/0\"]",
        ),
    ] {
        check_replaced(key, "", 4, &format!("{key}: is missing"), mend);
        let empty = format!("{key} = []");
        check_replaced(key, &empty, 8, &format!("{key}: is empty"), mend);
    }
    check(
        &format!("{NEEDED}{}", CONNECTOR.replace("name = \"C\"\n", "")),
        "4: [[connector]]: name: is missing\n    write name = \"Default Frontend\", or what you \
         call it",
    );
}

#[test]
fn delivery() {
    let host = |host: &str| {
        let text = NEEDED.replace("mail.contoso.example:25", host);
        check(
            &format!("{text}{CONNECTOR}"),
            &format!(
                "2: [delivery]: smart_host: `{host}` is not a host and a port\n    write \
                 host:port, as in `mail.contoso.example:25`, `10.0.0.1:25` or `[2001:db8::1]:25`"
            ),
        );
    };
    for bad in ["mail.contoso.example", "10.0.0.1", "10.0.0:25", "mail:0", "10.0.0.1:0", "a b:25"] {
        host(bad);
    }
    for (key, expected) in [
        (
            "delivery.initial_retry_interval = \"soon\"",
            "initial_retry_interval: `soon` is not a time\n    write hh:mm:ss, as in \
             \"00:05:00\", or a number and a unit, as in \"5m\"",
        ),
        (
            "delivery.initial_retry_interval = 300",
            "initial_retry_interval: a number where a time belongs\n    write hh:mm:ss, as in \
             \"00:05:00\", or a number and a unit, as in \"5m\"",
        ),
        (
            "delivery.maximum_retry_interval = \"2d\"",
            "maximum_retry_interval: `2d` is out of bounds\n    write a time from 00:00:01 to \
             1.00:00:00",
        ),
        (
            "delivery.initial_retry_interval = \"2h\"",
            "initial_retry_interval: 02:00:00 is longer than maximum_retry_interval, 00:30:00\n    \
             write at most \"00:30:00\", or raise maximum_retry_interval",
        ),
        (
            "delivery.transient_failure_retry_count = 6",
            "transient_failure_retry_count: is not supported: attempts back off instead of \
             keeping to fixed steps\n    write initial_retry_interval and maximum_retry_interval",
        ),
    ] {
        check(&format!("{NEEDED}{key}\n{CONNECTOR}"), &format!("4: [delivery]: {expected}"));
    }
}

#[test]
fn accepted_domains() {
    for (domain, expected) in [
        (
            "{ name = \"*\" }",
            "[[accepted_domain]]: name: `*` accepts every domain, which makes every client with \
             Submit a relay client\n    name your domains; to relay for some clients, grant them \
             ms-Exch-SMTP-Accept-Any-Recipient on a connector of their own",
        ),
        (
            "{ name = \"a.*.example\" }",
            "[[accepted_domain]]: name: `a.*.example` has a star elsewhere than in front\n    \
             write the star as the first label only, as in *.contoso.example",
        ),
        (
            "{ name = \"-a.example\" }",
            "[[accepted_domain]]: name: `-a.example` is not a domain name: a label begins or ends with a \
             hyphen\n    write labels with dots between them, as in edge1.contoso.example",
        ),
        (
            "{ name = \"a.example\", type = \"Authorative\" }",
            "accepted domain \"a.example\": type: `Authorative` is not known\n    did you mean \
             `Authoritative`?",
        ),
        (
            "{ name = \"a.example\", domain_type = \"Authoritative\" }",
            "accepted domain \"a.example\": domain_type: is called type here\n    write type = …",
        ),
        (
            "{ name = \"CONTOSO.example\" }",
            "accepted domain \"contoso.example\": name: is the name of another accepted domain \
             (line 3)\n    remove one of them",
        ),
        (
            "{ type = \"Authoritative\" }",
            "[[accepted_domain]]: name: is missing\n    write name = \"contoso.example\", or \
             \"*.contoso.example\" with all subdomains",
        ),
    ] {
        let text = NEEDED.replace("example\" }]", &format!("example\" }}, {domain}]"));
        check(&format!("{text}{CONNECTOR}"), &format!("3: {expected}"));
    }
}

#[test]
fn a_connectors_keys() {
    for (keys, problem, mend) in [
        ("enable = true", "enable: is not a key of this table", "did you mean `enabled`?"),
        (
            "auth_tarpit_interval = \"5s\"",
            "auth_tarpit_interval: is a parameter of Exchange that this version does not support",
            "remove it",
        ),
        (
            "bare_linefeed_rejection_enabled = true",
            "bare_linefeed_rejection_enabled: is not a choice here: bare line feeds are always \
             refused",
            "remove it",
        ),
        (
            "tls_certificate_name = \"x\"",
            "tls_certificate_name: is not supported: all connectors share one certificate",
            "remove it, and name the certificate's file in [tls]",
        ),
        (
            "banner = \"edge1 ready\"",
            "banner: does not begin with 220",
            "write 220, a space and the greeting, as in \"220 edge1.contoso.example ready\"",
        ),
        (
            "banner = \"220 édge1\"",
            "banner: is longer than 510 octets, or not ASCII",
            "write 220, a space and the greeting, as in \"220 edge1.contoso.example ready\"",
        ),
        (
            "syn_budget = { rate = \"200\", burst = 400 }",
            "syn_budget: rate: `200` is not a rate",
            "write SYNs a second, as in \"200/s\", from 1/s to 100000000/s",
        ),
        (
            "syn_budget = { rate = 200, burst = 400 }",
            "syn_budget: rate: a number where a rate belongs",
            "write SYNs a second, as in \"200/s\", from 1/s to 100000000/s",
        ),
        (
            "syn_budget_per_source = { rate = \"200/s\" }",
            "syn_budget_per_source: burst: is missing",
            "write burst = 400",
        ),
        (
            "syn_budget = { rate = \"200/s\", burst = 0 }",
            "syn_budget: burst: 0 is out of bounds",
            "write a number from 1 to 100000000",
        ),
        (
            "max_message_size = \"36 XB\"",
            "max_message_size: `36 XB` is not a size",
            "write octets as a number, or a text such as \"64 KB\" or \"36 MB\"",
        ),
        (
            "max_message_size = \"1 KB\"",
            "max_message_size: `1 KB` is out of bounds",
            "write a size from 65536 to 2147483647 octets",
        ),
        (
            "max_message_size = 99999999999999999999",
            "max_message_size: 99999999999999999999 is out of bounds",
            "write a number from 65536 to 2147483647",
        ),
        (
            "max_hop_count = \"60\"",
            "max_hop_count: a text where a number belongs",
            "write a number from 1 to 500",
        ),
        (
            "connection_inactivity_timeout = \"10m\"",
            "connection_inactivity_timeout: 00:10:00 is not below connection_timeout, 00:10:00",
            "lower connection_inactivity_timeout, or raise connection_timeout",
        ),
    ] {
        check_connector(keys, 9, problem, mend);
    }
}

#[test]
fn bindings_and_ranges() {
    for (key, with, problem, mend) in [
        (
            "bindings",
            "bindings = [\"0.0.0.0:25\", \"0.0.0.0:25\"]",
            "bindings: 0.0.0.0:25 stands twice",
            "remove one of them",
        ),
        (
            "bindings",
            "bindings = [\"0.0.0.0\"]",
            "bindings: `0.0.0.0` is not an address and a port",
            "write address and port, as in `0.0.0.0:25`, `192.0.2.1:25` or `[::]:25`",
        ),
        (
            "remote_ip_ranges",
            "remote_ip_ranges = [\"0.0.0.0\"]",
            "remote_ip_ranges: `0.0.0.0` is a single address that no client can have",
            "for every address write `0.0.0.0/0`",
        ),
        (
            "remote_ip_ranges",
            "remote_ip_ranges = [\"10.0.0.0/8\", \"10.0.0.0-10.255.255.255\"]",
            "remote_ip_ranges: 10.0.0.0-10.255.255.255 is the same range as 10.0.0.0/8 (line 8)",
            "remove one of them",
        ),
        (
            "remote_ip_ranges",
            "remote_ip_ranges = [\"10.0.0.1-10.0.0.5\", \"10.0.0.4-10.0.0.9\"]",
            "remote_ip_ranges: 10.0.0.4-10.0.0.9 overlaps 10.0.0.1-10.0.0.5 (line 8), and neither \
             contains the other",
            "write 10.0.0.1-10.0.0.9 in place of the two",
        ),
    ] {
        check_replaced(key, with, 8, problem, mend);
    }
}

#[test]
fn ranges_of_two_connectors() {
    let second = |range: &str| {
        let second = CONNECTOR.replace("\"C\"", "\"D\"").replace("10.0.0.0/8", range);
        format!("{NEEDED}{CONNECTOR}{second}")
    };
    check(
        &second("10.0.0.0-10.255.255.255"),
        "12: connector \"D\": remote_ip_ranges: 10.0.0.0-10.255.255.255 on 0.0.0.0:25 is also a \
         range of connector \"C\", line 7\n    give the range to one of the two connectors",
    );
    check(
        &second("9.0.0.0-10.0.0.9"),
        "12: connector \"D\": remote_ip_ranges: 9.0.0.0-10.0.0.9 on 0.0.0.0:25 overlaps \
         10.0.0.0/8 (connector \"C\", line 7), and neither contains the other\n    take \
         10.0.0.0-10.0.0.9 out of one of them, or let one contain the other",
    );
    check(
        &second("10.0.0.1").replace("\"D\"", "\"c\""),
        "9: connector \"c\": name: is the name of another connector (line 4)\n    give one of \
         them another name",
    );
}

#[test]
fn rights() {
    let trusted = "auth_mechanism = [\"ExternalAuthoritative\"]";
    for (keys, problem, mend) in [
        (
            trusted,
            "auth_mechanism: ExternalAuthoritative needs the permission group ExchangeServers",
            "write permission_groups = [\"ExchangeServers\"]",
        ),
        (
            "auth_mechanism = [\"None\", \"Tls\"]",
            "auth_mechanism: None stands beside other mechanisms",
            "remove None, or the others",
        ),
        (
            "auth_mechanism = [\"BasicAuthRequireTls\"]",
            "auth_mechanism: BasicAuthRequireTls is not supported by this version, which has no \
             AUTH",
            "remove it",
        ),
        (
            "auth_mechanism = [\"ExternalAuthorative\"]",
            "auth_mechanism: `ExternalAuthorative` is not known",
            "did you mean `ExternalAuthoritative`?",
        ),
        (
            "auth_mechanism = []\nrequire_tls = true",
            "require_tls: needs Tls in auth_mechanism",
            "write auth_mechanism = [\"Tls\"], or require_tls = false",
        ),
        (
            "\nrequire_tls = true",
            "require_tls: needs a certificate: nobody could send",
            "name certificate and key in [tls], or write require_tls = false",
        ),
        (
            "grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipent\"] }",
            "grants: anonymous: `ms-Exch-SMTP-Accept-Any-Recipent` is not known",
            "did you mean `ms-Exch-SMTP-Accept-Any-Recipient`?",
        ),
        (
            "grants = { anonymous = [\"ms-Exch-SMTP-Accept-Exch50\"] }",
            "grants: anonymous: ms-Exch-SMTP-Accept-Exch50 has no effect on a relay",
            "remove it",
        ),
        (
            "grants = { anonymous = [\"ms-Exch-SMTP-Submit\", \"MS-Exch-SMTP-Submit\"] }",
            "grants: anonymous: ms-Exch-SMTP-Submit stands twice",
            "remove one of them",
        ),
        (
            "grants = { \"NT AUTHORITY\\\\ANONYMOUS LOGON\" = [] }",
            "grants: NT AUTHORITY\\ANONYMOUS LOGON: is not how the principal is called here",
            "write anonymous = [ … ]",
        ),
        (
            "grants = { externally_secured = [] }",
            "grants: externally_secured: is not a key of this table",
            "did you mean `externally-secured`?",
        ),
    ] {
        let line = 8 + u32::try_from(keys.lines().count()).unwrap();
        check_connector(keys, line, problem, mend);
    }
    for (groups, problem, mend) in [
        (
            "[\"AnonymousUsers\", \"None\"]",
            "permission_groups: None stands beside other groups",
            "remove None, or the others",
        ),
        (
            "[\"Partners\"]",
            "permission_groups: Partners is not supported by this version: nobody can \
             authenticate as one",
            "remove it",
        ),
        (
            "[\"Custom\"]",
            "permission_groups: Custom only says that single rights were added",
            "write them down: grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }",
        ),
        (
            "[\"AnonymousUser\"]",
            "permission_groups: `AnonymousUser` is not known",
            "did you mean `AnonymousUsers`?",
        ),
    ] {
        check_replaced(
            "permission_groups",
            &format!("permission_groups = {groups}"),
            8,
            problem,
            mend,
        );
    }
}

#[test]
fn every_mistake_shows_in_one_run() {
    let text = format!("{NEEDED}{CONNECTOR}fqdn = \"a b\"\nmax_hop_count = 0\n[logs]\n");
    let refusals = Config::parse(&text, "edge/relay.toml").unwrap_err().to_string();
    let lines: Vec<_> = refusals.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), 3, "{refusals}");
    assert!(lines[0].starts_with("edge/relay.toml:9: connector \"C\": fqdn: "), "{refusals}");
    assert!(lines[1].starts_with("edge/relay.toml:10: connector \"C\": max_hop_count: "));
    assert!(lines[2].starts_with("edge/relay.toml:11: logs: is not a key"), "{refusals}");
}

#[test]
fn a_repeated_mistake_does_not_bury_the_terminal() {
    let ranges = "\"x\",".repeat(60);
    let text = format!("{NEEDED}{CONNECTOR}").replace("\"10.0.0.0/8\"", &ranges);
    let refusals = Config::parse(&text, "relay.toml").unwrap_err().to_string();
    assert!(refusals.ends_with("relay.toml: 10 more errors are not shown"), "{refusals}");
}

#[test]
fn what_is_not_toml() {
    let found = refusals("hostname = \"a\"\nbindings = [\n");
    assert!(found[0].contains("not TOML: "), "{found:?}");
    assert!(found[0].ends_with("see https://toml.io; strings need quotes, lists need brackets"));
    let twice = refusals("hostname = \"a\"\nhostname = \"b\"\n");
    assert!(twice[0].starts_with("2: not TOML: duplicate key"), "{twice:?}");
}

#[test]
fn more_connectors_than_ids() {
    let connectors: String = (0..4096)
        .map(|number| {
            let name = format!("\"{number}\"");
            let range = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            CONNECTOR.replace("\"C\"", &name).replace("10.0.0.0/8", &range)
        })
        .collect();
    check(
        &format!("{NEEDED}{connectors}"),
        "20479: connector: 4096 connectors are over the limit of 4095\n    connectors that \
         differ in their ranges only can be one connector",
    );
}
