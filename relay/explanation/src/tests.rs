//! An explanation shows the behaviour of a session, and only the steps of the question.

use crate::*;
use relay_config::Config;
use relay_connector::{ConnectorIds, Principal};
use relay_policy::Rule;
use relay_policy::pressure::{Pressure, PressureLevel, Resource};

/// One connector with these keys, for all clients on port 25.
fn one_connector(keys: &str) -> Arc<Rules> {
    let text = format!(
        r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
authentication.users_file = "users"
accepted_domain = [{{ name = "contoso.example" }}]
[[connector]]
name = "C"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
{keys}
"#
    );
    let config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
    config.rules(&mut ConnectorIds::default(), 1).unwrap()
}

fn sender(text: &str) -> ReversePath {
    ReversePath::parse(text).unwrap()
}

fn recipient(text: &str) -> ForwardPath {
    ForwardPath::parse(text).unwrap()
}

fn question(from: &str, to: &[&str]) -> Question {
    Question {
        remote: "10.0.0.1".parse().unwrap(),
        local: "192.0.2.1:25".parse().unwrap(),
        helo: None,
        tls: false,
        client_certificate: None,
        auth: None,
        smtputf8: false,
        sender: sender(from),
        recipients: to.iter().map(|to| recipient(to)).collect(),
        size: None,
    }
}

/// The last reason, as `rule: found`.
fn last(decision: &Decision) -> String {
    let because = decision.because.last().unwrap();
    format!("{}: {}", because.rule, because.found)
}

/// The commands that are listed, and the codes of the replies.
fn listed(explanation: &Explanation) -> Vec<(&str, u16)> {
    let listed = explanation.steps.iter().filter(|step| !step.is_implied);
    listed.map(|step| (step.command.as_str(), step.decision.reply.code)).collect()
}

const ANONYMOUS: &str = "permission_groups = [\"AnonymousUsers\"]\n";

#[test]
fn implied_commands_are_played_and_not_listed() {
    let rules = one_connector(ANONYMOUS);
    let asked = question("<a@b.example>", &["<c@contoso.example>"]);
    let explanation = explain(Instant::now(), &rules, &asked);
    assert!(explanation.accepted);
    let to = "RCPT TO:<c@contoso.example>";
    assert_eq!(listed(&explanation), [("", 220), ("MAIL FROM:<a@b.example>", 250), (to, 250)]);
    let all: Vec<_> = explanation.steps.iter().map(|step| step.command.as_str()).collect();
    let played = ["", "EHLO [10.0.0.1]", "MAIL FROM:<a@b.example>", to, "DATA", "(end of data)"];
    assert_eq!(all, played);
}

/// Without a name in the question the client gives its address, as a client without a name does.
#[test]
fn a_client_without_a_name_is_refused_where_a_domain_is_required() {
    let rules = one_connector(&format!("{ANONYMOUS}require_ehlo_domain = true"));
    let asked = question("<a@b.example>", &["<c@contoso.example>"]);
    let explanation = explain(Instant::now(), &rules, &asked);
    assert_eq!(listed(&explanation), [("", 220), ("EHLO [10.0.0.1]", 501)]);
    assert!(!explanation.accepted);
    let named = Question { helo: Some(HelloName::read("client.example")), ..asked };
    assert!(explain(Instant::now(), &rules, &named).accepted);
}

#[test]
fn a_client_that_must_send_a_proxy_header_is_told_so() {
    let proxies = "[proxies]\nproxy_protocol_from = [\"10.0.0.1\"]\n";
    let rules = one_connector(&format!("{ANONYMOUS}{proxies}"));
    let rule_of = |remote: &str, local: &str| {
        let asked = question("<a@b.example>", &["<c@contoso.example>"]);
        let (remote, local) = (remote.parse().unwrap(), local.parse().unwrap());
        let asked = Question { remote, local, ..asked };
        let explanation = explain(Instant::now(), &rules, &asked);
        explanation.steps[0].decision.because[0].rule
    };
    // Also where no connector serves the client.
    for local in ["192.0.2.1:25", "192.0.2.1:26"] {
        assert_eq!(rule_of("10.0.0.1", local), Rule::ProxyProtocolFrom);
        assert_eq!(rule_of("10.0.0.2", local), Rule::Connector);
    }
}

