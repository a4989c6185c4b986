//! The outcome for each recipient, and the reports about it.

use std::fs;

use relay_tests::daemon;
use relay_tests::sink::Message;

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode};

const CONTENT: &str = "Subject: a test\r\nMessage-ID: <one@contoso.example>\r\n\r\nhello\r\n";

fn recipients(message: &Message) -> Vec<&str> {
    message.recipients.iter().map(|recipient| recipient.address.as_str()).collect()
}

/// The reports at the next hop: from the null sender, to this sender.
fn assert_is_report(message: &Message, to: &str, status: &str) {
    assert_eq!((message.sender.address.as_str(), recipients(message)), ("", vec![to]));
    let text = message.text();
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Reporting-MTA: dns; edge.test\r\n",
        "Action: failed\r\n",
        &format!("Status: {status}\r\n"),
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn each_recipient_has_its_own_result() {
    let edge = Edge::answered(&[
        "rcpt:gone@fabrikam.example=550 5.1.1 No such user",
        "rcpt:busy@fabrikam.example*1=450 4.2.1 Mailbox busy",
    ]);
    let _daemon = edge.start();
    let all = ["amy@fabrikam.example", "gone@fabrikam.example", "busy@fabrikam.example"];
    edge.submit("sender@contoso.example", &all, CONTENT);
    let messages = edge.sink.wait_for(3, PATIENCE).unwrap();

    let first = &messages[0];
    assert_eq!(recipients(first), ["amy@fabrikam.example"]);
    let report = messages.iter().find(|message| message.sender.address.is_empty()).unwrap();
    assert_is_report(report, "sender@contoso.example", "5.1.1");
    let text = report.text();
    assert!(text.contains("Final-Recipient: rfc822; gone@fabrikam.example\r\n"), "{text}");
    assert!(text.contains("Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n"), "{text}");
    assert!(text.contains(CONTENT), "{text}");
    assert!(!text.contains("busy@") && !text.contains("amy@"), "{text}");
    let retried = messages[1..].iter().find(|message| !message.sender.address.is_empty()).unwrap();
    assert_eq!(recipients(retried), ["busy@fabrikam.example"]);
    assert_eq!(retried.content, first.content, "the same bytes, Received field included");

    edge.wait_until(|status| {
        let queue = &status["queue"];
        (&queue["queued"], &queue["claimed"]) == (&0.into(), &0.into())
    });
    let queue = &edge.status()["queue"];
    // The recipient of the report also has a delivery.
    for (count, expected) in [("delivered", 3), ("deferred", 1), ("failed", 1), ("reports", 1)] {
        assert_eq!(queue[count], expected, "{count} of {queue}");
    }
    assert_eq!(edge.sink.messages().len(), 3);
}

#[test]
fn a_refused_message_is_reported_once_for_all_its_recipients() {
    let edge = Edge::answered(&["content*1=554 5.6.0 I do not like it"]);
    let _daemon = edge.start();
    let all = ["amy@fabrikam.example", "bob@fabrikam.example"];
    edge.submit("sender@contoso.example", &all, CONTENT);
    let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_is_report(&report, "sender@contoso.example", "5.6.0");
    for recipient in all {
        assert!(report.text().contains(&format!("Final-Recipient: rfc822; {recipient}\r\n")));
    }
    edge.wait_until(|status| status["queue"]["failed"] == 2 && status["queue"]["queued"] == 0);
}

#[test]
fn a_message_from_the_null_sender_causes_no_report() {
    let edge = Edge::answered(&["rcpt:gone@fabrikam.example=550 5.1.1 No such user"]);
    let _daemon = edge.start();
    edge.submit("", &["gone@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["failed"] == 1 && status["queue"]["queued"] == 0);
    edge.submit("", &["amy@fabrikam.example"], CONTENT);
    let messages = edge.sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(recipients(&messages[0]), ["amy@fabrikam.example"]);
    assert_eq!(edge.status()["queue"]["reports"], 0);
}

#[test]
fn a_message_that_expires_is_reported() {
    let edge = Edge::answered(&["rcpt:busy@fabrikam.example=450 4.2.1 Mailbox busy"]);
    let configuration = edge.configuration(ARTICLE).replace(
        "initial_retry_interval",
        "message_expiration_timeout = \"5s\"\ninitial_retry_interval",
    );
    let _daemon = edge.start_with(&configuration);
    edge.submit("sender@contoso.example", &["busy@fabrikam.example"], CONTENT);
    let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_is_report(&report, "sender@contoso.example", "5.4.7");
    assert!(report.text().contains("450 4.2.1 Mailbox busy"), "{}", report.text());
}

/// A next hop that is down for most senders; reports go to another one.
fn with_dead_next_hop(edge: &Edge) -> String {
    let dead = daemon::free_port().unwrap();
    let sink = edge.sink.address();
    let route = format!(
        "[[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{sink}\"]\n"
    );
    let configuration = edge.configuration(ARTICLE);
    let configuration = configuration.replace(
        &format!("smart_host = \"{sink}\""),
        &format!("smart_host = \"127.0.0.1:{dead}\"\ndelay_notification_timeout = \"3s\""),
    );
    configuration.replacen("[[connector]]", &format!("{route}[[connector]]"), 1)
}

#[test]
fn a_delay_is_reported_once_and_only_if_requested() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&with_dead_next_hop(&edge));
    let sender = "sender@contoso.example RET=FULL ENVID=QQ1";
    let recipients = [
        "amy@fabrikam.example NOTIFY=FAILURE,DELAY ORCPT=rfc822;First@fabrikam.example",
        "bob@fabrikam.example",
        "cid@fabrikam.example NOTIFY=FAILURE",
        "dot@fabrikam.example NOTIFY=NEVER",
    ];
    edge.submit(sender, &recipients, CONTENT);
    edge.submit("quiet@contoso.example", &["eve@fabrikam.example NOTIFY=NEVER"], CONTENT);
    edge.submit("", &["fay@fabrikam.example"], CONTENT);
    let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_eq!(
        (report.sender.address.as_str(), report.recipients.len()),
        ("", 1),
        "from the null sender, to the sender"
    );
    assert_eq!(report.recipients[0].address, "sender@contoso.example");
    let text = report.text();
    for part in [
        "Subject: Delayed: your message has not been delivered yet\r\n",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Original-Envelope-Id: QQ1\r\nReporting-MTA: dns; edge.test\r\n",
        "Original-Recipient: rfc822; First@fabrikam.example\r\n\
         Final-Recipient: rfc822; amy@fabrikam.example\r\nAction: delayed\r\nStatus: 4.",
        "Final-Recipient: rfc822; bob@fabrikam.example\r\nAction: delayed\r\nStatus: 4.",
        "Will-Retry-Until: ",
        "Content-Type: text/rfc822-headers\r\n",
        "Subject: a test\r\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    for part in ["cid@", "dot@", "Action: failed", "\r\nhello\r\n"] {
        assert!(!text.contains(part), "{part:?} in\n{text}");
    }
    edge.wait_until(|status| status["queue"]["queued"] == 3 && status["queue"]["claimed"] == 0);

    // Killed. The next daemon does not report again, although every message is tried there.
    daemon.kill().unwrap();
    let configuration = fs::read_to_string(edge.folder().join("relay.toml")).unwrap();
    let _daemon = edge.start_with(&configuration);
    edge.submit("later@contoso.example", &["gus@fabrikam.example"], CONTENT);
    let messages = edge.sink.wait_for(2, PATIENCE).unwrap();
    assert_eq!(messages[1].recipients[0].address, "later@contoso.example");
    assert_eq!(edge.status()["queue"]["reports"], 1);
    assert_eq!(edge.sink.messages().len(), 2);
}

const EIGHT_BIT: &str = "Subject: a test\r\n\r\nGr\u{fc}\u{df}e\r\n";

#[test]
fn eight_bit_messages_and_utf8_addresses_go_to_next_hops_that_support_them() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let sender = "sender@contoso.example";
    edge.submit(&format!("{sender} BODY=8BITMIME"), &["amy@fabrikam.example"], EIGHT_BIT);
    edge.submit(&format!("{sender} SMTPUTF8"), &["\u{e4}my@fabrikam.example"], CONTENT);
    let messages = edge.sink.wait_for(2, PATIENCE).unwrap();
    let of = |recipient: &str| {
        messages.iter().find(|message| recipients(message) == [recipient]).unwrap()
    };
    let eight_bit = of("amy@fabrikam.example");
    assert_eq!(eight_bit.sender.parameters, "BODY=8BITMIME");
    assert!(eight_bit.text().ends_with(EIGHT_BIT));
    assert_eq!(of("\u{e4}my@fabrikam.example").sender.parameters, "SMTPUTF8");
}

