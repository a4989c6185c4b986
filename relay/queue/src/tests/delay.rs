//! Reports of a delay: one for each message, for senders who want them.

use crate::tests::dsn::asked;
use crate::tests::*;
use relay_mail::dsn::Addressee;
use relay_mail::dsn::MailDsn;
use relay_mail::dsn::Ret;
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::OutcomeReason;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn deferred() -> Outcome {
    let reply = Reply::new(450, Some(Enhanced(4, 2, 1)), "busy");
    Outcome::Deferred(OutcomeReason::reply(
        "mail.fabrikam.example:25",
        reply,
        AnsweredCommand::Rcpt,
    ))
}

fn delivered() -> Outcome {
    Outcome::Delivered(OutcomeReason::reply(
        "mail.fabrikam.example:25",
        Reply::new(250, None, "ok"),
        AnsweredCommand::Rcpt,
    ))
}

/// A queue with one claimed message for these recipients.
async fn claimed(sender: &str, recipients: Vec<Addressee>) -> (TempDir, Queue, Entry) {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let dsn = MailDsn { ret: Some(Ret::Full), ..MailDsn::default() };
    let envelope = Envelope { dsn, recipients, ..envelope_of(sender, &[]) };
    try_commit(&queue, envelope, b"Subject: x\r\n\r\nThe body.\r\n").await.unwrap();
    let entry = claim_one(&queue).await;
    (directory, queue, entry)
}

async fn claimed_one(notify: Option<&str>) -> (TempDir, Queue, Entry) {
    claimed("<sender@contoso.example>", vec![asked("<one@fabrikam.example>", notify, None)]).await
}

