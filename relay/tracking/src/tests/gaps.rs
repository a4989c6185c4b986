//! Gaps of the log are reported, so that a search without a result does not mean "no".

use crate::ending::{self, EndingKind};
use crate::query::Criteria;
use crate::search::{Matches, find_matches};
use crate::tests::*;
use relay_queue::filter::Wildcard;

const RECIPIENT: &str = "<c@d.example>";

fn matches(directory: &Path, criteria: &Criteria) -> Matches {
    find_matches(directory, criteria).unwrap()
}

fn to(address: &str) -> Criteria {
    Criteria { to: Some(Wildcard::new(address)), ..Criteria::default() }
}

fn kind(directory: &Path) -> Option<EndingKind> {
    ending::of(directory).unwrap().map(|ending| ending.kind)
}

/// The number of gaps, and whether the number of missing events is known in the last gap.
fn gaps(directory: &Path) -> (usize, bool) {
    let gaps = matches(directory, &Criteria::default()).gaps;
    let last = gaps.last().map(|gap| &gap.what);
    (gaps.len(), matches!(last, Some(What::Lost { count: Some(_), .. })))
}

fn begin(path: &Path, enabled: bool) -> Tracker {
    Tracker::start(TrackingSettings { enabled, ..settings(path) }, QueueId::from_u64(0))
}

#[test]
fn only_a_log_without_an_end_mark_has_a_gap() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let id = id_of(SystemTime::now(), 1);
    for _ in 0..3 {
        let tracker = begin(&path, true);
        tracker.tell(id, || QueueEvent::Administered(AdminAction::Hold));
        tracker.stop();
        assert_eq!((kind(&path), gaps(&path)), (Some(EndingKind::Closed), (0, false)));
    }
    // Killed: the log is written and has no end.
    let killed = begin(&path, true);
    killed.tell(id, || QueueEvent::Administered(AdminAction::Release));
    until(|| killed.status().unwrap().written == 1);
    assert_eq!((kind(&path), gaps(&path)), (Some(EndingKind::Open), (0, false)));
    let last = ending::of(&path).unwrap().unwrap().time;
    let next = begin(&path, true);
    until(|| gaps(&path) == (1, false));
    next.stop();
    assert_eq!(kind(&path), Some(EndingKind::Closed));
    let gap = matches(&path, &Criteria::default()).gaps.remove(0);
    let What::Lost { since, .. } = &gap.what else { panic!("{gap:?}") };
    assert_eq!(*since, last, "from the last line that is there");
    // The gap counts only for that time and for messages of that time.
    let after = Criteria { since: Some(line::moment(SystemTime::now())), ..Criteria::default() };
    assert!(matches(&path, &after).gaps.is_empty());
    let before = Criteria { until: Some("2001-01-01".to_owned()), ..Criteria::default() };
    assert!(matches(&path, &before).gaps.is_empty());
    let unknown = find(&path, id_of(SystemTime::now(), 9)).unwrap();
    assert_eq!((unknown.lines.len(), unknown.gaps), (0, vec![gap]));
    drop(killed);
}

#[test]
fn a_torn_end_mark_does_not_count() {
    let directory = TempDir::new().unwrap();
    begin(directory.path(), true).stop();
    let file = files_in(directory.path()).pop().unwrap();
    let whole = fs::read(&file.path).unwrap();
    for (text, expected) in [
        (whole.clone(), Some(EndingKind::Closed)),
        ([&whole[..], b"{\"time\":\"2027"].concat(), Some(EndingKind::Open)),
        (whole[..whole.len() - 1].to_vec(), Some(EndingKind::Open)),
        // As after a power cut.
        (vec![0; 100_000], Some(EndingKind::Open)),
        (Vec::new(), None),
    ] {
        fs::write(&file.path, text).unwrap();
        assert_eq!(kind(directory.path()), expected);
    }
}

#[test]
fn a_log_has_a_gap_for_the_time_when_it_was_off() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    begin(&path, false).stop();
    assert!(!path.exists(), "there is nothing to be switched off");
    let tracker = begin(&path, true);
    tracker.set(TrackingSettings { enabled: false, ..settings(&path) });
    tracker.stop();
    assert_eq!((kind(&path), gaps(&path).0), (Some(EndingKind::Off), 0));
    begin(&path, true).stop();
    assert_eq!((kind(&path), gaps(&path).0), (Some(EndingKind::Closed), 1));
    // A complete daemon ran without the log.
    begin(&path, false).stop();
    assert_eq!((kind(&path), gaps(&path).0), (Some(EndingKind::Off), 1));
    begin(&path, false).stop();
    begin(&path, true).stop();
    assert_eq!((kind(&path), gaps(&path).0), (Some(EndingKind::Closed), 2));
}