#[test]
fn without_that_support_the_sender_gets_a_report_in_a_supported_form() {
    let edge = Edge::answered(&["helo=250 sink.example"]);
    let _daemon = edge.start();
    let sender = "sender@contoso.example";
    edge.submit(&format!("{sender} BODY=8BITMIME"), &["amy@fabrikam.example"], EIGHT_BIT);
    let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_is_report(&report, sender, "5.6.3");
    assert!(report.content.is_ascii() && report.sender.parameters.is_empty());
    assert!(report.text().contains("text/rfc822-headers"), "{}", report.text());
    assert!(report.text().contains("Subject: a test\r\n"), "{}", report.text());

    edge.submit(&format!("{sender} SMTPUTF8"), &["\u{e4}my@fabrikam.example"], CONTENT);
    let report = edge.sink.wait_for(2, PATIENCE).unwrap().remove(1);
    assert_is_report(&report, sender, "5.6.7");
    assert!(report.content.is_ascii() && report.sender.parameters.is_empty());
    let recipient = "Final-Recipient: utf-8; \\x{E4}my@fabrikam.example\r\n";
    assert!(report.text().contains(recipient), "{}", report.text());
    edge.wait_until(|status| status["queue"]["queued"] == 0);
}

#[test]
fn a_report_about_a_utf8_address_has_the_form_of_rfc_6533() {
    let edge = Edge::answered(&["rcpt:\u{e4}my@fabrikam.example=550 5.1.1 No such user"]);
    let _daemon = edge.start();
    let content = "Subject: Gr\u{fc}\u{df}e\r\n\r\nhello\r\n";
    edge.submit("j\u{f6}rg@contoso.example SMTPUTF8", &["\u{e4}my@fabrikam.example"], content);
    let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_is_report(&report, "j\u{f6}rg@contoso.example", "5.1.1");
    assert!(report.sender.parameters.contains("SMTPUTF8"), "{}", report.sender);
    let text = report.text();
    for part in [
        "To: <j\u{f6}rg@contoso.example>\r\n",
        "Content-Type: message/global-delivery-status\r\n",
        "Final-Recipient: utf-8; \u{e4}my@fabrikam.example\r\n",
        "Content-Type: message/global\r\n",
        content,
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}
