//! The reports a sender gets for each DSN request (RFC 3461).

use crate::tests::*;
use relay_mail::dsn::Addressee;
use relay_mail::dsn::MailDsn;
use relay_mail::dsn::{EnvelopeId, Notify, OriginalRecipient, RcptDsn, Ret};
use relay_mail::envelope::BodyType;
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::OutcomeReason;

pub(super) fn asked(path: &str, notify: Option<&str>, original: Option<&str>) -> Addressee {
    let dsn = RcptDsn {
        notify: notify.map(|text| Notify::parse(text).unwrap()),
        original: original.map(|text| OriginalRecipient::parse(text).unwrap()),
    };
    Addressee { path: ForwardPath::parse(path).unwrap(), dsn }
}

fn relayed() -> Outcome {
    Outcome::Relayed(OutcomeReason::reply(
        "old.example:25",
        Reply::new(250, None, "ok"),
        AnsweredCommand::Rcpt,
    ))
}

/// The outcome of a Maildir.
fn filed() -> Outcome {
    Outcome::Relayed(OutcomeReason::local(Some("/var/mail/archive"), Enhanced(2, 0, 0), "written"))
}

fn delivered() -> Outcome {
    Outcome::Delivered(OutcomeReason::reply(
        "new.example:25",
        Reply::new(250, None, "ok"),
        AnsweredCommand::Rcpt,
    ))
}

/// The text of the report that these outcomes lead to.
async fn report(
    dsn: MailDsn,
    recipients: Vec<Addressee>,
    outcomes: Vec<Outcome>,
    message: &[u8],
) -> Option<String> {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let envelope = Envelope { dsn, recipients, ..envelope() };
    try_commit(&queue, envelope, message).await.unwrap();
    let entry = claim_one(&queue).await;
    let outcomes = outcomes.into_iter().enumerate().collect();
    queue.record(entry, outcomes, SystemTime::now()).await.unwrap();
    if queue.counters().reports == 0 {
        return None;
    }
    let report = claim_one(&queue).await;
    let text = String::from_utf8(bytes_of(&queue, report.id).await.unwrap()).unwrap();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "a bare line ending");
    Some(text)
}

#[tokio::test]
async fn which_sender_gets_which_report() {
    let path = "<one@fabrikam.example>";
    for (notify, outcome, action) in [
        (None, failed("no"), Some("failed")),
        (None, relayed(), None),
        (None, delivered(), None),
        (Some("NEVER"), failed("no"), None),
        (Some("NEVER"), relayed(), None),
        (Some("FAILURE"), failed("no"), Some("failed")),
        (Some("FAILURE"), relayed(), None),
        (Some("DELAY"), failed("no"), None),
        (Some("SUCCESS"), failed("no"), None),
        (Some("SUCCESS"), relayed(), Some("relayed")),
        (Some("SUCCESS"), filed(), Some("delivered")),
        (Some("FAILURE"), filed(), None),
        (None, filed(), None),
        // The next hop knows the request, and reports to the sender itself.
        (Some("SUCCESS"), delivered(), None),
    ] {
        let recipients = vec![asked(path, notify, None)];
        let text = report(MailDsn::default(), recipients, vec![outcome.clone()], b"A: b\r\n").await;
        let found = text.as_deref().and_then(|text| text.split("\r\nAction: ").nth(1));
        let found = found.and_then(|rest| rest.split("\r\n").next());
        assert_eq!(found, action, "{notify:?} {outcome:?}");
    }
}

