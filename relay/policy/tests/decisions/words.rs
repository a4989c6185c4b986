//! The words of the reasons: one line for each, in tests/decisions.snap. Only this test compares
//! sentences.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// Decisions, each with the question that it answers.
#[derive(Default)]
struct Words(String);

impl Words {
    fn add(&mut self, question: &str, decision: &Decision) {
        writeln!(self.0, "\n{question}\n  {}", decision.reply).unwrap();
        for because in &decision.because {
            writeln!(self.0, "    {}: {}", because.rule, because.found).unwrap();
        }
    }
}

#[test]
fn the_words_of_the_reasons() {
    let mut words = Words(String::from(
        "# Questions to the policy, the replies, and the reasons in words.\n\
         # Written by the test `the_words_of_the_reasons` of relay/policy/tests/decisions/words.rs with\n\
         # UPDATE_EXPECT=1. The connectors are in main.rs beside it.\n",
    ));
    connections(&mut words);
    senders(&mut words);
    recipients(&mut words);
    messages(&mut words);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/decisions.snap");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &words.0).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert!(words.0 == expected, "the words have changed; they are now\n{}", words.0);
}

fn connections(words: &mut Words) {
    let usual = rules("");
    words.add("a connection of Scanners", &connect(Some(&peer(&usual, "Scanners").connector)));
    words.add("a connection of no connector", &connect(None));
    for keys in ["banner = \"220 hello there\"", "refuse = true"] {
        let rules = rules(keys);
        let decision = connect(Some(&peer(&rules, "Other").connector));
        words.add(&format!("a connection of Other with {keys}"), &decision);
    }
    words.add("STARTTLS without a certificate", &start_tls(&peer(&usual, "Other")));
    let without = rules("auth_mechanism = [\"None\"]");
    words.add("STARTTLS without the mechanism", &start_tls(&peer(&without, "Other")));
    let (with_tls, mut peer) = connections::with_tls();
    words.add("STARTTLS", &start_tls(&peer));
    words.add(
        "MAIL without TLS where require_tls is set",
        &mail(&with_tls, &peer, &ReversePath::Null, None),
    );
    peer.tls = true;
    words.add("STARTTLS again", &start_tls(&peer));
}

fn senders(words: &mut Words) {
    let (denied, limited) = (
        rules(rights::DENIALS),
        rules("permission_groups = [\"AnonymousUsers\"]\nmax_message_size = 65536"),
    );
    for (name, rules, path, size) in [
        ("Other with denials", &denied, "<ceo@contoso.example>", None),
        ("Other with denials", &denied, "<a@stranger.example>", None),
        ("Other", &limited, "<>", Some(65_536)),
        ("Other", &limited, "<>", Some(65_537)),
        ("SMTP Relay EXCH01", &limited, "<>", Some(u64::MAX)),
        ("SMTP Relay EXCH01", &limited, "<a@contoso.example>", None),
    ] {
        let connector = if name == "Other with denials" { "Other" } else { name };
        let decision = mail(rules, &peer(rules, connector), &sender(path), size);
        let size = size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
        words.add(&format!("{name}: MAIL FROM:{path}{size}"), &decision);
    }
}

fn recipients(words: &mut Words) {
    let usual = rules("permission_groups = [\"AnonymousUsers\"]\nmax_recipients_per_message = 2");
    for (connector, path, so_far) in [
        ("Default Frontend", "<b@contoso.example>", 0),
        ("Default Frontend", "<b@deep.partner.example>", 0),
        ("Default Frontend", "<b@stranger.example>", 0),
        ("Default Frontend", "<b@[192.0.2.1]>", 0),
        ("Scanners", "<b@stranger.example>", 0),
        ("SMTP Relay EXCH01", "<b@stranger.example>", 0),
        ("Other", "<Postmaster>", 0),
        ("Other", "<b@contoso.example>", 2),
        ("Other", "<b@stranger.example>", 2),
    ] {
        let path_ = recipient(path);
        let decision = rcpt_now(&usual, &peer(&usual, connector), &path_, so_far);
        words.add(&format!("{connector}: RCPT TO:{path} after {so_far}"), &decision);
    }
    let denied = rules(rights::DENIALS);
    let path = recipient("<b@stranger.example>");
    let decision = rcpt_now(&denied, &peer(&denied, "Other"), &path, 0);
    words.add("Other with denials: RCPT TO:<b@stranger.example> after 0", &decision);
    let mut without = (*usual).clone();
    without.postmaster = None;
    let path = recipient("<postmaster>");
    let decision = rcpt_now(&without, &peer(&usual, "Other"), &path, 0);
    words.add("Other: RCPT TO:<postmaster> without a postmaster", &decision);
    let said = || "it said so".to_owned();
    for finding in [
        RecipientFinding::Known,
        RecipientFinding::NotAsked,
        RecipientFinding::Unavailable(said()),
        RecipientFinding::Unknown(said()),
    ] {
        let question = format!("Other: RCPT TO:<b@mailboxes.example>, {finding:?}");
        let findings = Findings { recipient: Some(finding), ..Findings::default() };
        let path = recipient("<b@mailboxes.example>");
        match rcpt(&usual, &peer(&usual, "Other"), &path, 0, &findings) {
            DecisionOrInquiry::Decided(decision) => words.add(&question, &decision),
            DecisionOrInquiry::Needs(inquiry) => panic!("{inquiry:?}"),
        }
    }
}

fn messages(words: &mut Words) {
    let rules = rules(messages::LIMITS);
    let fine = messages::FINE;
    for (name, facts) in [
        ("within all limits", fine),
        ("with a bare line ending", MessageFacts { bare_line_ending: true, ..fine }),
        ("too large", MessageFacts { size: 65_537, ..fine }),
        ("with a large header section", MessageFacts { header_size: 101, ..fine }),
        ("with many fields", MessageFacts { header_fields: HEADER_FIELDS + 1, ..fine }),
        ("with hops through this host", MessageFacts { local_hops: 6, ..fine }),
        ("with many hops", MessageFacts { hops: 4, ..fine }),
    ] {
        words.add(&format!("a message {name}"), &message(&peer(&rules, "Other"), &facts));
    }
}
