//! A flood of mail does not fill the log: each line, each source and all refusals have a bound.

use std::sync::Arc;

use crate::event::{Confirmation, Receipt, RefusalEvent};
use crate::limits::{TRACKED_LINE_OCTETS, TRACKING_REFUSALS_SHARE};
use crate::tests::*;
use relay_connector::Connection;
use relay_connector::Principal;
use relay_kernel::classifier::DecidedBy;
use relay_mail::outcome::{AnsweredCommand, Outcome, OutcomeReason};
use relay_mail::reply;
use relay_message::identity::Identity;
use relay_policy::Because;
use relay_queue::event::{Attempt, MessageStorage};
use relay_queue::testing::entry_of;
use relay_session::limits::TRACKED_DECISIONS;
use relay_session::{Decided, Decisions, Refused};
use relay_smtp::command::Verb;

/// 256 recipients of 250 octets: 63 KB.
fn long_paths() -> Vec<String> {
    let domain = format!("{}.example", ["x".repeat(60), "y".repeat(60), "z".repeat(60)].join("."));
    (0..TRACKED_DECISIONS).map(|number| format!("<{number:054}@{domain}>")).collect()
}

fn connection(remote: &str) -> Connection {
    Connection::accepted("192.0.2.25:25".parse().unwrap(), remote.parse().unwrap())
}

fn received(remote: &str, paths: &[String]) -> Happening {
    let decided = |path: &String| Decided {
        command: Verb::Rcpt,
        recipient: Some(ForwardPath::parse(path).unwrap()),
        reply: reply::RECIPIENT_OK,
        because: Some(Because {
            rule: relay_policy::Rule::AcceptedDomain,
            found: "accepted".into(),
        }),
    };
    let mut decisions = Decisions::default();
    decisions.list.extend(paths.iter().map(decided));
    Happening::Received(Box::new(Receipt {
        session: 1,
        connection: connection(remote),
        connector: None,
        generation: 1,
        decided_by: DecidedBy::Kernel,
        principal: Principal::Anonymous,
        user: None,
        hello: Some("x".repeat(255)),
        tls: None,
        client_certificate: None,
        submitter: None,
        sender: ReversePath::Null,
        decisions,
        size: 1,
        kept: MessageStorage::Database,
        confirmation: Confirmation::Sent,
    }))
}

fn attempted(paths: &[String]) -> QueueEvent {
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let entry = entry_of("<a@b.example>", &paths);
    let answer = |place: usize| {
        let reply = reply::NOT_STORED.with_text(format!("{place} {}", "said ".repeat(400)));
        Outcome::Deferred(OutcomeReason::reply("mail.b.example:25", reply, AnsweredCommand::Rcpt))
    };
    QueueEvent::Attempted(Box::new(Attempt {
        outcomes: (0..entry.recipients.len()).map(|place| (place, answer(place % 2))).collect(),
        entry: Arc::new(entry),
        next_hop: "mail.b.example".to_owned(),
        is_local: false,
        connection: None,
    }))
}

/// Waits until the writer has received all events.
fn settle(tracker: &Tracker) {
    let shared = tracker.0.as_ref().unwrap();
    until(|| shared.pending.load(Ordering::Relaxed) == 0);
}

/// Waits until the writer has received many events, so that none is dropped for lack of memory.
fn wait(tracker: &Tracker) {
    let shared = tracker.0.as_ref().unwrap();
    until(|| shared.pending.load(Ordering::Relaxed) < TRACKING_PENDING_OCTETS / 2);
}

fn octets(directory: &Path, series: files::Series) -> u64 {
    files::list(directory, series).unwrap().iter().map(|file| file.size).sum()
}