#[tokio::test]
async fn a_report_names_the_message_and_its_recipients_as_the_sender_does() {
    let dsn = MailDsn { envelope_id: EnvelopeId::parse("QQ+2B+20Bcc:+20x"), ..MailDsn::default() };
    let recipients = vec![
        asked("<one@fabrikam.example>", None, Some("rfc822;First+20Bcc:@b.example")),
        asked("<two@fabrikam.example>", Some("SUCCESS"), Some("utf-8;j\\x{F6}rg@b.example")),
        asked("<not@fabrikam.example>", Some("NEVER"), Some("rfc822;secret@b.example")),
    ];
    let outcomes = vec![failed("no"), relayed(), failed("no")];
    let text = report(dsn, recipients, outcomes, b"Subject: x\r\n\r\nbody\r\n").await.unwrap();
    for expected in [
        "\r\nOriginal-Envelope-Id: QQ+ Bcc: x\r\nReporting-MTA: dns; edge1.contoso.example\r\n",
        "\r\n\r\nOriginal-Recipient: rfc822; First Bcc:@b.example\r\n\
         Final-Recipient: rfc822; one@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "\r\n\r\nOriginal-Recipient: utf-8; j\\x{F6}rg@b.example\r\n\
         Final-Recipient: rfc822; two@fabrikam.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains("secret@") && !text.contains("\r\nBcc:"), "{text}");
}

#[tokio::test]
async fn a_report_returns_what_was_asked_for() {
    let message = ["Subject: large\r\n\r\n", &"The body.\r\n".repeat(10_000)].concat();
    for (ret, message, outcome, whole) in [
        (Some(Ret::Full), &message[..], failed("no"), true),
        (None, &message, failed("no"), false),
        (Some(Ret::Headers), "Subject: small\r\n\r\nThe body.\r\n", failed("no"), false),
        (None, "Subject: small\r\n\r\nThe body.\r\n", failed("no"), true),
        (Some(Ret::Full), "Subject: small\r\n\r\nThe body.\r\n", relayed(), false),
    ] {
        let dsn = MailDsn { ret, ..MailDsn::default() };
        let recipients = vec![asked("<one@fabrikam.example>", Some("SUCCESS,FAILURE"), None)];
        let text = report(dsn, recipients, vec![outcome], message.as_bytes()).await.unwrap();
        assert_eq!(text.contains("The body."), whole, "{ret:?}");
        assert!(text.contains("\r\nSubject: "));
    }
}

/// A stranger chooses who gets a report, so the report must not return the stranger's body.
#[tokio::test]
async fn a_report_to_an_unproven_sender_returns_the_header_section() {
    for (ret, is_unproven, whole) in
        [(None, true, false), (Some(Ret::Headers), true, false), (None, false, true)]
    {
        let dsn = MailDsn { ret, is_unproven, ..MailDsn::default() };
        let recipients = vec![asked("<one@fabrikam.example>", None, None)];
        let message = b"Subject: small\r\n\r\nThe body.\r\n";
        let text = report(dsn, recipients, vec![failed("no")], message).await.unwrap();
        assert_eq!(text.contains("The body."), whole, "{ret:?} {is_unproven}");
        assert_eq!(text.contains("\r\nContent-Type: text/rfc822-headers\r\n"), !whole);
    }
}

/// The boundary of a report.
fn boundary(text: &str) -> &str {
    text.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap()
}

/// Earlier reports and their ids tell nothing about the boundary.
#[tokio::test]
async fn the_boundary_of_a_report_cannot_be_foretold() {
    let mut tails = Vec::new();
    for _ in 0..20 {
        let recipients = vec![asked("<one@fabrikam.example>", None, None)];
        let text = report(MailDsn::default(), recipients, vec![failed("no")], b"A: b\r\n").await;
        let text = text.unwrap();
        let boundary = boundary(&text);
        assert!(boundary.len() <= 70, "RFC 2046 section 5.1.1");
        assert_eq!(text.matches(&format!("\r\n--{boundary}")).count(), 4);
        tails.push(boundary.rsplit('_').next().unwrap().to_owned());
    }
    assert!(tails.iter().all(|tail| tail.len() == 32), "128 bits");
    // The probability that one of 32 digits is equal in all twenty: once in 10^22.
    for digit in 0..32 {
        assert!(tails.iter().any(|tail| tail.as_bytes()[digit] != tails[0].as_bytes()[digit]));
    }
}

