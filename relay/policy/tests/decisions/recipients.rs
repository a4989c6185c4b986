//! RCPT: which recipients are accepted?

use super::*;

/// The article: which client may send to which recipient.
#[test]
fn the_scenario() {
    let rules = rules("");
    let relay_right = Rule::Permission(Permission::AcceptAnyRecipient);
    for (connector, host, code, expected) in [
        ("Default Frontend", "contoso.example", 250, Rule::AcceptedDomain),
        ("Default Frontend", "deep.partner.example", 250, Rule::AcceptedDomain),
        ("Default Frontend", "stranger.example", 550, relay_right),
        ("Scanners", "stranger.example", 250, relay_right),
        ("SMTP Relay EXCH01", "stranger.example", 250, relay_right),
        ("Default Frontend", "[192.0.2.1]", 550, relay_right),
    ] {
        let path = recipient(&format!("<b@{host}>"));
        let decision = rcpt_now(&rules, &peer(&rules, connector), &path, 0);
        assert_eq!(decision.reply.code, code, "{connector} to {host}");
        assert_eq!(rule(&decision), expected, "{connector} to {host}");
    }
    let stranger =
        rcpt_now(&rules, &peer(&rules, "Default Frontend"), &recipient("<b@stranger.example>"), 0);
    let Reply { code, enhanced, .. } = stranger.reply;
    assert_eq!((code, enhanced), (550, Some(Enhanced(5, 7, 54))));
    let rules: Vec<_> = stranger.because.iter().map(|because| because.rule).collect();
    assert_eq!(rules, [Rule::AcceptedDomain, relay_right]);
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
    for (finding, reply) in [
        (RecipientFinding::Known, reply::RECIPIENT_OK),
        (RecipientFinding::NotAsked, reply::RECIPIENT_OK),
        (RecipientFinding::Unavailable(said()), reply::RECIPIENT_UNVERIFIED),
        (RecipientFinding::Unknown(said()), reply::RECIPIENT_NOT_FOUND),
    ] {
        let DecisionOrInquiry::Decided(decision) = decide(0, Some(finding)) else {
            panic!("asked again")
        };
        assert_eq!((&decision.reply, rule(&decision)), (&reply, Rule::RecipientLookup));
    }
    let DecisionOrInquiry::Decided(surplus) = decide(2, None) else { panic!("asked in vain") };
    assert_eq!(surplus.reply, reply::TOO_MANY_RECIPIENTS);
}

#[test]
fn postmaster_without_a_domain_is_that_of_the_first_authoritative_domain() {
    let rules = rules("");
    let decision = rcpt_now(&rules, &peer(&rules, "Other"), &recipient("<Postmaster>"), 0);
    assert_eq!(decision.reply, reply::RECIPIENT_OK);
    assert_eq!(rule(&decision), Rule::Postmaster);
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
    assert_eq!(
        (rule(&surplus), numbers(&surplus)),
        (Rule::MaxRecipientsPerMessage, (None, Some(2)))
    );
    assert_eq!(decide("<b@stranger.example>", 2).reply, reply::UNABLE_TO_RELAY);
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
