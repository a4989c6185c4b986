use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;

use crate::files::LogFile;
use crate::limits::TRACKING_FILE_LEAST;
use crate::line::{TrackingLine, What};
use crate::search::{self, SearchResult, find};
use crate::*;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_queue::event::{AdminAction, QueueEvent};
use tempfile::TempDir;

mod floods;
mod gaps;
mod queue;

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(path: &Path) -> TrackingSettings {
    TrackingSettings {
        enabled: true,
        path: path.to_owned(),
        max_directory_size: 4 * TRACKING_FILE_LEAST,
        max_file_size: TRACKING_FILE_LEAST,
        max_age: None,
        min_free_octets: 0,
    }
}

/// A queue id of the current time.
fn id_of(now: SystemTime, number: u64) -> QueueId {
    let milliseconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    QueueId::from_u64((milliseconds << 20) + number)
}

fn reported(report: QueueId, recipient: &str) -> QueueEvent {
    QueueEvent::Reported {
        report,
        sender: ReversePath::Null,
        recipients: vec![ForwardPath::parse(recipient).unwrap()],
    }
}

fn whats(found: &SearchResult) -> Vec<&What> {
    found.lines.iter().map(|line| &line.what).collect()
}

fn files_in(directory: &Path) -> Vec<LogFile> {
    files::list(directory, files::Series::Messages).unwrap()
}

fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn events_are_found_by_message_and_report() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let tracker = Tracker::start(settings(&path), QueueId::from_u64(0));
    let now = SystemTime::now();
    let [message, report, other] = [1, 2, 3].map(|number| id_of(now, number));
    tracker.tell(message, || QueueEvent::Administered(AdminAction::Hold));
    tracker.tell(other, || QueueEvent::Administered(AdminAction::Retry));
    tracker.tell(message, || reported(report, "<a@b.example>"));
    tracker.tell(message, || QueueEvent::Ended);
    tracker.tell(report, || QueueEvent::Ended);
    // The text contains the id of the message, but the line is about another message.
    let lookalike = format!("<{message}@b.example>");
    tracker.tell(other, || reported(id_of(now, 4), &lookalike));
    tracker.stop();

    let of_message = find(&path, message).unwrap();
    assert!(
        matches!(whats(&of_message)[..], [What::Hold, What::Dsn { .. }, What::End]),
        "{of_message:?}"
    );
    let of_report = find(&path, report).unwrap();
    assert!(matches!(whats(&of_report)[..], [What::Dsn { .. }, What::End]), "{of_report:?}");
    assert_eq!(of_message.lines[1], of_report.lines[0]);
    assert!(of_message.span.is_some());
    assert!(find(&path, id_of(now, 9)).unwrap().lines.is_empty());
    assert_eq!(find(&directory.path().join("none"), message).unwrap(), SearchResult::default());
    let status = tracker.status().unwrap();
    assert_eq!((status.written, status.dropped, status.problem), (6, 0, None));
}

#[test]
fn files_are_bounded_and_have_complete_lines() {
    let directory = TempDir::new().unwrap();
    let tracker = Tracker::start(settings(directory.path()), QueueId::from_u64(0));
    let now = SystemTime::now();
    let recipient = format!("<{}@b.example>", "x".repeat(60));
    // A line has about 200 octets, and four files have room for about 1,300 lines.
    for number in 0..3000 {
        tracker.tell(id_of(now, number), || reported(id_of(now, number + 10_000), &recipient));
    }
    // A stop waits for a limited time, which may be too short on a busy machine.
    while tracker.status().unwrap().written < 3000 {
        sleep(Duration::from_millis(5));
    }
    tracker.stop();
    let files = files_in(directory.path());
    assert_eq!(files.len(), 4);
    for file in &files {
        assert!(file.size <= TRACKING_FILE_LEAST, "{file:?}");
        let text = fs::read_to_string(&file.path).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<TrackingLine>(line).is_ok()));
        assert!(text.ends_with('\n'));
    }
    assert_eq!(tracker.status().unwrap().written, 3000);
    // The first lines were removed with their files, the last lines exist.
    assert!(find(directory.path(), id_of(now, 0)).unwrap().lines.is_empty());
    assert_eq!(find(directory.path(), id_of(now, 2999)).unwrap().lines.len(), 1);
}

#[test]
fn a_file_that_ended_before_the_message_is_not_searched() {
    let directory = TempDir::new().unwrap();
    let now = SystemTime::now();
    // After a restart ids are ahead of the clock, and so is the new file.
    let ahead = id_of(now + Duration::from_secs(3600), 0);
    let first = Tracker::start(settings(directory.path()), QueueId::from_u64(0));
    first.tell(ahead, || QueueEvent::Administered(AdminAction::Hold));
    first.stop();
    let second = Tracker::start(settings(directory.path()), ahead);
    second.tell(ahead, || QueueEvent::Ended);
    second.stop();
    let files = files_in(directory.path());
    assert_eq!(files.len(), 2);
    assert!(files[1].begin > ahead.milliseconds());
    assert_eq!(find(directory.path(), ahead).unwrap().lines.len(), 2);

    let later = id_of(now + Duration::from_secs(7200), 0);
    let line =
        fs::read_to_string(&files[1].path).unwrap().replace(&ahead.to_string(), &later.to_string());
    fs::write(&files[0].path, &line).unwrap();
    assert!(find(directory.path(), later).unwrap().lines.is_empty(), "it was searched");
    fs::write(&files[1].path, &line).unwrap();
    assert_eq!(find(directory.path(), later).unwrap().lines.len(), 1);
}

