//! The known recipients of an authoritative domain: from a file, or from the server with the
//! mailboxes.

use std::fs;

use relay_tests::sink::{Script, Sink};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER};

const NOT_FOUND: &str =
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup";
const KNOWN: &str = "250 2.1.5 Recipient OK";

/// The article's configuration with one additional key of its accepted domain.
fn configuration(edge: &Edge, key: &str) -> String {
    let domain = "type = \"Authoritative\"\n";
    edge.configuration(ARTICLE).replace(domain, &format!("{domain}{key}\n"))
}

/// The replies to RCPT for each of these, in one transaction.
fn replies(edge: &Edge, recipients: &[&str]) -> Vec<String> {
    let mut client = edge.connect(SCANNER);
    client.hello();
    client.say("MAIL FROM:<a@contoso.example>");
    let replies = recipients.iter().map(|to| client.say(&format!("RCPT TO:<{to}>"))).collect();
    client.quit();
    replies
}

#[test]
fn a_file_of_recipients_is_read_again_at_a_reload_and_a_bad_one_changes_nothing() {
    let edge = Edge::new(Mode::Userspace);
    let file = edge.folder().join("recipients");
    fs::write(&file, "# Who is here.\nAlice\nbob@contoso.example\n").unwrap();
    let text = configuration(&edge, &format!("recipients_file = \"{}\"", file.display()));
    let daemon = edge.start_with(&text);
    let all = ["alice@contoso.example", "BOB@contoso.example", "carol@contoso.example"];
    assert_eq!(replies(&edge, &all), [KNOWN, KNOWN, NOT_FOUND]);
    // Recipients of other domains are not checked, and postmaster exists in all domains.
    let others = [
        "carol@fabrikam.example",
        "Postmaster@contoso.example",
        "\"postmaster\"@contoso.example",
        "postmaster",
    ];
    assert_eq!(replies(&edge, &others), [KNOWN; 4]);

    fs::write(&file, "carol\n").unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    assert_eq!(replies(&edge, &all), [NOT_FOUND, NOT_FOUND, KNOWN]);

    fs::write(&file, "alice\ncarol@fabrikam.example\n").unwrap();
    let refused = edge.relay(&["reload"]);
    let problem = "recipients: line 2: `carol@fabrikam.example` is not in contoso.example";
    assert!(refused.code != 0 && refused.err.contains(problem), "{refused:?}");
    daemon.reload(&text).unwrap();
    daemon.wait_for_line("the old configuration stays in force", PATIENCE).unwrap();
    assert_eq!(replies(&edge, &all), [NOT_FOUND, NOT_FOUND, KNOWN]);
    let check = edge.relay(&["check"]);
    assert!(check.code != 0 && check.err.contains(problem), "{check:?}");

    let question = ["explain", "--from", SCANNER, "--to-binding", &edge.address().to_string()]
        .map(str::to_owned);
    let mail = ["--mail-from", "a@b.example", "--rcpt-to", "alice@contoso.example"];
    fs::write(&file, "carol\n").unwrap();
    let explained =
        edge.relay(&question.iter().map(String::as_str).chain(mail).collect::<Vec<_>>());
    assert_eq!(explained.code, 1, "{explained:?}");
    assert!(explained.out.contains("the recipient is not among the 1 in "), "{explained:?}");
}

#[test]
fn the_server_that_has_the_mailboxes_is_asked_once_and_trouble_is_temporary() {
    for scheme in ["smtp", "lmtp"] {
        let edge = Edge::new(Mode::Userspace);
        let rules = [
            "rcpt:alice@contoso.example=250 2.1.5 Ok",
            "rcpt:busy@contoso.example*1=451 4.3.0 Later",
            "rcpt:busy@contoso.example=250 2.1.5 Ok",
            "rcpt=550 5.1.1 No such user",
        ];
        let mailboxes = Sink::on_loopback(Script::parse(rules).unwrap()).unwrap();
        let key = format!("recipient_lookup = \"{scheme}://{}\"", mailboxes.address());
        let _daemon = edge.start_with(&configuration(&edge, &key));
        let all = ["alice@contoso.example", "bob@contoso.example", "busy@contoso.example"];
        let unverified = replies(&edge, &all);
        assert_eq!(unverified[..2], [KNOWN, NOT_FOUND]);
        assert!(unverified[2].starts_with("451 4."), "{unverified:?}");
        assert_eq!(replies(&edge, &all), [KNOWN, NOT_FOUND, KNOWN]);

        // Cached results work without the server; other recipients are deferred.
        drop(mailboxes);
        let gone = replies(&edge, &["alice@contoso.example", "dora@contoso.example"]);
        assert_eq!(gone[0], KNOWN);
        assert!(gone[1].starts_with("451 4."), "{gone:?}");
        let id = edge.submit("a@b.example", &["alice@contoso.example"], "Subject: x\r\n\r\n");
        let message = &edge.sink.wait_for(1, PATIENCE).unwrap()[0];
        assert!(message.text().contains(&id), "{}", message.text());
    }
}