/// A refusal by the session's own limits is part of the answer: here the limit of refused
/// recipients.
#[test]
fn the_session_s_own_limits_end_an_explanation() {
    let rules = one_connector(&format!("{ANONYMOUS}max_refused_recipients = 1"));
    let to = ["<a@x.example>", "<b@x.example>", "<c@contoso.example>"];
    let explanation = explain(Instant::now(), &rules, &question("<>", &to));
    let codes: Vec<_> = listed(&explanation).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, [220, 250, 550, 421]);
    assert!(!explanation.accepted);
    let rule = explanation.steps.last().unwrap().decision.because.last().unwrap().rule;
    assert_eq!(rule, Rule::MaxRefusedRecipients);
}

#[test]
fn a_shortage_is_explained_as_sessions_experience_it() {
    let rules = one_connector(ANONYMOUS);
    let asked = question("<a@b.example>", &["<c@contoso.example>"]);
    let answer = |host: &HostState| {
        let asks_nobody = &mut |inquiry: Inquiry| inquiry.not_asked();
        let explanation = explain_with(Instant::now(), &rules, &asked, host, asks_nobody);
        assert!(!explanation.accepted);
        let step = explanation.steps.last().unwrap();
        (step.command.clone(), step.decision.reply.code, last(&step.decision))
    };
    let full = || Err(StoreError::Full("the test says so".to_owned()));
    let why = "queue: the queue is full: the test says so".to_owned();
    let meter = Conditions { queue: full(), ..Conditions::default() };
    let host = HostState { conditions: meter, ..HostState::default() };
    assert_eq!(answer(&host), ("MAIL FROM:<a@b.example>".to_owned(), 452, why.clone()));
    let host = HostState { storage: full(), ..HostState::default() };
    assert_eq!(answer(&host), ("DATA".to_owned(), 452, why));
    let pressure = Pressure { level: PressureLevel::High, resource: Some(Resource::DiskUse) };
    let pressed = Conditions { pressure, ..Conditions::default() };
    let host = HostState { conditions: pressed, ..HostState::default() };
    assert_eq!(answer(&host).1, 452);
}

/// The largest message needs no more time than the smallest.
#[test]
fn a_message_has_the_size_of_the_question() {
    let trusted = "auth_mechanism = [\"ExternalAuthoritative\"]\n\
                   permission_groups = [\"ExchangeServers\"]\nsize_enabled = \"Disabled\"\n";
    for (keys, size, code) in [
        (format!("{ANONYMOUS}size_enabled = \"Disabled\"\n"), 1 << 40, 552),
        (format!("{ANONYMOUS}size_enabled = \"Disabled\"\n"), 1000, 250),
        (trusted.to_owned(), u64::MAX, 250),
    ] {
        let rules = one_connector(&keys);
        let asked = question("<a@b.example>", &["<c@contoso.example>"]);
        let asked = Question { size: Some(size), ..asked };
        let explanation = explain(Instant::now(), &rules, &asked);
        let step = explanation.steps.last().unwrap();
        assert_eq!((step.command.as_str(), step.decision.reply.code), ("(end of data)", code));
        let of_size = |it: &relay_policy::Because| it.rule == Rule::MaxMessageSize;
        let found = &step.decision.because.iter().find(|it| of_size(it)).unwrap().found;
        assert_eq!(found.measured(), Some(size), "{found}");
    }
}