#[test]
fn a_problem_of_the_log_shows_before_the_first_event() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    fs::write(&path, "a file where the directory should be").unwrap();
    let tracker = begin(&path, true);
    until(|| tracker.status().unwrap().gap.is_some());
    let status = tracker.status().unwrap();
    assert!(status.problem.is_some());
    assert_eq!(status.dropped, 0);
    fs::remove_file(&path).unwrap();
    until(|| tracker.status().unwrap().gap.is_none());
    tracker.stop();
    // No event is missing.
    assert_eq!((kind(&path), gaps(&path).0), (Some(EndingKind::Closed), 0));
}

#[test]
fn files_removed_during_writing_leave_a_gap() {
    let directory = TempDir::new().unwrap();
    let tracker = begin(directory.path(), true);
    let id = id_of(SystemTime::now(), 1);
    tracker.tell(id, || QueueEvent::Administered(AdminAction::Hold));
    until(|| tracker.status().unwrap().written == 1);
    fs::remove_file(&files_in(directory.path())[0].path).unwrap();
    tracker.tell(id, || QueueEvent::Ended);
    tracker.stop();
    assert_eq!((kind(directory.path()), gaps(directory.path()).0), (Some(EndingKind::Closed), 1));
    let found = find(directory.path(), id).unwrap();
    assert!(matches!(whats(&found)[..], [What::Lost { count: None, .. }, What::End]), "{found:?}");
}

#[test]
fn the_log_begins_with_its_first_line_and_not_with_its_name() {
    let directory = TempDir::new().unwrap();
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    Tracker::start(settings(directory.path()), id_of(ahead, 0)).stop();
    let (begin, end) = matches(directory.path(), &Criteria::default()).span.unwrap();
    assert!(begin <= end && end < line::moment(ahead), "{begin} {end}");
}

/// A file with these lines, all with the same time.
fn log_with(directory: &Path, lines: &[(QueueId, &str)]) {
    let time = line::moment(SystemTime::now());
    let line = |(id, rest): &(QueueId, &str)| {
        format!("{{\"time\":\"{time}\",\"id\":\"{id}\",\"event\":{rest}}}\n")
    };
    let text: String = lines.iter().map(line).collect();
    fs::write(files::path_of(directory, files::Series::Messages, 1), text).unwrap();
}

const SEND: &str = r#""SEND","attempt":1,"recipients":["c@d.example"],"reply":"250 2.0.0 Ok""#;

fn received(sender: &str) -> String {
    format!(
        "\"RECEIVE\",\"session_id\":\"1\",\"remote\":\"192.0.2.7:4711\",\"local\":\"192.0.2.1:25\",\
         \"generation\":1,\"decided_by\":\"kernel\",\"principal\":\"anonymous\",\"sender\":\"{sender}\",\
         \"decisions\":[{{\"command\":\"RCPT\",\"recipient\":\"c@d.example\",\"reply\":\"250 2.1.5 Ok\"}}],\
         \"size\":1,\"kept\":\"database\",\"answered\":true"
    )
}

#[test]
fn a_message_without_its_beginning_is_found_by_any_line_that_names_it() {
    let directory = TempDir::new().unwrap();
    let now = SystemTime::now();
    let [lost, whole, other] = [1, 2, 3].map(|number| id_of(now, number));
    let (by_amy, by_bob) = (received("amy@b.example"), received("bob@b.example"));
    // A next hop may be faster than the session that learns of the commit.
    let lines =
        [(lost, SEND), (whole, SEND), (whole, by_amy.as_str()), (other, &by_bob), (other, SEND)];
    log_with(directory.path(), &lines);
    let ids = |criteria: &Criteria| {
        let found = matches(directory.path(), criteria);
        assert_eq!(found.messages_left_out, 0);
        found.messages.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&to(RECIPIENT.trim_matches(['<', '>']))), [lost, whole, other]);
    assert_eq!(ids(&to("x@*")), []);
    let from = |from: &str, to: Criteria| Criteria { from: Some(Wildcard::new(from)), ..to };
    // The lost line is not known, and the other line excludes a match.
    assert_eq!(ids(&from("amy@*", to("c@*"))), [lost, whole]);
    assert_eq!(ids(&from("amy@*", Criteria::default())), [whole]);
}

#[test]
fn the_newest_messages_are_shown_and_the_others_counted_once() {
    let directory = TempDir::new().unwrap();
    let now = SystemTime::now();
    let receive = received("amy@b.example");
    let ids: Vec<_> = (0..250).map(|number| id_of(now, number)).collect();
    let lines: Vec<_> = ids
        .iter()
        .flat_map(|&id| [(id, receive.as_str()), (id, SEND)])
        .chain([(ids[0], SEND)])
        .collect();
    log_with(directory.path(), &lines);
    let found = matches(directory.path(), &to("c@*"));
    assert_eq!((found.messages.len(), found.messages_left_out), (100, 150));
    assert_eq!(found.messages.last().map(|(id, lines)| (*id, lines.len())), Some((ids[249], 2)));
}
