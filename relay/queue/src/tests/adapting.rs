//! Reports that are changed for a next hop that lacks the extensions they need.

use crate::adapt::{Adapted, adapt};
use crate::tests::*;
use mail_parser::{MessageParser, MimeHeaders};

/// A report about a recipient beyond ASCII, which returns a message beyond ASCII.
async fn report(sender: &str, message: &str) -> (Entry, Vec<u8>) {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let recipients = ["<j\u{f6}rg@fabrikam.example>", "<b@fabrikam.example>"];
    let recipients = recipients.map(|path| ForwardPath::parse(path).unwrap().into()).to_vec();
    let sender = ReversePath::parse(sender).unwrap();
    let envelope = Envelope { sender, recipients, smtputf8: true, ..envelope() };
    try_commit(&queue, envelope, message.as_bytes()).await.unwrap();
    let entry = claim_one(&queue).await;
    let outcomes = vec![(0, failed("no")), (1, failed("no"))];
    queue.record(entry, outcomes, SystemTime::now()).await.unwrap();
    let report = claim_one(&queue).await;
    let octets = bytes_of(&queue, report.id).await.unwrap();
    (report, octets)
}

const MESSAGE: &str = "Subject: \u{e9}\r\n\r\n\u{e9}\u{e9}\r\n";

#[tokio::test]
async fn every_part_is_kept_in_ascii() {
    let (entry, octets) = report("<a@b\u{fc}cher.example>", MESSAGE).await;
    assert!(!octets.is_ascii() && !entry.recipients[0].path.is_ascii());
    let Adapted { message, recipient } = adapt(&entry, &octets, None).unwrap();
    assert!(message.is_ascii());
    assert_eq!(recipient.path.to_string(), "a@xn--bcher-kva.example");
    let read = |octets: &[u8]| {
        let parsed = MessageParser::new().parse(octets).unwrap();
        let parts = parsed.parts[1..].iter();
        parts.map(|part| part.contents().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(read(&message), read(&octets));
    let parsed = MessageParser::new().parse(&message[..]).unwrap();
    let types = parsed.parts[1..]
        .iter()
        .map(|part| part.content_type().unwrap().subtype().unwrap().to_owned());
    assert_eq!(types.collect::<Vec<_>>(), ["plain", "global-delivery-status", "global"]);
    assert_eq!(parsed.parts[3].contents(), MESSAGE.as_bytes());
}

#[tokio::test]
async fn a_report_that_is_too_large_omits_the_returned_message() {
    let (entry, octets) = report("<a@contoso.example>", &MESSAGE.repeat(400)).await;
    let most = octets.len() as u64 - 1;
    let adapted = adapt(&entry, &octets, Some(most)).unwrap();
    assert!(adapted.message.len() as u64 <= most && adapted.message.is_ascii());
    let text = String::from_utf8(adapted.message.to_vec()).unwrap();
    assert!(!text.contains("message/global\r\n"), "{text}");
    assert!(adapt(&entry, &octets, Some(500)).is_none());
}

#[tokio::test]
async fn nothing_else_is_changed() {
    let (entry, octets) = report("<a@contoso.example>", MESSAGE).await;
    for (from, to) in [("=_report_", "=_other_"), ("--\r\n", "\r\n")] {
        let other = String::from_utf8(octets.clone()).unwrap().replace(from, to);
        assert!(adapt(&entry, other.as_bytes(), None).is_none(), "{from}");
    }
    let (entry, octets) = report("<j\u{f6}rg@contoso.example>", MESSAGE).await;
    assert!(adapt(&entry, &octets, None).is_none(), "no ASCII form of its recipient exists");
}
