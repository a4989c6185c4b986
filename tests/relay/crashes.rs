//! The daemon is killed under load, again and again; every message with a 250 must arrive. Other
//! tests show that the ledger detects losses.

use relay_tests::sink::{Message, Path};

use crate::crash::ledger::{Arrival, Ledger, NUMBER, Progress};
use crate::crash::{self, Plan};

#[test]
fn messages_with_a_250_survive_kills_under_load() {
    // Every run makes other choices; a failure prints the seed that repeats them.
    let plan = Plan { rounds: 6, seed: fastrand::u64(..1 << 32) };
    let outcome = crash::run(plan, |_| {});
    println!("{outcome}");
    assert!(outcome.holds(), "{outcome}");
    assert!(outcome.verdict.unanswered > 0, "no kill interrupted a message: {outcome}");
}

/// A ledger of messages with this last step.
fn ledger(sent: &[Progress]) -> Ledger {
    let mut ledger = Ledger::default();
    for &progress in sent {
        let number = ledger.begin();
        ledger.content(number, content(number).as_bytes(), false);
        ledger.progress(number, progress);
    }
    ledger
}

fn content(number: usize) -> String {
    format!("{NUMBER}{number}\r\n\r\nThe body of {number}.\r\n")
}

/// This content from a daemon, by the port of its connection.
fn arrival(content: &str, daemon: &str, port: u16) -> Arrival {
    Arrival::of(&Message {
        client: ([127, 0, 0, 1], port).into(),
        helo: daemon.to_owned(),
        sender: Path::parse("<a@contoso.example>").unwrap(),
        recipients: Vec::new(),
        content: format!("Received: by {daemon}\r\n{content}").into_bytes(),
    })
}

#[test]
fn a_message_with_a_250_must_arrive_and_one_without_end_must_not() {
    use Progress::{Accepted, NotEnded, Refused, Unanswered};
    let judge = |arrived: &[usize]| {
        let mut ledger = ledger(&[Accepted, NotEnded, Refused, Unanswered, Accepted]);
        arrived.iter().for_each(|&it| ledger.arrived(arrival(&content(it), "edge-0.test", 1)));
        ledger.judge()
    };
    assert!(!judge(&[0]).holds());
    assert_eq!(judge(&[0]).lost, ["message 4"]);
    assert!(judge(&[0, 4]).holds());
    let verdict = judge(&[4, 3, 0]);
    assert!(verdict.holds(), "{verdict:?}");
    assert_eq!((verdict.unanswered, verdict.unanswered_arrived), (1, 1));
    for foreign in [1, 2, 5] {
        let verdict = judge(&[0, 4, foreign]);
        assert_eq!((verdict.holds(), verdict.foreign.len()), (false, 1), "message {foreign}");
    }
}

#[test]
fn a_changed_message_is_a_fault() {
    let mut ledger = ledger(&[Progress::Accepted]);
    let cut = content(0).replace("body of", "bod");
    ledger.arrived(arrival(&cut, "edge-0.test", 1));
    let verdict = ledger.judge();
    assert_eq!((verdict.lost.len(), verdict.changed.len()), (1, 1));
    let report = "Subject: a report\r\n\r\nIt could not be delivered.\r\n";
    ledger.arrived(arrival(report, "edge-0.test", 1));
    assert_eq!(ledger.judge().foreign.len(), 1);
}

#[test]
fn only_the_last_message_of_a_connection_may_arrive_again_and_only_from_another_daemon() {
    let (first, other) = (content(0), content(1));
    let again = |between: Option<u16>, daemon: &str, port: u16| {
        let mut ledger = ledger(&[Progress::Accepted, Progress::Unanswered]);
        ledger.arrived(arrival(&first, "edge-0.test", 1));
        if let Some(port) = between {
            ledger.arrived(arrival(&other, "edge-0.test", port));
        }
        ledger.arrived(arrival(&first, daemon, port));
        let verdict = ledger.judge();
        assert_eq!(verdict.duplicates, 1);
        verdict.holds()
    };
    assert!(again(None, "edge-1.test", 1));
    assert!(again(Some(2), "edge-1.test", 1));
    assert!(!again(None, "edge-0.test", 2));
    assert!(!again(Some(1), "edge-1.test", 1));
}
