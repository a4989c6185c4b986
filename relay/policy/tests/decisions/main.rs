//! Decisions: the whole table of principals, permissions and commands, and single cases.

#![expect(clippy::unwrap_used, reason = "a test that cannot build its question has failed")]

mod permissions;
mod reports;

use std::sync::Arc;

use relay_connector::Permission;
use relay_connector::PermissionSet;
use relay_connector::Principal;
use relay_connector::{ConnectorIds, PermissionGroup, TableMatch};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply;

use relay_config::Config;
use relay_policy::limits::HEADER_FIELDS;
use relay_policy::*;

/// The article's three connectors, and one with the keys of a test.
fn rules(keys: &str) -> Arc<Rules> {
    let text = format!(
        r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
accepted_domain = [
    {{ name = "contoso.example" }},
    {{ name = "mailboxes.example", recipient_lookup = "lmtp://127.0.0.1:24" }},
    {{ name = "*.partner.example", type = "InternalRelay" }},
    {{ name = "customer.example", type = "ExternalRelay" }},
]
[[connector]]
name = "Default Frontend"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
[[connector]]
name = "SMTP Relay EXCH01"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
auth_mechanism = ["ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]
[[connector]]
name = "Scanners"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.97.0/24"]
permission_groups = ["AnonymousUsers"]
grants = {{ anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }}
[[connector]]
name = "Other"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.0.0.1"]
{keys}
"#
    );
    let config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
    config.rules(&mut ConnectorIds::default(), 1).unwrap()
}

fn peer(rules: &Rules, name: &str) -> Peer {
    let connector = rules.connectors().find(|(_, connector)| connector.name == name);
    Peer::new(Arc::clone(connector.unwrap().1))
}

/// RCPT where nothing has to be found out.
fn rcpt_now(rules: &Rules, peer: &Peer, recipient: &ForwardPath, so_far: usize) -> Decision {
    match rcpt(rules, peer, recipient, so_far, &Findings::default()) {
        DecisionOrInquiry::Decided(decision) => decision,
        DecisionOrInquiry::Needs(inquiry) => panic!("{inquiry:?}"),
    }
}

fn sender(text: &str) -> ReversePath {
    ReversePath::parse(text).unwrap()
}

fn recipient(text: &str) -> ForwardPath {
    ForwardPath::parse(text).unwrap()
}

/// The last reason, as `rule: found`.
fn last(decision: &Decision) -> String {
    let because = decision.because.last().unwrap();
    format!("{}: {}", because.rule, because.found)
}

/// The effect of every permission alone, for every principal and every command. One line for each
/// case in which the reply differs from the reply with Submit only.
#[test]
fn each_permission_opens_exactly_its_own_door() {
    let rules = rules("");
    let replies = |permissions: PermissionSet, principal: Principal| {
        let mut peer = peer(&rules, "Default Frontend");
        peer.principal = principal;
        peer.permissions = permissions;
        let large = peer.connector.limits.max_message_size + 1;
        let sent = |path: &str, size| mail(&rules, &peer, &sender(path), size).reply.code;
        let to = |path: &str| rcpt_now(&rules, &peer, &recipient(path), 0).reply.code;
        let facts = MessageFacts { size: large, ..MessageFacts::default() };
        [
            ("MAIL ours", sent("<a@contoso.example>", None)),
            ("MAIL relayed", sent("<a@customer.example>", None)),
            ("MAIL stranger", sent("<a@stranger.example>", None)),
            ("MAIL null", sent("<>", None)),
            ("MAIL large", sent("<>", Some(large))),
            ("RCPT ours", to("<b@contoso.example>")),
            ("RCPT stranger", to("<b@stranger.example>")),
            ("end of data, large", message(&peer, &facts).reply.code),
        ]
    };
    for &principal in Principal::ALL {
        let submit = PermissionSet::of(&[Permission::Submit]);
        assert_eq!(
            replies(PermissionSet::EMPTY, principal).map(|(_, code)| code),
            [530, 530, 530, 530, 530, 250, 550, 552]
        );
        let with_submit = replies(submit, principal);
        assert_eq!(with_submit.map(|(_, code)| code), [550, 250, 550, 250, 552, 250, 550, 552]);
        for &permission in Permission::ALL {
            let both = submit.union(PermissionSet::of(&[permission]));
            let opened: Vec<&str> = with_submit
                .iter()
                .zip(replies(both, principal))
                .filter(|(without, with)| without.1 != with.1)
                .map(|(&(command, _), _)| command)
                .collect();
            let expected: &[&str] = match permission {
                Permission::AcceptAnyRecipient => &["RCPT stranger"],
                Permission::AcceptAnySender => &["MAIL stranger"],
                Permission::AcceptAuthoritativeDomainSender => &["MAIL ours"],
                Permission::BypassMessageSizeLimit => &["MAIL large", "end of data, large"],
                Permission::Submit
                | Permission::AcceptAuthenticationFlag
                | Permission::BypassAntiSpam
                | Permission::AcceptHeadersRouting
                | Permission::AcceptHeadersOrganization
                | Permission::AcceptHeadersForest => &[],
            };
            assert_eq!(opened, expected, "{principal} with {permission}");
        }
    }
}

/// The permission sets of the documentation, by connector.
#[test]
fn each_connector_gives_exactly_its_permissions() {
    let rules = rules("");
    let names = |connector: &str| {
        let peer = peer(&rules, connector);
        let names: Vec<_> = peer.permissions.iter().map(Permission::name).collect();
        (peer.principal, names)
    };
    let anonymous = [
        "ms-Exch-SMTP-Submit",
        "ms-Exch-SMTP-Accept-Any-Sender",
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        "ms-Exch-Accept-Headers-Routing",
    ];
    assert_eq!(names("Default Frontend"), (Principal::Anonymous, anonymous.to_vec()));
    let mut relay = anonymous.to_vec();
    relay.insert(1, "ms-Exch-SMTP-Accept-Any-Recipient");
    assert_eq!(names("Scanners"), (Principal::Anonymous, relay));
    let trusted = [
        "ms-Exch-SMTP-Submit",
        "ms-Exch-SMTP-Accept-Any-Recipient",
        "ms-Exch-SMTP-Accept-Any-Sender",
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
        "ms-Exch-SMTP-Accept-Authentication-Flag",
        "ms-Exch-Bypass-Anti-Spam",
        "ms-Exch-Bypass-Message-Size-Limit",
        "ms-Exch-Accept-Headers-Routing",
    ];
    assert_eq!(names("SMTP Relay EXCH01"), (Principal::ExternallySecured, trusted.to_vec()));
    assert_eq!(names("Other"), (Principal::Anonymous, vec![]));
}

/// Table 3.1 of docs/exchange-semantics.md, for the rights that matter to a relay.
#[test]
fn each_group_gives_exactly_the_documented_rights() {
    use relay_connector::Permission::*;
    let trusted = [
        Submit,
        AcceptAnyRecipient,
        AcceptAnySender,
        AcceptAuthoritativeDomainSender,
        AcceptAuthenticationFlag,
        BypassAntiSpam,
        BypassMessageSizeLimit,
        AcceptHeadersRouting,
    ];
    for &group in PermissionGroup::ALL {
        for &principal in Principal::ALL {
            let given: Vec<_> = group.permissions(principal).iter().collect();
            let expected = match (group.name(), principal) {
                ("AnonymousUsers", Principal::Anonymous) => vec![
                    Submit,
                    AcceptAnySender,
                    AcceptAuthoritativeDomainSender,
                    AcceptHeadersRouting,
                ],
                ("ExchangeUsers", Principal::User) => {
                    vec![Submit, AcceptAnyRecipient, BypassAntiSpam, AcceptHeadersRouting]
                }
                ("ExchangeServers", Principal::ExternallySecured) => trusted.to_vec(),
                ("ExchangeServers", Principal::Server) => Permission::ALL.to_vec(),
                ("Partners", Principal::Partner) => vec![Submit, AcceptHeadersRouting],
                _ => vec![],
            };
            assert_eq!(given, expected, "{group} for {principal}");
        }
    }
}

/// A denial goes before group and grant, and the reason says so.
#[test]
fn a_denial_beats_group_and_grant() {
    let rules = rules(
        "permission_groups = [\"AnonymousUsers\", \"Custom\"]\n\
         grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }\n\
         denies = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\", \
         \"ms-Exch-SMTP-Accept-Authoritative-Domain-Sender\"] }",
    );
    let peer = peer(&rules, "Other");
    let ours = mail(&rules, &peer, &sender("<ceo@contoso.example>"), None);
    assert_eq!(ours.reply, reply::MAY_NOT_SEND_AS);
    assert_eq!(
        last(&ours),
        "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender: denied to anonymous by denies, against \
         permission group AnonymousUsers"
    );
    let theirs = mail(&rules, &peer, &sender("<a@stranger.example>"), None);
    assert_eq!(theirs.reply, reply::SENDER_OK);
    let relay = rcpt_now(&rules, &peer, &recipient("<b@stranger.example>"), 0);
    assert_eq!(relay.reply, reply::UNABLE_TO_RELAY);
    assert_eq!(
        last(&relay),
        "ms-Exch-SMTP-Accept-Any-Recipient: denied to anonymous by denies, against grants"
    );
}

/// The article: which client may send to which recipient.
#[test]
fn the_scenario() {
    let rules = rules("");
    for (connector, host, code, because) in [
        (
            "Default Frontend",
            "contoso.example",
            250,
            "accepted_domain: the recipient is in contoso.example (Authoritative)",
        ),
        (
            "Default Frontend",
            "deep.partner.example",
            250,
            "accepted_domain: the recipient is in *.partner.example (InternalRelay)",
        ),
        (
            "Default Frontend",
            "stranger.example",
            550,
            "ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous",
        ),
        (
            "Scanners",
            "stranger.example",
            250,
            "ms-Exch-SMTP-Accept-Any-Recipient: granted to anonymous by grants",
        ),
        (
            "SMTP Relay EXCH01",
            "stranger.example",
            250,
            "ms-Exch-SMTP-Accept-Any-Recipient: granted to externally-secured by permission \
             group ExchangeServers",
        ),
        (
            "Default Frontend",
            "[192.0.2.1]",
            550,
            "ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous",
        ),
    ] {
        let path = recipient(&format!("<b@{host}>"));
        let decision = rcpt_now(&rules, &peer(&rules, connector), &path, 0);
        assert_eq!(decision.reply.code, code, "{connector} to {host}");
        assert_eq!(last(&decision), because, "{connector} to {host}");
    }
    let stranger =
        rcpt_now(&rules, &peer(&rules, "Default Frontend"), &recipient("<b@stranger.example>"), 0);
    assert_eq!(
        stranger.reply.to_string(),
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"
    );
    assert_eq!(stranger.because[0].found, "`stranger.example` is not accepted");
}

#[test]
fn a_recipient_is_looked_up_when_nothing_else_refuses_it() {
    let rules = rules("permission_groups = [\"AnonymousUsers\"]\nmax_recipients_per_message = 2");
    let peer = peer(&rules, "Other");
    let path = recipient("<b@mailboxes.example>");
    let decide = |so_far, recipient| {
        rcpt(&rules, &peer, &path, so_far, &Findings { recipient, ..Findings::default() })
    };
    let DecisionOrInquiry::Needs(Inquiry::Recipient { mailbox, lookup }) = decide(0, None) else {
        panic!("no inquiry is needed")
    };
    let asked = (mailbox.to_string(), lookup.to_string());
    assert_eq!(asked, ("b@mailboxes.example".to_owned(), "lmtp://127.0.0.1:24".to_owned()));
    let said = || "it said so".to_owned();
    for (finding, reply, because) in [
        (
            RecipientFinding::Known,
            reply::RECIPIENT_OK,
            "recipient_lookup: lmtp://127.0.0.1:24 knows the recipient",
        ),
        (
            RecipientFinding::NotAsked,
            reply::RECIPIENT_OK,
            "recipient_lookup: lmtp://127.0.0.1:24 would be asked; assumed to know the recipient",
        ),
        (
            RecipientFinding::Unavailable(said()),
            reply::RECIPIENT_UNVERIFIED,
            "recipient_lookup: lmtp://127.0.0.1:24 gave no answer: it said so",
        ),
        (
            RecipientFinding::Unknown(said()),
            reply::RECIPIENT_NOT_FOUND,
            "recipient_lookup: lmtp://127.0.0.1:24 refused the recipient: it said so",
        ),
    ] {
        let DecisionOrInquiry::Decided(decision) = decide(0, Some(finding)) else {
            panic!("asked again")
        };
        assert_eq!((decision.reply.clone(), &*last(&decision)), (reply, because));
    }
    let DecisionOrInquiry::Decided(surplus) = decide(2, None) else { panic!("asked in vain") };
    assert_eq!(surplus.reply, reply::TOO_MANY_RECIPIENTS);
}

#[test]
fn postmaster_without_a_domain_is_that_of_the_first_authoritative_domain() {
    let rules = rules("");
    let decision = rcpt_now(&rules, &peer(&rules, "Other"), &recipient("<Postmaster>"), 0);
    assert_eq!(decision.reply, reply::RECIPIENT_OK);
    assert_eq!(
        last(&decision),
        "postmaster: mail for postmaster goes to postmaster@contoso.example"
    );
    let addressed = rules.addressed(recipient("<Postmaster>").into());
    assert_eq!(addressed.path, recipient("<postmaster@contoso.example>"));
    let mut without = (*rules).clone();
    without.postmaster = None;
    let decision = rcpt_now(&without, &peer(&rules, "Other"), &recipient("<postmaster>"), 0);
    assert_eq!(decision.reply, reply::RECIPIENT_NOT_FOUND);
}

#[test]
fn the_surplus_of_recipients_is_deferred_unless_it_is_refused_for_good() {
    let rules = rules("permission_groups = [\"AnonymousUsers\"]\nmax_recipients_per_message = 2");
    let peer = peer(&rules, "Other");
    let decide = |path: &str, so_far| rcpt_now(&rules, &peer, &recipient(path), so_far);
    assert_eq!(decide("<b@contoso.example>", 1).reply, reply::RECIPIENT_OK);
    let surplus = decide("<b@contoso.example>", 2);
    assert_eq!(surplus.reply, reply::TOO_MANY_RECIPIENTS);
    assert_eq!(last(&surplus), "max_recipients_per_message: 2 are accepted already");
    assert_eq!(decide("<b@stranger.example>", 2).reply, reply::UNABLE_TO_RELAY);
}

#[test]
fn the_greeting() {
    let plain = rules("banner = \"220 hello there\"");
    let greet = |rules: &Rules, name: Option<&str>| {
        let connector = name.map(|name| peer(rules, name).connector);
        connect(connector.as_deref())
    };
    let usual = greet(&plain, Some("Scanners"));
    assert_eq!(usual.reply.to_string(), "220 edge1.contoso.example ESMTP");
    assert_eq!(last(&usual), "connector: the connection belongs to `Scanners`");
    let own = greet(&plain, Some("Other"));
    assert_eq!(own.reply.to_string(), "220 hello there");
    assert_eq!(last(&own), "banner: set by the connector");
    let unserved = greet(&plain, None);
    assert_eq!(unserved.reply, reply::SERVICE_NOT_AVAILABLE);
    assert_eq!(last(&unserved), "connector: no connector serves this address on this binding");
    let refused = greet(&rules("refuse = true"), Some("Other"));
    assert_eq!(refused.reply, reply::SERVICE_NOT_AVAILABLE);
    assert_eq!(last(&refused), "refuse: the connector refuses its sources");
}

#[test]
fn mail_asks_for_tls_before_anything_else() {
    let text = r#"
hostname = "edge1"
delivery.smart_host = "127.0.0.1:2626"
tls = { certificate = "c", key = "k" }
connector = [{ name = "C", bindings = ["0.0.0.0:25"], remote_ip_ranges = ["10.0.0.1"], require_tls = true, permission_groups = ["AnonymousUsers"] }]
"#;
    let config = Config::parse(text, "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    let mut peer = peer(&rules, "C");
    let offered = start_tls(&peer);
    assert_eq!(offered.reply, reply::START_TLS);
    assert_eq!(last(&offered), "auth_mechanism: the connector has Tls");
    let plain = mail(&rules, &peer, &ReversePath::Null, None);
    assert_eq!(plain.reply, reply::TLS_REQUIRED);
    assert_eq!(last(&plain), "require_tls: the session is not encrypted");
    peer.tls = true;
    assert_eq!(last(&start_tls(&peer)), "tls: the session is encrypted already");
    assert_eq!(mail(&rules, &peer, &ReversePath::Null, None).reply, reply::SENDER_OK);
}

#[test]
fn starttls_needs_a_certificate_and_the_mechanism() {
    let with_mechanism = rules("");
    let decision = start_tls(&peer(&with_mechanism, "Other"));
    assert_eq!(decision.reply, reply::UNRECOGNIZED_COMMAND);
    assert_eq!(last(&decision), "tls: there is no certificate");
    let without = rules("auth_mechanism = [\"None\"]");
    let decision = start_tls(&peer(&without, "Other"));
    assert_eq!(decision.reply, reply::UNRECOGNIZED_COMMAND);
    assert_eq!(last(&decision), "auth_mechanism: the connector does not have Tls");
}

#[test]
fn a_declared_size_is_held_against_the_limit() {
    let rules = rules("permission_groups = [\"AnonymousUsers\"]\nmax_message_size = 65536");
    let decide = |size| mail(&rules, &peer(&rules, "Other"), &ReversePath::Null, Some(size));
    assert_eq!(decide(65_536).reply, reply::SENDER_OK);
    let large = decide(65_537);
    assert_eq!(large.reply, reply::MESSAGE_TOO_LARGE);
    assert_eq!(large.because[2].found, "65537 octets, over the 65536 allowed");
    assert_eq!(last(&large), "ms-Exch-Bypass-Message-Size-Limit: not granted to anonymous");
    let trusted = peer(&rules, "SMTP Relay EXCH01");
    let decision = mail(&rules, &trusted, &ReversePath::Null, Some(u64::MAX));
    assert_eq!(decision.reply, reply::SENDER_OK);
}

#[test]
fn the_message_as_a_whole() {
    let rules = rules(
        "permission_groups = [\"AnonymousUsers\"]\nmax_message_size = 65536\n\
         max_header_size = 100\nmax_hop_count = 3",
    );
    let fine = MessageFacts {
        size: 65_536,
        header_size: 100,
        header_fields: HEADER_FIELDS,
        hops: 3,
        local_hops: 5,
        bare_line_ending: false,
    };
    let decide = |facts| message(&peer(&rules, "Other"), &facts);
    assert_eq!(decide(fine).reply, reply::QUEUED);
    for (facts, expected, because) in [
        (
            MessageFacts { bare_line_ending: true, ..fine },
            reply::BARE_LINE_ENDING,
            "bare line ending: a line ends with something other than CRLF",
        ),
        (
            MessageFacts { size: 65_537, ..fine },
            reply::MESSAGE_TOO_LARGE,
            "ms-Exch-Bypass-Message-Size-Limit: not granted to anonymous",
        ),
        (
            MessageFacts { header_size: 101, ..fine },
            reply::HEADER_TOO_LARGE,
            "max_header_size: 101 octets of header, 100 allowed",
        ),
        (
            MessageFacts { header_fields: HEADER_FIELDS + 1, ..fine },
            reply::HEADER_TOO_LARGE,
            "header fields: 4097 fields, 4096 allowed",
        ),
        (
            MessageFacts { local_hops: 6, ..fine },
            reply::HOP_COUNT_EXCEEDED,
            "max_local_hop_count: 6 Received fields name this host, 5 allowed",
        ),
        (
            MessageFacts { hops: 4, ..fine },
            reply::HOP_COUNT_EXCEEDED,
            "max_hop_count: 4 Received fields, 3 allowed",
        ),
    ] {
        let decision = decide(facts);
        assert_eq!(decision.reply, expected);
        assert_eq!(last(&decision), because);
    }
}

#[test]
fn a_reload_keeps_the_ids_of_names() {
    let parse = |names: &[&str]| {
        let connectors: String = names
            .iter()
            .enumerate()
            .map(|(number, name)| {
                format!(
                    "[[connector]]\nname = \"{name}\"\nbindings = [\"0.0.0.0:25\"]\n\
                     remote_ip_ranges = [\"10.0.0.{number}\"]\n"
                )
            })
            .collect();
        let head = "hostname = \"edge1\"\ndelivery.smart_host = \"127.0.0.1:2626\"\n";
        Config::parse(&format!("{head}{connectors}"), "relay.toml").unwrap()
    };
    let mut ids = ConnectorIds::default();
    let before = parse(&["a", "b"]).rules(&mut ids, 1).unwrap();
    let after = parse(&["c", "b"]).rules(&mut ids, 2).unwrap();
    let of = |rules: &Rules, remote: &str| {
        let found = rules.table.classify("10.9.9.9:25".parse().unwrap(), remote.parse().unwrap());
        match found {
            TableMatch::Connector { connector, .. } => {
                (connector.0, rules.connector(connector).unwrap().name.clone())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of(&before, "10.0.0.0"), (1, "a".to_owned()));
    assert_eq!(of(&before, "10.0.0.1"), (2, "b".to_owned()));
    assert_eq!(of(&after, "10.0.0.0"), (3, "c".to_owned()));
    assert_eq!(of(&after, "10.0.0.1"), (2, "b".to_owned()));
    assert_eq!((before.generation, after.generation), (1, 2));
}

/// `bücher.example` and `xn--bcher-kva.example` are one domain, in any combination of configuration
/// and client.
#[test]
fn u_labels_and_a_labels_are_the_same_domain() {
    for configured in ["b\u{fc}cher.example", "xn--bcher-kva.example", "*.b\u{fc}cher.example"] {
        let text = format!(
            r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
accepted_domain = [{{ name = "{configured}" }}]
[[connector]]
name = "C"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
"#
        );
        let config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
        let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
        let peer = peer(&rules, "C");
        for written in ["b\u{fc}cher.example", "B\u{dc}CHER.example", "XN--BCHER-KVA.example"] {
            let recipient = recipient(&format!("<a@{written}>"));
            let judgement = rcpt(&rules, &peer, &recipient, 0, &Findings::default());
            let DecisionOrInquiry::Decided(decision) = judgement else {
                panic!("no inquiry is needed")
            };
            assert_eq!(decision.reply, reply::RECIPIENT_OK, "{configured} {written}");
        }
        // One letter more, or a similar letter, is another domain.
        for other in ["bucher.example", "b\u{fc}chers.example", "b\u{f9}cher.example"] {
            let recipient = recipient(&format!("<a@{other}>"));
            let judgement = rcpt(&rules, &peer, &recipient, 0, &Findings::default());
            let DecisionOrInquiry::Decided(decision) = judgement else {
                panic!("no inquiry is needed")
            };
            assert_eq!(decision.reply, reply::UNABLE_TO_RELAY, "{configured} {other}");
        }
    }
}
