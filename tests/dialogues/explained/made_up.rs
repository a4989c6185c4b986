//! Random configurations and questions, in which useful choices are more likely.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use fastrand::Rng;
use relay_connector::{Permission, Principal};
use relay_explanation::Question;
use relay_mail::hello::HelloName;
use relay_mail::path::{ForwardPath, ReversePath};

/// Ranges of connectors, each inside the previous one.
const RANGES: [&str; 3] = ["127.0.0.0/8", "127.0.2.0/24", "127.0.2.7"];
/// The sources of clients: one for each range, and two in the widest range.
const SOURCES: [[u8; 4]; 4] = [[127, 0, 0, 1], [127, 0, 2, 3], [127, 0, 2, 7], [127, 0, 9, 9]];

/// The text of a configuration, which may be refused. Certificate and key are files of `directory`.
pub fn configuration(
    rng: &mut Rng,
    directory: &Path,
    plain: SocketAddr,
    implicit: SocketAddr,
) -> String {
    let mut text = "hostname = \"relay.example\"\n".to_owned();
    if rng.u8(..5) == 0 {
        text.push_str("postmaster = \"office@accepted.example\"\n");
    }
    text.push_str("[delivery]\nsmart_host = \"127.0.0.1:25\"\n");
    text.push_str("[authentication]\nusers_file = \"users.toml\"\n");
    let directory = directory.display();
    let _ = writeln!(
        text,
        "[tls]\ncertificate = \"{directory}/relay.pem\"\nkey = \"{directory}/relay.key\""
    );
    if rng.u8(..8) == 0 {
        text.push_str("[proxies]\nxclient_from = [\"127.0.2.0/24\"]\n");
    }
    for (name, kind) in [
        ("accepted.example", "Authoritative"),
        ("partner.example", "InternalRelay"),
        ("*.customer.example", "ExternalRelay"),
    ] {
        if rng.u8(..8) > 0 {
            let _ = writeln!(text, "[[accepted_domain]]\nname = \"{name}\"\ntype = \"{kind}\"");
        }
    }
    for (number, range) in RANGES.iter().enumerate() {
        if rng.u8(..3) > 0 || number == 0 && rng.u8(..3) > 0 {
            connector(rng, range, plain, implicit, &mut text);
        }
    }
    text
}

