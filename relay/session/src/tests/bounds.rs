//! Octets that can lead to no message have a bound.

use relay_smtp::limits::SKIPPED_LINE_OCTETS;

use super::*;
use crate::limits::{INPUT_OCTETS, MESSAGE_CHECK_OCTETS, USELESS_OCTETS};

const TRANSACTION: &[u8] = b"MAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\nDATA\r\n";
const MIB: usize = 1024 * 1024;
/// Of [`CONFIGURATION`].
const MAX_MESSAGE_SIZE: u64 = 64 * 1024;

struct Talk {
    session: Session,
    outcome: Outcome,
    /// Octets that the session read.
    read: u64,
}

impl Talk {
    fn begin(connector: &str) -> Self {
        let session = session_with(connector);
        let mut talk = Self { session, outcome: Outcome::default(), read: 0 };
        talk.say(b"EHLO c\r\n");
        talk
    }

    /// The server's replies to these octets, sent in packets.
    fn say(&mut self, octets: &[u8]) -> String {
        self.outcome.sent.clear();
        for packet in octets.chunks(INPUT_OCTETS / 4) {
            if self.session.is_closed() {
                break;
            }
            self.read += packet.len() as u64;
            self.session.handle_bytes(self.session.now, packet);
            perform(&mut self.session, &mut self.outcome);
        }
        String::from_utf8(self.outcome.sent.clone()).unwrap()
    }

    /// A message of this many octets, and the server's reply to its end.
    fn message(&mut self, octets: usize) -> String {
        assert!(self.say(TRANSACTION).contains("354 "));
        self.say(b"A: b\r\n\r\n");
        self.say(&b"x".repeat(octets));
        self.say(b"\r\n.\r\n")
    }
}

#[test]
fn a_message_without_end_is_given_up() {
    // In the body, and in the header section.
    for begin in [&b"A: b\r\n\r\n"[..], b"A: "] {
        let mut talk = Talk::begin("");
        talk.say(TRANSACTION);
        talk.say(begin);
        let piece = b"x".repeat(MIB);
        let mut said = String::new();
        while !talk.session.is_closed() {
            said = talk.say(&piece);
        }
        assert!(said.starts_with("552 5.3.4 ") && said.lines().count() == 1, "{said}");
        let checked = MAX_MESSAGE_SIZE + MESSAGE_CHECK_OCTETS + 2 * INPUT_OCTETS as u64;
        let range = USELESS_OCTETS..USELESS_OCTETS + checked;
        assert!(range.contains(&talk.read), "{}", talk.read);
        assert_eq!(talk.outcome.open, None);
        assert_eq!(talk.session.summary().ending, Some(SessionEnding::UselessOctets));
    }
}

/// Its client gets the reply, and the session continues: a client whose connection is cut would try
/// again.
#[test]
fn a_message_somewhat_too_large_is_read_to_its_end() {
    let mut talk = Talk::begin("");
    assert!(talk.message(4 * MIB).starts_with("552 5.3.4 "));
    assert!(talk.say(b"NOOP\r\n").starts_with("250 "));
}

#[test]
fn a_message_that_is_kept_makes_up_for_useless_octets() {
    let mut talk = Talk::begin("");
    let chunk =
        |octets: usize| [format!("BDAT {octets}\r\n").as_bytes(), &b"x".repeat(octets)].concat();
    assert!(talk.say(&chunk(60 * MIB)).starts_with("503 "));
    assert!(talk.message(1000).starts_with("250 2.6.0 "));
    assert!(talk.say(&chunk(60 * MIB)).starts_with("503 "));
    // A message that is not refused is not cut off, after any events before it.
    assert!(talk.message(MIB).starts_with("552 5.3.4 "));
    assert!(talk.say(&chunk(2 * MIB)).starts_with("503 "));
    assert!(talk.message(1000).starts_with("250 2.6.0 "));
    assert!(talk.say(&chunk(60 * MIB)).starts_with("503 "));
    assert!(!talk.session.is_closed());
    let read = talk.read;
    assert!(talk.say(&chunk(60 * MIB)).starts_with("503 "));
    assert!(talk.session.is_closed() && talk.read <= read + INPUT_OCTETS as u64);
    assert_eq!(talk.session.summary().ending, Some(SessionEnding::UselessOctets));
}

#[test]
fn refused_lines_have_a_bound_where_errors_have_none() {
    let mut talk = Talk::begin("max_protocol_errors = \"unlimited\"\n");
    let line = [b"x".repeat(SKIPPED_LINE_OCTETS - 1), b"\r\n".to_vec()].concat();
    let mut said = String::new();
    while !talk.session.is_closed() {
        said = talk.say(&line);
    }
    assert!(said.starts_with("421 4.7.0 "), "{said}");
    assert!(talk.read <= USELESS_OCTETS + 2 * SKIPPED_LINE_OCTETS as u64, "{}", talk.read);
}

/// In any state: received octets are processed, nothing more is read, and the session ends.
#[test]
fn every_session_ends_after_the_end_of_its_input() {
    for octets in [
        &b""[..],
        b"EHLO c\r\nNOO",
        b"EHLO c\r\nAUTH LOGIN\r\n",
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\n",
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\nDATA\r\nA: b\r\n",
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\nBDAT 3\r\nA",
        b"EHLO c\r\nBDAT 30\r\nA",
    ] {
        let mut session = session();
        let mut outcome = Outcome::default();
        session.handle_bytes(session.now, octets);
        session.handle_end_of_input();
        perform(&mut session, &mut outcome);
        assert!(outcome.kept.is_empty(), "the message has no end");
        assert!(outcome.closed && !session.wants_bytes(), "{}", octets.escape_ascii());
        assert_eq!(session.summary().ending, Some(SessionEnding::Disconnected));
    }
}
