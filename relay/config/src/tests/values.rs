//! Words and sizes, as Exchange writes them.

use crate::tests::*;

/// Exchange does not distinguish the case of words either.
#[test]
fn words_are_compared_without_regard_to_case() {
    let text = r#"
hostname = "e.example"
classifier.mode = "AUTO"
log = { format = "JSON", level = "DEBUG" }
[delivery]
smart_host = "h:25"
tls = "OPPORTUNISTIC"
protocol = "SMTP"
[[accepted_domain]]
name = "a.example"
type = "AUTHORITATIVE"
recipient_lookup = "LMTP://h:24"
[[connector]]
name = "C"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["ANONYMOUSUSERS"]
auth_mechanism = ["NONE"]
size_enabled = "ENABLED"
message_rate_source = "IPADDRESS"
message_rate_limit = "UNLIMITED"
protocol_logging_level = "VERBOSE"
antispam = { spf = "ANNOTATE" }
denies = { anonymous = ["MS-EXCH-SMTP-SUBMIT"] }
"#;
    for text in [text.to_owned(), text.to_ascii_lowercase().replace("\"c\"", "\"C\"")] {
        let refusal = Config::parse(&text, "relay.toml").err().map(|error| error.to_string());
        assert_eq!(refusal, None);
    }
}

#[test]
fn sizes_are_read_as_exchange_prints_them() {
    let with = |keys: &str| {
        let config = parse(&format!("{NEEDED}{CONNECTOR}{keys}\n"));
        let limits = config.connectors()[0].limits;
        (limits.max_message_size, limits.max_header_size)
    };
    let printed = "max_message_size = \"10MB\"\nmax_header_size = \"64 KB (65,536 bytes)\"";
    assert_eq!(with(printed), (10_485_760, 65_536));
    let most = i32::MAX.unsigned_abs().into();
    let unlimited = "max_message_size = \"unlimited\"\nmax_header_size = \"Unlimited\"";
    assert_eq!(with(unlimited), (most, most));
    // Not a limit: an unlimited amount of free space does not exist.
    let text = format!("{NEEDED}{CONNECTOR}[queue]\nmin_free_space = \"unlimited\"\n");
    let refusals = Config::parse(&text, "relay.toml").unwrap_err();
    assert_eq!((refusals.list[0].line, refusals.list[0].key.as_str()), (10, "min_free_space"));
}