#[test]
fn a_torn_line_is_skipped() {
    let directory = TempDir::new().unwrap();
    let id = id_of(SystemTime::now(), 0);
    for _ in 0..2 {
        let tracker = Tracker::start(settings(directory.path()), id);
        tracker.tell(id, || QueueEvent::Administered(AdminAction::Hold));
        tracker.stop();
        let last = files_in(directory.path()).pop().unwrap();
        let mut text = fs::read_to_string(&last.path).unwrap();
        let line = text.lines().find(|line| line.contains("HOLD")).unwrap().to_owned();
        text.push_str(&line[..line.len() - 9]);
        fs::write(&last.path, text).unwrap();
    }
    // A torn log has no end, and the next daemon records that.
    let found = find(directory.path(), id).unwrap();
    assert!(matches!(whats(&found)[..], [What::Hold, What::Lost { .. }, What::Hold]), "{found:?}");
}

#[test]
fn dropped_events_are_counted_and_reported_later() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    fs::write(&path, "a file where the directory should be").unwrap();
    let tracker = Tracker::start(settings(&path), QueueId::from_u64(0));
    let id = id_of(SystemTime::now(), 0);
    for _ in 0..3 {
        tracker.tell(id, || QueueEvent::Administered(AdminAction::Hold));
    }
    until(|| tracker.status().unwrap().dropped == 3);
    let problem = tracker.status().unwrap().problem.unwrap();
    assert!(problem.starts_with("cannot create the directory "), "{problem}");

    fs::remove_file(&path).unwrap();
    // The writer notices without a new event.
    until(|| tracker.status().unwrap().problem.is_none());
    tracker.tell(id, || QueueEvent::Ended);
    tracker.stop();
    assert_eq!(tracker.status().unwrap().dropped, 3);
    let found = find(&path, id).unwrap();
    let [What::Lost { count: Some(3), because, .. }, What::End] = whats(&found)[..] else {
        panic!("{found:?}");
    };
    assert_eq!(*because, problem);
}

#[test]
fn a_nearly_full_disk_is_reserved_for_mail() {
    let directory = TempDir::new().unwrap();
    let shared = shared(directory.path());
    let short = TrackingSettings { min_free_octets: u64::MAX, ..settings(directory.path()) };
    let writer = TrackingWriter::new(short, QueueId::from_u64(0), Arc::downgrade(&shared.0));
    let tracker = Tracker(Some(Arc::clone(&shared.0)));
    let id = id_of(SystemTime::now(), 0);
    tracker.tell(id, || QueueEvent::Ended);
    tracker.stop_without_waiting();
    writer.run(&shared.1);
    let status = tracker.status().unwrap();
    assert_eq!((status.written, status.dropped), (0, 1));
    assert!(status.problem.unwrap().contains("octets are free"));
    assert_eq!(files_in(directory.path()), [], "not even an empty file stays");
}

/// The state that a tracker and a writer share, for tests that run the writer.
fn shared(path: &Path) -> (Arc<Shared>, mpsc::Receiver<Message>) {
    let (to_writer, messages) = mpsc::channel();
    let shared = Shared {
        to_writer,
        enabled: AtomicBool::new(true),
        pending: AtomicUsize::new(0),
        written: AtomicU64::new(0),
        shortened: AtomicU64::new(0),
        suppressed: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        state: Mutex::new(State { path: path.to_owned(), ..State::default() }),
    };
    (Arc::new(shared), messages)
}

#[test]
fn senders_of_events_never_wait_and_excess_events_are_dropped() {
    let directory = TempDir::new().unwrap();
    let (shared, messages) = shared(directory.path());
    let tracker = Tracker(Some(Arc::clone(&shared)));
    let id = id_of(SystemTime::now(), 0);
    let mut told = 0;
    while tracker.status().unwrap().dropped == 0 {
        tracker.tell(id, || QueueEvent::Administered(AdminAction::Hold));
        told += 1;
    }
    assert!(shared.pending.load(Ordering::Relaxed) <= TRACKING_PENDING_OCTETS);
    assert_eq!(messages.try_iter().count(), told - 1);
    // A restarted writer reports the gap.
    let writer = TrackingWriter::new(
        settings(directory.path()),
        QueueId::from_u64(0),
        Arc::downgrade(&shared),
    );
    shared.pending.store(0, Ordering::Relaxed);
    tracker.tell(id, || QueueEvent::Ended);
    tracker.stop_without_waiting();
    writer.run(&messages);
    let found = find(directory.path(), id).unwrap();
    assert!(
        matches!(whats(&found)[..], [What::Lost { count: Some(1), .. }, What::End]),
        "{found:?}"
    );
}

#[test]
fn a_log_that_is_off_builds_no_events() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let off = TrackingSettings { enabled: false, ..settings(&path) };
    let tracker = Tracker::start(off, QueueId::from_u64(0));
    let id = id_of(SystemTime::now(), 0);
    tracker.tell(id, || -> QueueEvent { unreachable!("no log is kept") });
    tracker.set(settings(&path));
    tracker.tell(id, || QueueEvent::Ended);
    tracker.set(TrackingSettings { enabled: false, ..settings(&path) });
    tracker.tell(id, || -> QueueEvent { unreachable!("no log is kept") });
    tracker.stop();
    assert_eq!(find(&path, id).unwrap().lines.len(), 1);
    Tracker::none().tell(id, || -> QueueEvent { unreachable!("no log is kept") });
}