/// The text of the only report there is.
async fn report_of(queue: &Queue) -> String {
    let mut reports = queue.store().list(None, 9).await.unwrap();
    reports.retain(|entry| entry.sender == ReversePath::Null);
    assert_eq!(reports.len(), 1);
    let entry = reports.remove(0);
    String::from_utf8(bytes_of(queue, entry.id).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_waiting_message_is_reported_once() {
    let (directory, queue, entry) = claimed_one(None).await;
    let arrived = entry.arrived;
    let early = arrived + HOUR * 4 - Duration::from_secs(30);
    let entry = queue.record(entry, vec![(0, deferred())], early).await.unwrap();
    assert_eq!(queue.counters().reports, 0);
    assert_eq!(entry.due, arrived + HOUR * 4, "it comes up no later than the warning is due");

    let claimed = queue.store().claim_due(entry.due, 1).await.unwrap().remove(0);
    let entry = queue.record(claimed, vec![(0, deferred())], entry.due).await.unwrap();
    assert!(entry.warned);
    let text = report_of(&queue).await;
    for expected in [
        "Subject: Delayed: your message has not been delivered yet\r\n",
        "\r\n  <one@fabrikam.example>\r\n    450 4.2.1 busy, to RCPT (mail.fabrikam.example:25)\r\n",
        "\r\nFinal-Recipient: rfc822; one@fabrikam.example\r\nAction: delayed\r\n\
         Status: 4.2.1\r\nRemote-MTA: dns; mail.fabrikam.example\r\n\
         Diagnostic-Code: smtp; 450 4.2.1 busy\r\nLast-Attempt-Date: ",
        "\r\nContent-Type: text/rfc822-headers\r\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains("The body."), "RET is about failures: {text}");
    let expires = OffsetDateTime::from(arrived + Schedule::default().lifetime);
    let until = format!("\r\nWill-Retry-Until: {}\r\n", expires.format(&Rfc2822).unwrap());
    assert!(text.contains(&until), "{text}");

    // Not a second time, after a restart neither.
    let id = entry.id;
    drop(queue);
    let (queue, _) = open(directory.path());
    let entry = queue.store().find(id).await.unwrap();
    assert!(entry.warned);
    let now = entry.due;
    let claimed = queue.store().claim_due(now, 9).await.unwrap();
    let entry = claimed.into_iter().find(|entry| entry.id == id).unwrap();
    let entry = queue.record(entry, vec![(0, deferred())], now).await.unwrap();
    assert_eq!(queue.counters().reports, 0);
    assert!(entry.due > now);
}

#[tokio::test]
async fn which_senders_get_a_report_of_a_delay() {
    for (notify, told) in [
        (None, true),
        (Some("DELAY"), true),
        (Some("SUCCESS,DELAY"), true),
        (Some("FAILURE"), false),
        (Some("SUCCESS,FAILURE"), false),
        (Some("NEVER"), false),
    ] {
        let (_directory, queue, entry) = claimed_one(notify).await;
        let late = entry.arrived + HOUR * 5;
        let entry = queue.record(entry, vec![(0, deferred())], late).await.unwrap();
        assert_eq!((queue.counters().reports, entry.warned), (u64::from(told), told), "{notify:?}");
    }
    let recipients = vec![asked("<one@fabrikam.example>", Some("DELAY"), None)];
    let (_directory, queue, entry) = claimed("<>", recipients).await;
    let late = entry.arrived + HOUR * 5;
    queue.record(entry, vec![(0, deferred())], late).await.unwrap();
    assert_eq!(queue.counters().reports, 0, "no report is sent about a report");
}

#[tokio::test]
async fn an_outcome_of_the_attempt_itself_is_not_late() {
    for outcome in [delivered(), failed("no")] {
        let is_failure = matches!(outcome, Outcome::Failed(_));
        let (_directory, queue, entry) = claimed_one(None).await;
        let late = entry.arrived + HOUR * 5;
        queue.record(entry, vec![(0, outcome)], late).await.unwrap();
        assert_eq!(queue.counters().reports, u64::from(is_failure));
        if is_failure {
            assert!(!report_of(&queue).await.contains("delayed"));
        }
    }
    // Given up because the lifetime has passed, long after the report of the delay would have been
    // due.
    let (_directory, queue, entry) = claimed_one(None).await;
    let late = entry.arrived + Schedule::default().lifetime;
    queue.record(entry, vec![(0, deferred())], late).await.unwrap();
    assert_eq!(queue.counters().reports, 1);
    let text = report_of(&queue).await;
    assert!(text.contains("Action: failed\r\n") && !text.contains("Action: delayed"), "{text}");
}

#[tokio::test]
async fn one_report_has_failures_and_delays() {
    let recipients = ["<gone@fabrikam.example>", "<busy@fabrikam.example>", "<quiet@b.example>"];
    let notify = [None, None, Some("FAILURE")];
    let all = recipients.iter().zip(notify).map(|(path, notify)| asked(path, notify, None));
    let (_directory, queue, entry) = claimed("<sender@contoso.example>", all.collect()).await;
    let late = entry.arrived + HOUR * 5;
    let outcomes = vec![(0, failed("no")), (1, deferred()), (2, deferred())];
    queue.record(entry, outcomes, late).await.unwrap();
    assert_eq!(queue.counters().reports, 1);
    let text = report_of(&queue).await;
    for expected in [
        "Subject: Undeliverable: ",
        "Final-Recipient: rfc822; gone@fabrikam.example\r\nAction: failed\r\n",
        "Final-Recipient: rfc822; busy@fabrikam.example\r\nAction: delayed\r\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains("quiet@"), "{text}");
    assert!(text.contains("The body."), "RET=FULL holds for a report of a failure: {text}");
}

#[tokio::test]
async fn no_warning_while_another_next_hop_may_still_take_it() {
    let recipients = vec![
        asked("<one@fabrikam.example>", None, None),
        asked("<two@fabrikam.example>", None, None),
    ];
    let (_directory, queue, entry) = claimed("<sender@contoso.example>", recipients).await;
    let late = entry.arrived + HOUR * 5;
    let entry = queue.record_part(entry, vec![(0, deferred())], late).await.unwrap();
    assert_eq!((queue.counters().reports, entry.warned), (0, false));
    queue.record(entry, vec![(1, delivered())], late).await.unwrap();
    let text = report_of(&queue).await;
    assert!(text.contains("one@fabrikam.example") && !text.contains("two@"), "{text}");
}

#[tokio::test]
async fn recipients_that_were_not_tried_are_reported_too() {
    let (_directory, queue, entry) = claimed_one(None).await;
    let late = entry.arrived + HOUR * 5;
    assert!(queue.has_pending_report(&entry, late));
    let due = late + Duration::from_secs(7);
    let why =
        OutcomeReason::local(Some("mail.fabrikam.example:25"), Enhanced(4, 4, 1), "left alone");
    let outcomes = vec![(0, Outcome::Deferred(why))];
    let entry = queue.record_untried(entry, outcomes, due, late).await.unwrap();
    assert_eq!((entry.attempts, entry.due, entry.warned), (0, due, true));
    assert!(!queue.has_pending_report(&entry, late));
    let text = report_of(&queue).await;
    assert!(text.contains("Status: 4.4.1\r\nDiagnostic-Code: x-relay; left alone\r\n"), "{text}");
    assert!(!text.contains("Last-Attempt-Date"), "there was none: {text}");

    let (_directory, queue, entry) = claimed_one(None).await;
    let late = entry.arrived + Schedule::default().lifetime;
    let entry = queue.record_untried(entry, Vec::new(), late, late).await.unwrap();
    assert!(matches!(entry.recipients[0].state, RecipientState::Failed(_)));
}

#[tokio::test]
async fn a_lifetime_that_is_not_longer_causes_no_report_of_a_delay() {
    let (_directory, queue, entry) = claimed_one(None).await;
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    let schedule = Schedule { lifetime: HOUR * 2, ..Schedule::default() };
    queue.set_settings(QueueSettings { hostname, schedule });
    let late = entry.arrived + HOUR;
    queue.record(entry, vec![(0, deferred())], late).await.unwrap();
    assert_eq!(queue.counters().reports, 0);
}

/// A greeting of class 5 defers the message; a program that reads reports must not remove the
/// address from its list.
#[tokio::test]
async fn a_delay_is_of_class_4_whatever_the_next_hop_said() {
    let (_directory, queue, entry) = claimed_one(None).await;
    let blocked = Reply::new(554, Some(Enhanced(5, 7, 1)), "blocked");
    let outcome = Outcome::Deferred(OutcomeReason::reply(
        "mail.fabrikam.example:25",
        blocked,
        AnsweredCommand::Rcpt,
    ));
    let due = entry.arrived + HOUR * 5;
    queue.record(entry, vec![(0, outcome)], due).await.unwrap();
    let text = report_of(&queue).await;
    assert!(text.contains("Action: delayed\r\nStatus: 4.7.1\r\n"), "{text}");
    assert!(text.contains("Diagnostic-Code: smtp; 554 5.7.1 blocked\r\n"), "{text}");
}
