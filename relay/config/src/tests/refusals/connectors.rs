//! Refusals of connectors.

use crate::tests::refusals::*;

#[test]
fn a_connectors_keys() {
    for (keys, problem, mend) in [
        ("enable = true", "enable: is not a key of this table", "did you mean `enabled`?"),
        (
            "orar_enabled = true",
            "orar_enabled: is a parameter of Exchange that this version does not support",
            "remove it",
        ),
        (
            "bare_linefeed_rejection_enabled = true",
            "bare_linefeed_rejection_enabled: is not configurable: bare line feeds are always \
             refused",
            "remove it",
        ),
        (
            "tls_certificate_name = \"x\"",
            "tls_certificate_name: `x` is unknown: the configuration has no [[certificate]]",
            "write [[certificate]] with name, certificate and key",
        ),
        (
            "tls_certificate_name = \"<I>CN=CA<S>CN=edge1\"",
            "tls_certificate_name: selects from a Windows store by issuer and subject",
            "write the name of a [[certificate]], which has the files",
        ),
        (
            "tls_minimum_version = \"1.1\"",
            "tls_minimum_version: unknown value `1.1`",
            "did you mean `1.2`?",
        ),
        (
            "implicit_tls_bindings = [\"0.0.0.0:465\"]",
            "implicit_tls_bindings: needs a certificate: no client could send",
            "name certificate and key in [tls], or remove implicit_tls_bindings",
        ),
        (
            "smtp_utf8_enabled = true\neight_bit_mime_enabled = false",
            "smtp_utf8_enabled: needs eight_bit_mime_enabled, which is false",
            "write smtp_utf8_enabled = false, or remove eight_bit_mime_enabled = false",
        ),
        (
            "binary_mime_enabled = true\nchunking_enabled = false",
            "binary_mime_enabled: needs chunking_enabled, which is false",
            "write binary_mime_enabled = false, or remove chunking_enabled = false",
        ),
        (
            "size_enabled = \"Off\"",
            "size_enabled: unknown value `Off`",
            "write one of Enabled, EnabledWithoutValue, Disabled",
        ),
        (
            "protocol_logging_level = \"Debug\"",
            "protocol_logging_level: unknown value `Debug`",
            "write one of None, Verbose",
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
            "syn_budget: rate: expected a rate, found a number",
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
            "tarpit_interval = \"11m\"",
            "tarpit_interval: `11m` is out of bounds",
            "write a time from 00:00:00 to 00:10:00",
        ),
        (
            "max_hop_count = \"60\"",
            "max_hop_count: expected a number, found a string",
            "write a number from 1 to 500",
        ),
        (
            "max_inbound_connection_per_source = \"none\"",
            "max_inbound_connection_per_source: `none` is not a number",
            "write a number from 1 to 10000, or \"unlimited\"",
        ),
        (
            "max_inbound_connection_percentage_per_source = \"unlimited\"",
            "max_inbound_connection_percentage_per_source: expected a number, found a string",
            "write a number from 1 to 100",
        ),
        (
            "message_rate_limit = 0",
            "message_rate_limit: 0 is out of bounds",
            "write a number from 1 to 2147483647",
        ),
        (
            "message_rate_source = \"Address\"",
            "message_rate_source: unknown value `Address`",
            "did you mean `IPAddress`?",
        ),
        (
            "max_local_hop_count = 51",
            "max_local_hop_count: 51 is out of bounds",
            "write a number from 0 to 50",
        ),
        (
            "reject_single_label_recipient_domains = 1",
            "reject_single_label_recipient_domains: expected true or false, found a number",
            "write true or false, without quotes",
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
            "bindings: 0.0.0.0:25 is listed twice",
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
            "write 10.0.0.1-10.0.0.9 instead of both",
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
         10.0.0.0/8 (connector \"C\", line 7), and neither contains the other\n    remove \
         10.0.0.0-10.0.0.9 from one of them, or let one contain the other",
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
            "auth_mechanism: None is combined with other mechanisms",
            "remove None, or the other entries",
        ),
        (
            "auth_mechanism = [\"ExternalAuthorative\"]",
            "auth_mechanism: unknown value `ExternalAuthorative`",
            "did you mean `ExternalAuthoritative`?",
        ),
        (
            "auth_mechanism = []\nrequire_tls = true",
            "require_tls: needs Tls in auth_mechanism",
            "write auth_mechanism = [\"Tls\"], or remove require_tls",
        ),
        (
            "\nrequire_tls = true",
            "require_tls: needs a certificate: no client could send",
            "name certificate and key in [tls], or remove require_tls",
        ),
        (
            "grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipent\"] }",
            "grants: anonymous: unknown value `ms-Exch-SMTP-Accept-Any-Recipent`",
            "did you mean `ms-Exch-SMTP-Accept-Any-Recipient`?",
        ),
        (
            "denies = { anonymous = [\"ms-Exch-SMTP-Submt\"] }",
            "denies: anonymous: unknown value `ms-Exch-SMTP-Submt`",
            "did you mean `ms-Exch-SMTP-Submit`?",
        ),
        (
            "grants = { anonymous = [\"ms-Exch-SMTP-Submit\", \"MS-Exch-SMTP-Submit\"] }",
            "grants: anonymous: ms-Exch-SMTP-Submit is listed twice",
            "remove one of them",
        ),
        (
            "grants = { \"NT AUTHORITY\\\\ANONYMOUS LOGON\" = [] }",
            "grants: NT AUTHORITY\\ANONYMOUS LOGON: is not the name of the principal here",
            "write anonymous = [ … ]",
        ),
        (
            "denies = { \"NT-AUTORITÄT\\\\ANONYMOUS-ANMELDUNG\" = [] }",
            "denies: NT-AUTORITÄT\\ANONYMOUS-ANMELDUNG: is not the name of the principal here",
            "write anonymous = [ … ]",
        ),
        (
            "grants = { \"MS Exchange\\\\Externally Secured Servers\" = [] }",
            "grants: MS Exchange\\Externally Secured Servers: is not the name of the principal \
             here",
            "write externally-secured = [ … ]",
        ),
        (
            "grants = { \"CONTOSO\\\\Exchange Servers\" = [] }",
            "grants: CONTOSO\\Exchange Servers: is not the name of the principal here",
            "write server = [ … ]",
        ),
        (
            "grants = { externally_secured = [] }",
            "grants: externally_secured: is not a key of this table",
            "did you mean `externally-secured`?",
        ),
        (
            "grants = { \"user:\" = [\"ms-Exch-SMTP-Submit\"] }",
            "grants: user:: the name is empty",
            "write \"user:alice\" = [ … ]",
        ),
        (
            "grants = { \"user:alice\" = \"ms-Exch-SMTP-Submit\" }",
            "grants: user:alice: expected a list, found a string",
            "write it in brackets: user:alice = [ … ]",
        ),
    ] {
        let line = 8 + u32::try_from(keys.lines().count()).unwrap();
        check_connector(keys, line, problem, mend);
    }
    for (groups, problem, mend) in [
        (
            "[\"AnonymousUsers\", \"None\"]",
            "permission_groups: None is combined with other groups",
            "remove None, or the other entries",
        ),
        (
            "[\"Custom\"]",
            "permission_groups: Custom means that single rights were added, but none is configured",
            "write what Get-ADPermission shows as grants and denies, or remove Custom",
        ),
        (
            "[\"AnonymousUser\"]",
            "permission_groups: unknown value `AnonymousUser`",
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

/// Section 4.2 of docs/exchange-semantics.md, as far as it is about TLS.
#[test]
fn more_bindings_than_sockets_to_listen_on() {
    let bindings: Vec<_> = (1..=1025).map(|port| format!("0.0.0.0:{port}")).collect();
    let text = CONNECTOR.replace("[\"0.0.0.0:25\"]", &format!("{bindings:?}"));
    check(
        &format!("{NEEDED}{text}"),
        "1: bindings: 1025 distinct bindings are over the limit of 1024\n    bind to `0.0.0.0` \
         and `[::]` instead of each address",
    );
}