/// The effect of a certificate on a client, as `explain` shows it.
#[test]
fn a_certificate_is_explained() {
    let text = r#"
hostname = "edge1"
delivery.smart_host = "127.0.0.1:2626"
tls = { certificate = "c", key = "k" }
fleet = { ca = "a", names = ["hub1.contoso.example"] }
partners = { ca = "a", tls_receive_domain_secure_list = ["*.partner.example"] }
accepted_domain = [{ name = "contoso.example" }]
connector = [{ name = "C", bindings = ["0.0.0.0:25"], implicit_tls_bindings = ["0.0.0.0:465"], remote_ip_ranges = ["10.0.0.1"], auth_mechanism = ["Tls", "ExchangeServer"], domain_secure_enabled = true, permission_groups = ["ExchangeServers", "Partners"] }]
"#;
    let config = Config::parse(text, "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    let ask = |port: u16, names: &[&str], from: &str, tls| {
        let client_certificate = (!names.is_empty()).then(|| ClientCertificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            by_partners_ca: Ok(()),
            by_fleet_ca: Ok(()),
        });
        let question = Question {
            remote: "10.0.0.1".parse().unwrap(),
            local: format!("192.0.2.1:{port}").parse().unwrap(),
            helo: None,
            tls,
            client_certificate,
            auth: None,
            smtputf8: false,
            sender: sender(from),
            recipients: vec![recipient("<b@contoso.example>")],
            size: None,
        };
        let explanation = explain(Instant::now(), &rules, &question);
        let principal = explanation.peer.as_ref().unwrap().principal;
        let because = explanation.steps.iter().flat_map(|step| &step.decision.because);
        let because = because.map(|because| format!("{}: {}", because.rule, because.found));
        (principal, explanation.accepted, because.collect::<Vec<_>>().join("\n"))
    };
    let hub = &["hub1.contoso.example"][..];
    let (principal, accepted, because) = ask(25, hub, "<a@contoso.example>", true);
    assert_eq!((principal, accepted), (Principal::Server, true));
    assert!(because.contains(
        "ExchangeServer: the client's certificate is for hub1.contoso.example, and \
         hub1.contoso.example is listed"
    ));
    assert_eq!(ask(465, hub, "<a@contoso.example>", false).0, Principal::Server);
    assert_eq!(ask(25, hub, "<a@contoso.example>", false).0, Principal::Anonymous);
    let partner = &["mx.partner.example"][..];
    let (principal, accepted, because) = ask(25, partner, "<a@partner.example>", true);
    assert_eq!((principal, accepted), (Principal::Partner, true));
    assert!(because.contains(
        "tls_receive_domain_secure_list: the sender is in *.partner.example, a domain of the client's certificate"
    ));
    assert!(!ask(25, partner, "<a@stranger.example>", true).1);
    let (principal, accepted, because) = ask(25, &[], "<a@partner.example>", true);
    assert_eq!((principal, accepted), (Principal::Anonymous, false));
    assert!(because.contains("domain_secure_enabled: the client showed no certificate"));
    // Both at once: the one with more rights.
    assert_eq!(ask(25, &[hub, partner].concat(), "<>", true).0, Principal::Server);
}

/// An explanation names the checks that would run, or why they would be skipped.
#[test]
fn an_explanation_names_the_checks_and_runs_none() {
    let checks = "antispam = { spf = \"Enforce\", dkim = \"Annotate\", dmarc = \"Enforce\", \
                  block_lists = [{ zone = \"zen.example\", action = \"Enforce\" }] }";
    let reasons = |rights: &str| {
        let rules = one_connector(&format!("{rights}\n{checks}"));
        let explanation = explain(
            Instant::now(),
            &rules,
            &Question {
                remote: "10.0.0.1".parse().unwrap(),
                local: "192.0.2.1:25".parse().unwrap(),
                helo: None,
                tls: false,
                client_certificate: None,
                auth: None,
                smtputf8: false,
                sender: sender("<a@sender.example>"),
                recipients: vec![recipient("<b@contoso.example>")],
                size: None,
            },
        );
        assert!(explanation.accepted);
        let of = |command: &str| {
            let step = explanation.steps.iter().find(|step| step.command.starts_with(command));
            step.map(|step| last(&step.decision)).unwrap_or_default()
        };
        (of("MAIL"), of("(end of data)"))
    };
    let anonymous = "permission_groups = [\"AnonymousUsers\"]";
    assert_eq!(
        reasons(anonymous),
        (
            "spf: it would be asked (Enforce); assumed harmless here".to_owned(),
            "dmarc: it would be asked (Enforce); assumed harmless here".to_owned()
        )
    );
    let bypass = format!("{anonymous}\ngrants = {{ anonymous = [\"ms-Exch-Bypass-Anti-Spam\"] }}");
    let spared = "ms-Exch-Bypass-Anti-Spam: granted to anonymous by grants".to_owned();
    assert_eq!(reasons(&bypass), (spared.clone(), spared));
}