#[test]
fn a_flood_of_long_messages_of_one_source_fills_little_of_the_log() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let large = 64 << 20;
    let settings =
        TrackingSettings { max_directory_size: large, max_file_size: 1 << 20, ..settings(path) };
    let tracker = Tracker::start(settings, QueueId::from_u64(0));
    let now = SystemTime::now();
    let paths = long_paths();
    let first = id_of(now, 0);
    tracker.tell(first, || received("198.51.100.7:25", &paths[..3]));
    // The events of 180 messages a second in 90 seconds, a sixteenth of them for a sixteenth of the
    // default directory.
    let messages = 180 * 90 / 16;
    for number in 1..=messages {
        tracker.tell(id_of(now, number), || received("192.0.2.7:4711", &paths));
        wait(&tracker);
        tracker.tell(id_of(now, number), || attempted(&paths));
    }
    let other = id_of(now, messages + 1);
    tracker.tell(other, || received("203.0.113.7:25", &paths));
    settle(&tracker);
    tracker.stop();

    let taken = octets(path, files::Series::Messages);
    assert!(taken < large / 10, "{taken} octets for {messages} messages");
    let status = tracker.status().unwrap();
    assert_eq!(status.dropped, 0);
    assert!(status.shortened > messages / 2, "{status:?}");
    // The history exists, every message has its lines, and later sources have full lines.
    let left_out = |id| match &find(path, id).unwrap().lines[0].what {
        What::Receive(received) => received.decisions_left_out,
        other => panic!("{other:?}"),
    };
    assert_eq!(left_out(first), 0);
    let (of_flood, of_other) = (left_out(id_of(now, messages)), left_out(other));
    assert!(of_flood > 250 && of_other < of_flood, "{of_flood} {of_other}");
    assert!(find(path, id_of(now, messages)).unwrap().lines.len() >= 3);
}

#[test]
fn no_line_is_longer_than_its_bound() {
    let paths = long_paths();
    let id = id_of(SystemTime::now(), 0);
    for happening in [received("192.0.2.7:4711", &paths), attempted(&paths).into()] {
        let event = TrackingEvent { at: SystemTime::now(), id: Some(id), what: happening };
        for line in TrackingLine::of(event) {
            let line = line.within(bounds::EventDetail::Whole);
            let octets = serde_json::to_string(&line).unwrap().len();
            assert!(octets < TRACKED_LINE_OCTETS + 4096, "{octets}");
            let octets =
                serde_json::to_string(&line.within(bounds::EventDetail::Short)).unwrap().len();
            assert!(octets < 2048, "{octets}");
        }
    }
    // Two hundred recipients of usual length are complete.
    let usual: Vec<_> = (0..200).map(|n| format!("<someone.{n}@contoso.example>")).collect();
    let event = TrackingEvent {
        at: SystemTime::now(),
        id: Some(id),
        what: received("192.0.2.7:1", &usual),
    };
    let lines: Vec<_> = TrackingLine::of(event)
        .into_iter()
        .map(|line| line.within(bounds::EventDetail::Whole))
        .collect();
    let What::Receive(received) = &lines[0].what else { panic!("{lines:?}") };
    assert_eq!(received.decisions_left_out, 0);
}

#[test]
fn refusals_replace_only_refusals() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let size = 2 << 20;
    let settings = TrackingSettings { max_directory_size: size, ..settings(path) };
    let tracker = Tracker::start(settings, QueueId::from_u64(0));
    let now = SystemTime::now();
    for number in 0..1000 {
        tracker.tell(id_of(now, number), || QueueEvent::Ended);
    }
    let refusal = || RefusalEvent {
        session: None,
        connection: connection("192.0.2.7:4711"),
        connector: Some("x".repeat(200)),
        principal: None,
        user: None,
        hello: None,
        refused: Refused {
            command: Some(Verb::Connect),
            sender: None,
            recipients: Vec::new(),
            recipients_left_out: 0,
            identity: Identity::default(),
            reply: Some(reply::SERVICE_NOT_AVAILABLE),
            because: None,
        },
        suppressed: 0,
    };
    for _ in 0..10_000 {
        tracker.tell_refused(refusal);
        wait(&tracker);
    }
    tracker.suppress(7);
    settle(&tracker);
    tracker.stop();
    let refusals = octets(path, files::Series::Refusals);
    assert!(refusals > 0 && refusals <= size / TRACKING_REFUSALS_SHARE, "{refusals}");
    assert_eq!(find(path, id_of(now, 0)).unwrap().lines.len(), 1);
    let found = search::find_matches(path, &query::Criteria::default()).unwrap();
    assert_eq!(found.suppressed, 7);
    assert!(!found.refusals.lines.is_empty());
}
