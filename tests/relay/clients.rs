//! Clients of other projects deliver their messages unchanged.

use std::process::{Command, Stdio};

use relay_tests::client::{postfix, swaks};
use relay_tests::requirements::{Requirement, met, say_skipped};

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER};

#[test]
fn swaks_gets_the_replies_of_exchange() {
    if !met("swaks_gets_the_replies_of_exchange", &[Requirement::Program("swaks")]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let server = edge.address().to_string();
    let send = |from: &str, to: &str| {
        let addresses = ["--from", "a@contoso.example", "--to", to];
        let base = ["--server", &server, "--helo", "client.example", "--local-interface", from];
        swaks(None, &[&base[..], &addresses[..]].concat()).unwrap()
    };
    let stranger = send("127.0.0.1", "b@fabrikam.example");
    let denied = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";
    assert_eq!(stranger.refusal(), Some(denied));
    assert!(!stranger.status.success());
    for (from, to) in [
        ("127.0.0.1", "b@contoso.example"),
        ("127.0.0.2", "b@fabrikam.example"),
        (SCANNER, "b@fabrikam.example"),
    ] {
        let sent = send(from, to);
        assert!(sent.verdict().unwrap().starts_with("250 2.6.0 "), "{}", sent.text);
    }
    let refused = send("127.0.0.4", "b@contoso.example");
    assert_eq!(refused.refusal(), Some("421 4.3.2 Service not available"));
    let messages = edge.sink.wait_for(3, PATIENCE).unwrap();
    assert!(messages.iter().all(|message| message.text().contains("This is a test mailing")));
}

/// Connects as a stranger, sends one message to an accepted and a refused recipient, and prints the
/// refusal.
const SMTPLIB: &str = r#"
import smtplib, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example", source_address=("127.0.0.1", 0)) as smtp:
    refused = smtp.sendmail(
        "a@contoso.example",
        ["b@contoso.example", "c@fabrikam.example"],
        b"Subject: from Python\r\n\r\n.\r\n.. two\r\nGr\xc3\xbc\xc3\x9fe\r\n",
        mail_options=["BODY=8BITMIME"],
    )
    print(refused["c@fabrikam.example"][0], len(refused))
"#;

#[test]
fn smtplib_has_one_accepted_and_one_refused_recipient() {
    let test = "smtplib_has_one_accepted_and_one_refused_recipient";
    if !met(test, &[Requirement::Program("python3")]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let port = edge.port.to_string();
    let output = Command::new("python3").args(["-c", SMTPLIB, &port]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "550 1\n", "{output:?}");
    let message = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_eq!(message.recipients[0].address, "b@contoso.example");
    assert!(
        message.text().ends_with("Subject: from Python\r\n\r\n.\r\n.. two\r\nGr\u{fc}\u{df}e\r\n")
    );
}

#[test]
fn a_hundred_messages_of_smtp_source_arrive_once_each() {
    let test = "a_hundred_messages_of_smtp_source_arrive_once_each";
    let Some(mut source) = postfix("smtp-source") else {
        return say_skipped(test, &"only `cargo xtask test` says where Postfix is");
    };
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let server = edge.address().to_string();
    let arguments = ["-s", "10", "-m", "100", "-l", "4096", "-f", "a@contoso.example"];
    source.args(arguments).args(["-t", "b@contoso.example", &server]).stdin(Stdio::null());
    let output = source.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    edge.sink.wait_for(100, PATIENCE).unwrap();
    edge.wait_until(|status| status["queue"]["delivered"] == 100);
    assert_eq!(edge.sink.messages().len(), 100);
    assert_eq!(edge.connector("Default Frontend")["daemon"]["messages_accepted"], 100);
}