fn connector(
    rng: &mut Rng,
    range: &str,
    plain: SocketAddr,
    implicit: SocketAddr,
    text: &mut String,
) {
    let trusts = rng.u8(..5) == 0;
    let has_tls = rng.u8(..4) > 0;
    let mut mechanisms = Vec::new();
    let mut groups = Vec::new();
    if has_tls {
        mechanisms.push("Tls");
    }
    if trusts {
        mechanisms.push("ExternalAuthoritative");
        groups.push("ExchangeServers");
    } else {
        if rng.u8(..2) == 0 {
            mechanisms.push("BasicAuth");
            groups.push("ExchangeUsers");
            if has_tls && rng.bool() {
                mechanisms.push("BasicAuthRequireTLS");
            }
        }
        if rng.u8(..6) > 0 {
            groups.push("AnonymousUsers");
        }
    }
    let _ = writeln!(text, "[[connector]]\nname = \"{range}\"\nremote_ip_ranges = [\"{range}\"]");
    let _ = writeln!(text, "bindings = [\"{plain}\"]\nauth_mechanism = {mechanisms:?}");
    let _ = writeln!(text, "permission_groups = {groups:?}");
    if has_tls {
        let _ = writeln!(text, "implicit_tls_bindings = [\"{implicit}\"]");
    }
    text.push_str("tarpit_interval = \"0s\"\nauth_tarpit_interval = \"0s\"\n");
    for key in ["grants", "denies"] {
        if rng.u8(..3) == 0 {
            let right = Permission::ALL[rng.usize(..Permission::ALL.len())].name();
            let who = if trusts { Principal::ExternallySecured } else { Principal::Anonymous };
            let _ = writeln!(text, "{key} = {{ {who} = [\"{right}\"] }}");
        }
    }
    for (key, most) in [
        ("require_tls", 8),
        ("require_ehlo_domain", 6),
        ("refuse", 25),
        ("reject_reserved_top_level_recipient_domains", 12),
        ("reject_reserved_second_level_recipient_domains", 12),
        ("reject_single_label_recipient_domains", 12),
    ] {
        if rng.u8(..most) == 0 {
            let _ = writeln!(text, "{key} = true");
        }
    }
    for key in [
        "pipelining_enabled",
        "delivery_status_notification_enabled",
        "enhanced_status_codes_enabled",
        "chunking_enabled",
        "binary_mime_enabled",
        "eight_bit_mime_enabled",
        "smtp_utf8_enabled",
    ] {
        if rng.u8(..7) == 0 {
            let _ = writeln!(text, "{key} = false");
        }
    }
    for (key, values) in [
        ("size_enabled", &["\"Disabled\"", "\"EnabledWithoutValue\""][..]),
        ("max_message_size", &["\"64 KB\""]),
        ("max_header_size", &["30", "200"]),
        ("max_recipients_per_message", &["1", "2"]),
        ("max_protocol_errors", &["0", "1", "\"unlimited\""]),
        ("max_refused_recipients", &["0", "1", "\"unlimited\""]),
        ("max_logon_failures", &["0", "1", "2"]),
        ("max_inbound_connection_per_source", &["1", "2"]),
        ("message_rate_limit", &["1", "3"]),
        ("message_rate_source", &["\"User\"", "\"All\"", "\"IPAddress\""]),
        ("banner", &["\"220 another name\""]),
        ("fqdn", &["\"other.example\""]),
        // No other server is asked: both lack its answer.
        ("antispam", &["{ spf = \"Enforce\" }", "{ spf = \"Annotate\", dkim = \"Annotate\" }"]),
    ] {
        if rng.u8(..5) == 0 {
            let _ = writeln!(text, "{key} = {}", values[rng.usize(..values.len())]);
        }
    }
}

/// A question to one of these bindings.
pub fn question(rng: &mut Rng, plain: SocketAddr, implicit: SocketAddr) -> Question {
    let source = SOURCES[rng.usize(..SOURCES.len())];
    let helo = one_of(rng, &["", "client.example", "c", "[127.0.0.1]", "HP_Laser"]);
    let auth = one_of(rng, &["", "", "", "", "", "", "", "", "alice", "alice", "bob", "carol"]);
    let senders = [
        "<>",
        "<a@accepted.example>",
        "<alice@accepted.example>",
        "<bob@accepted.example>",
        "<a@partner.example>",
        "<a@stranger.example>",
        "<\"a b\"@stranger.example>",
        "<\u{e9}@stranger.example>",
        "<a@[192.0.2.7]>",
    ];
    let recipients = [
        "<b@accepted.example>",
        "<b@accepted.example>",
        "<b@accepted.example>",
        "<b@partner.example>",
        "<b@east.customer.example>",
        "<b@stranger.example>",
        "<b@example.com>",
        "<b@accepted.example>",
        "<b@localhost>",
        "<b%c@accepted.example>",
        "<\u{e9}@accepted.example>",
        "<b@[192.0.2.7]>",
        "<postmaster>",
    ];
    let sender = one_of(rng, &senders);
    let many = 1 + rng.usize(..3);
    let recipients: Vec<_> = (0..many).map(|_| one_of(rng, &recipients)).collect();
    Question {
        remote: IpAddr::from(source).into(),
        local: if rng.u8(..6) == 0 { implicit } else { plain },
        helo: (!helo.is_empty()).then(|| HelloName::read(helo)),
        tls: rng.u8(..5) == 0,
        client_certificate: None,
        auth: auth.parse().ok(),
        recipients: recipients
            .iter()
            .map(|path| ForwardPath::parse(path).expect("a path"))
            .collect(),
        sender: ReversePath::parse(sender).expect("a path"),
        smtputf8: rng.u8(..5) == 0,
        size: [None, Some(300), Some(1000), Some(70_000)][rng.usize(..4)],
    }
}

fn one_of<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}
