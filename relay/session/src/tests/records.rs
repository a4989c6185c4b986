//! The refusals that a session reports, beside the replies that its client got.

use relay_mail::reply::{self, Reply};
use relay_policy::{Inquiry, InquiryAnswer, PasswordFinding, Rule};
use relay_smtp::command::Verb;

use crate::tests::session_with;
use crate::{Action, Refused, Session};

/// Plays these lines. Every password is wrong.
fn reported(more: &str, lines: &str) -> Vec<Refused> {
    let mut session = session_with(more);
    let now = session.now;
    let mut reported = Vec::new();
    for line in std::iter::once("").chain(lines.lines()) {
        let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
        session.handle_bytes(now, line.as_bytes());
        while let Some(action) = session.poll_action() {
            if let Action::Ask(Inquiry::Password(_)) = action {
                let wrong = PasswordFinding::Wrong("another password".to_owned());
                session.handle_finding(now, InquiryAnswer::Password(wrong));
            }
        }
        reported.extend(session.take_refused().0);
    }
    reported
}

fn essence(refused: &[Refused]) -> Vec<(Option<Verb>, Option<&Reply>, Rule)> {
    let essence =
        refused.iter().map(|it| (it.command, it.reply.as_ref(), it.because.as_ref().unwrap().rule));
    essence.collect()
}

#[test]
fn a_reply_that_a_limit_replaces_is_not_reported_but_the_limit_s() {
    let last = Some(&reply::TOO_MANY_ERRORS);
    let errors = reported("max_protocol_errors = 1\n", "EHLO c\nMAIL FROM:<a@b>\nDATA\nDATA\n");
    let data = Some(Verb::Data);
    let expected = [
        (data, Some(&reply::NEED_RECIPIENT), Rule::Protocol),
        (data, last, Rule::MaxProtocolErrors),
    ];
    assert_eq!(essence(&errors), expected);
    let found = &errors[1].because.as_ref().unwrap().found;
    assert_eq!(found.limit(), Some(1));
    assert!(found.to_string().contains("protocol: "), "{found}");

    let recipients = "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@c.example>\nRCPT TO:<b@c.example>\n";
    let refused = reported("max_refused_recipients = 1\n", recipients);
    let rcpt = Some(Verb::Rcpt);
    assert_eq!(essence(&refused)[1], (rcpt, last, Rule::MaxRefusedRecipients));
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[1].recipients[0].to_string(), "b@c.example");

    let mail = "MAIL FROM:<a@b> SIZE=99999\n".repeat(101);
    let junk = reported("", &format!("EHLO c\n{mail}"));
    let expected = (Some(Verb::Mail), Some(&reply::TOO_MANY_COMMANDS), Rule::Session);
    assert_eq!(essence(&junk).last(), Some(&expected));
}

#[test]
fn the_last_reply_of_a_limit_has_its_own_report_if_it_follows_another_reply() {
    let logons =
        reported("max_logon_failures = 2\n", "EHLO c\nAUTH PLAIN AGEAYg==\nAUTH PLAIN AGEAYg==\n");
    let logon = (Some(Verb::Auth), Some(&reply::AUTHENTICATION_UNSUCCESSFUL), Rule::Authentication);
    let end = (None, Some(&reply::TOO_MANY_ERRORS), Rule::MaxLogonFailures);
    assert_eq!(essence(&logons), [logon, logon, end]);

    // A command that is not recorded itself, after a refusal that is.
    let errors = "EHLO c\nMAIL FROM:<a@b>\nDATA\nFOO\n";
    let errors = reported("max_protocol_errors = 1\n", errors);
    let end = (None, Some(&reply::TOO_MANY_ERRORS), Rule::MaxProtocolErrors);
    assert_eq!(essence(&errors).last(), Some(&end));
    assert_eq!(errors.len(), 2);

    let noop = "NOOP\n".repeat(101);
    let junk = reported("", &format!("EHLO c\nMAIL FROM:<a@b> SIZE=99999\n{noop}"));
    let end = (None, Some(&reply::TOO_MANY_COMMANDS), Rule::Session);
    assert_eq!(essence(&junk).last(), Some(&end));
}

#[test]
fn a_message_that_a_reply_of_the_end_interrupts_has_that_reply() {
    let open = "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@accepted.example>\n";
    let ended = |end: fn(&mut Session)| {
        let mut session = session_with("");
        session.handle_bytes(session.now, open.replace('\n', "\r\n").as_bytes());
        while session.poll_action().is_some() {}
        end(&mut session);
        session.take_refused().0
    };
    let cut_off = ended(Session::handle_cut_off);
    assert_eq!(essence(&cut_off), [(None, Some(&reply::SHUTTING_DOWN), Rule::Session)]);
    let late = ended(|session| session.handle_timeout(session.deadline()));
    assert_eq!(essence(&late), [(None, Some(&reply::INACTIVITY_TIMEOUT), Rule::Session)]);
    let left = ended(Session::handle_disconnect);
    assert_eq!(essence(&left), [(None, None, Rule::Session)]);
}