#[tokio::test]
async fn a_report_returns_a_bounded_part_of_a_header_section() {
    let section = ["Subject: x\r\n", &"X-Filler: 0123456789\r\n".repeat(10_000)].concat();
    for ret in [None, Some(Ret::Headers)] {
        let dsn = MailDsn { ret, ..MailDsn::default() };
        let recipients = vec![asked("<one@fabrikam.example>", None, None)];
        let message = format!("{section}\r\nThe body.\r\n");
        let text = report(dsn, recipients, vec![failed("no")], message.as_bytes()).await.unwrap();
        assert!(text.contains("\r\nSubject: x\r\nX-Filler: 0123456789\r\n"));
        assert!(text.len() < limits::REPORT_HEADER_OCTETS + 4096, "{} octets", text.len());
        assert!(!text.contains("The body."));
    }
}

#[tokio::test]
async fn a_report_names_the_next_hop_as_a_host() {
    for (hop, name) in [
        ("mail.fabrikam.example:25", "mail.fabrikam.example"),
        ("192.0.2.1:2525", "[192.0.2.1]"),
        ("[2001:db8::1]:25", "[IPv6:2001:db8::1]"),
    ] {
        let no = Outcome::Failed(OutcomeReason::reply(
            hop,
            Reply::new(550, None, "no"),
            AnsweredCommand::Rcpt,
        ));
        let recipients = vec![asked("<one@fabrikam.example>", None, None)];
        let text = report(MailDsn::default(), recipients, vec![no], b"A: b\r\n").await.unwrap();
        assert!(text.contains(&format!("\r\nRemote-MTA: dns; {name}\r\n")), "{text}");
    }
}

#[tokio::test]
async fn a_header_section_beyond_ascii_is_returned_as_what_it_is() {
    for (ret, part) in [(Ret::Full, "message/global"), (Ret::Headers, "message/global-headers")] {
        let directory = TempDir::new().unwrap();
        let (queue, _) = open(directory.path());
        let dsn = MailDsn { ret: Some(ret), ..MailDsn::default() };
        let envelope = Envelope { dsn, smtputf8: true, ..envelope() };
        try_commit(&queue, envelope, "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n".as_bytes())
            .await
            .unwrap();
        let entry = claim_one(&queue).await;
        queue.record(entry, vec![(0, failed("no"))], SystemTime::now()).await.unwrap();
        let report = claim_one(&queue).await;
        let text = String::from_utf8(bytes_of(&queue, report.id).await.unwrap()).unwrap();
        assert!(text.contains(&format!("\r\nContent-Type: {part}\r\n")), "{text}");
        // The addresses are ASCII, so the delivery status is ASCII as well.
        assert!(text.contains("\r\nContent-Type: message/delivery-status\r\n"), "{text}");
    }
}

#[tokio::test]
async fn dsn_requests_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let dsn = MailDsn {
        ret: Some(Ret::Headers),
        envelope_id: EnvelopeId::parse("a+2Bb"),
        is_unproven: true,
    };
    let recipients = vec![
        asked("<one@fabrikam.example>", Some("SUCCESS,DELAY"), Some("utf-8;jörg@b.example")),
        asked("<two@fabrikam.example>", None, None),
    ];
    let envelope = Envelope { dsn: dsn.clone(), recipients: recipients.clone(), ..envelope() };
    let (queue, _) = open(directory.path());
    let id = try_commit(&queue, envelope, b"A: b\r\n").await.unwrap();
    drop(queue);
    let (queue, _) = open(directory.path());
    let entry = queue.store().find(id).await.unwrap();
    assert_eq!(entry.dsn, dsn);
    assert_eq!(entry.recipients.iter().map(Recipient::addressee).collect::<Vec<_>>(), recipients);
}

/// A record as the version before DSN and BINARYMIME wrote it.
#[test]
fn an_older_record_is_read() {
    let json = br#"{"sender":"a@b.example","recipients":[{"path":"c@d.example","state":"pending"}],
        "eight_bit_mime":true,"smtputf8":false,"eight_bit":true,"eight_bit_header":false,"size":5,
        "arrived":1,"attempts":0,"due":1,"held":false}"#;
    let (entry, _) = record::decode(QueueId::from_u64(1), json).unwrap();
    assert_eq!((entry.body, entry.binary), (BodyType::EightBitMime, false));
    assert_eq!((entry.dsn, &entry.recipients[0].dsn), (MailDsn::default(), &RcptDsn::default()));
}
