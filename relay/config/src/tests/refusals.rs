//! Refusals: each with its line, key, problem and remedy.

use crate::tests::*;

mod antispam;
mod connectors;
mod delivery;
mod tls;

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

/// A connector with these additional keys, from line 9 on.
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
            "4: [classifier]: mode: unknown value `kernal`\n    did you mean `kernel`?",
        ),
        (
            "classifier = { mode = \"bpf\" }\n",
            "4: [classifier]: mode: unknown value `bpf`\n    write one of auto, kernel, userspace",
        ),
        (
            "classifier.interfaces = [\"eth0 \"]\n",
            "4: [classifier]: interfaces: `eth0 ` is not the name of an interface\n    \
             `ip link` shows the names",
        ),
        (
            "classifier.interfaces = \"eth0\"\n",
            "4: [classifier]: interfaces: expected a list, found a string\n    \
             write it in brackets: interfaces = [ … ]",
        ),
        (
            "classifier.cross_check = \"yes\"\n",
            "4: [classifier]: cross_check: expected true or false, found a string\n    \
             write true or false, without quotes",
        ),
        (
            "queue = \"/var/lib/relay\"\n",
            "4: queue: expected a table, found a string\n    \
             write [queue] on a line of its own, and its keys below",
        ),
        ("queue.directory = \"\"\n", "4: [queue]: directory: is empty\n    write a path"),
        (
            "queue.directory = 7\n",
            "4: [queue]: directory: expected a string, found a number\n    write it in quotes",
        ),
        (
            "queue.directory = \"a\\tb\"\n",
            "4: [queue]: directory: contains a control character\n    \
             write it on one line, without tabs",
        ),
        (
            "tls.certificate = \"/c\"\n",
            "4: [tls]: key: is missing\n    write certificate = \"/etc/relay/chain.pem\" and \
             key = \"/etc/relay/key.pem\"",
        ),
        (
            "log.format = \"text\"\n",
            "4: [log]: format: unknown value `text`\n    write one of human, json",
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
fn required_keys() {
    let accepted = "accepted_domain = [{ name = \"contoso.example\" }]\n";
    let smart_host = "delivery.smart_host = \"m:25\"\n";
    check(
        &format!("{accepted}{smart_host}{CONNECTOR}"),
        "1: hostname: is missing\n    write hostname = \"edge1.contoso.example\" at the top",
    );
    check(
        NEEDED,
        "1: connector: is missing\n    write [[connector]] with its keys, or begin with \
         deploy/relay.toml",
    );
    for (key, mend) in [
        ("bindings", "write bindings = [\"0.0.0.0:25\", \"[::]:25\"], or an address of this host"),
        (
            "remote_ip_ranges",
            "write remote_ip_ranges = [\"10.38.97.0/24\"]; for all clients [\"0.0.0.0/0\", \
             \"::/0\"]",
        ),
    ] {
        check_replaced(key, "", 4, &format!("{key}: is missing"), mend);
        let empty = format!("{key} = []");
        check_replaced(key, &empty, 8, &format!("{key}: is empty"), mend);
    }
    check(
        &format!("{NEEDED}{}", CONNECTOR.replace("name = \"C\"\n", "")),
        "4: [[connector]]: name: is missing\n    write name = \"Default Frontend\", or \
         another name",
    );
}

#[test]
fn back_pressure() {
    for (key, expected) in [
        (
            "disk_use.low_to_medium = 101",
            "disk_use: low_to_medium: 101 is out of bounds\n    write a number from 0 to 100",
        ),
        (
            "disk_use.low_to_medium = 80",
            "disk_use: rises at 80 and 99 and falls at 90 and 80: the thresholds overlap\n    \
             write medium_to_low < low_to_medium < medium_to_high and medium_to_low < \
             high_to_medium < medium_to_high",
        ),
        (
            "memory_use.high = 80",
            "memory_use: high: is not a key of this table\n    known here: low_to_medium, \
             medium_to_high, high_to_medium, medium_to_low",
        ),
        (
            "message_memory = \"64 KB\"",
            "message_memory: `64 KB` is out of bounds\n    write a size from 262144 to \
             4398046510080 octets",
        ),
    ] {
        let text = format!("{NEEDED}back_pressure.{key}\n{CONNECTOR}");
        check(&text, &format!("4: [back_pressure]: {expected}"));
    }
}

#[test]
fn accepted_domains() {
    for (domain, expected) in [
        (
            "{ name = \"*\" }",
            "[[accepted_domain]]: name: `*` accepts every domain: every client with Submit could \
             relay\n    name your domains; to relay for some clients, grant them \
             ms-Exch-SMTP-Accept-Any-Recipient on a connector of their own",
        ),
        (
            "{ name = \"a.*.example\" }",
            "[[accepted_domain]]: name: `a.*.example`: a star is allowed only as the first \
             label\n    \
             write the star in front, as in *.contoso.example",
        ),
        (
            "{ name = \"-a.example\" }",
            "[[accepted_domain]]: name: `-a.example` is not a domain name: a label begins or ends with a \
             hyphen\n    write labels with dots between them, as in edge1.contoso.example",
        ),
        (
            "{ name = \"a.example\", type = \"Authorative\" }",
            "accepted domain \"a.example\": type: unknown value `Authorative`\n    did you mean \
             `Authoritative`?",
        ),
        (
            "{ name = \"a.example\", recipient_lookup = \"mail.a.example:25\" }",
            "accepted domain \"a.example\": recipient_lookup: `mail.a.example:25` is not a server \
             for look-ups\n    write smtp://host:port or lmtp://host:port, as in \
             `smtp://mail.contoso.example:25`",
        ),
        (
            "{ name = \"a.example\", type = \"InternalRelay\", recipient_lookup = \"lmtp://a:24\" }",
            "accepted domain \"a.example\": recipient_lookup: has no effect: with type \
             InternalRelay unknown recipients are forwarded\n    remove it, or write type = \
             \"Authoritative\"",
        ),
        (
            "{ name = \"a.example\", type = \"ExternalRelay\", recipients_file = \"/r\" }",
            "accepted domain \"a.example\": recipients_file: has no effect: with type \
             ExternalRelay unknown recipients are forwarded\n    remove it, or write type = \
             \"Authoritative\"",
        ),
        (
            "{ name = \"a.example\", recipients_file = \"/r\", recipient_lookup = \"lmtp://a:24\" }",
            "accepted domain \"a.example\": recipients_file: contradicts recipient_lookup: only \
             one of the two can list the recipients\n    remove one of them",
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
             \"*.contoso.example\" with its subdomains",
        ),
    ] {
        let text = NEEDED.replace("example\" }]", &format!("example\" }}, {domain}]"));
        check(&format!("{text}{CONNECTOR}"), &format!("3: {expected}"));
    }
}

#[test]
fn one_run_shows_every_error() {
    let text = format!("{NEEDED}{CONNECTOR}fqdn = \"a b\"\nmax_hop_count = 0\n[logs]\n");
    let refusals = Config::parse(&text, "edge/relay.toml").unwrap_err().to_string();
    let lines: Vec<_> = refusals.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), 3, "{refusals}");
    assert!(lines[0].starts_with("edge/relay.toml:9: connector \"C\": fqdn: "), "{refusals}");
    assert!(lines[1].starts_with("edge/relay.toml:10: connector \"C\": max_hop_count: "));
    assert!(lines[2].starts_with("edge/relay.toml:11: logs: is not a key"), "{refusals}");
}

#[test]
fn a_repeated_error_is_shown_only_some_times() {
    let ranges = "\"x\",".repeat(60);
    let text = format!("{NEEDED}{CONNECTOR}").replace("\"10.0.0.0/8\"", &ranges);
    let refusals = Config::parse(&text, "relay.toml").unwrap_err().to_string();
    assert!(refusals.ends_with("relay.toml: 10 more errors are not shown"), "{refusals}");
}

#[test]
fn text_that_is_not_toml() {
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
        "20479: connector: 4096 connectors are over the limit of 4095\n    combine connectors \
         that differ only in their ranges",
    );
}
