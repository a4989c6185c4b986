//! The requests of a script's session, and the required form of its replies.

use relay_connector::Connection;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use relay_mail::envelope::Envelope;
use relay_mail::limits::REPLY_LINE_OCTETS;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Reply;
use relay_mail::store_error::{BeginError, StoreError};
use relay_mail::tls::TlsInfo;
use relay_smtp::client::ReplyParser;

use relay_policy::{Inquiry, InquiryAnswer, Peer, Rules};
use relay_session::limits::{OUTPUT_OCTETS, PROTOCOL_LOG_LINE_OCTETS};
use relay_session::player::World;
use relay_session::{Action, HandshakeFailure, MessageBegun, ProtocolEvent, Session};

/// The result of a session.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) sent: Vec<u8>,
    pub(super) kept: Vec<Vec<u8>>,
    pub(super) closed: bool,
}

/// A request without an answer yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Asked {
    #[default]
    Nothing,
    ToBegin,
    ToCommit,
    ToFindOut(Inquiry),
}

/// A world that answers as the script says.
#[derive(Default)]
pub(super) struct Host {
    pub(super) queue_is_slow: bool,
    pub(super) asked: Asked,
    pub(super) write_fails: bool,
    pub(super) open: Option<Vec<u8>>,
    pub(super) handshake_is_due: bool,
    pub(super) replies: ReplyParser,
    pub(super) queued_replies: usize,
    pub(super) outcome: Outcome,
}

impl World for Host {
    fn observe(&mut self, session: &mut Session, action: &Action) {
        assert!(!self.outcome.closed, "{action:?} after Close");
        check_protocol_log(session);
    }

    fn find_out(&mut self, inquiry: Inquiry) -> Option<InquiryAnswer> {
        assert_eq!(self.asked, Asked::Nothing);
        if !self.queue_is_slow {
            return Some(inquiry.not_asked());
        }
        self.asked = Asked::ToFindOut(inquiry);
        None
    }

    fn begin_message(&mut self, envelope: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        check_envelope(&envelope);
        assert_eq!((&self.asked, &self.open), (&Asked::Nothing, &None));
        if !self.queue_is_slow {
            return Some(Ok(self.begun()));
        }
        self.asked = Asked::ToBegin;
        None
    }

    fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        let Some(message) = &mut self.open else { panic!("no message is open") };
        message.extend_from_slice(&octets);
        if std::mem::take(&mut self.write_fails) { Err(failure()) } else { Ok(()) }
    }

    fn put_in_front(&mut self, fields: Bytes) {
        let Some(message) = &mut self.open else { panic!("no message is open") };
        message.splice(0..0, fields);
    }

    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        assert!(self.open.is_some() && self.asked == Asked::Nothing);
        if !self.queue_is_slow {
            self.commit(true);
            return Some(Ok(()));
        }
        self.asked = Asked::ToCommit;
        None
    }

    fn abandon_message(&mut self) {
        let begun = self.open.take().is_some();
        let asked = std::mem::take(&mut self.asked);
        assert!(begun || asked != Asked::Nothing, "there is one to abandon");
    }

    fn shake_hands(&mut self) -> Option<Result<TlsInfo, HandshakeFailure>> {
        self.handshake_is_due = true;
        None
    }

    fn reclassify(&mut self, client: &Connection) -> Result<(Arc<Rules>, Peer), Reply> {
        panic!("no client may use XCLIENT: {client:?}")
    }

    fn send(&mut self, octets: &[u8]) {
        self.sent(octets);
    }

    fn close(&mut self) {
        self.outcome.closed = true;
    }
}

/// A record is a line, and no client makes two of it.
pub(super) fn check_protocol_log(session: &mut Session) {
    for record in session.take_protocol_records() {
        assert!(record.data.len() <= PROTOCOL_LOG_LINE_OCTETS);
        assert!(!record.data.contains(char::is_control), "{record:?}");
        let is_gap =
            record.event == ProtocolEvent::Information && record.data.ends_with("records left out");
        assert!(!is_gap, "what is fetched in time is whole");
    }
}

impl Host {
    pub(super) fn begun(&mut self) -> MessageBegun {
        if !self.outcome.closed {
            self.open = Some(Vec::new());
        }
        MessageBegun { id: QueueId::from_u64(1), at: UNIX_EPOCH }
    }

    pub(super) fn commit(&mut self, well: bool) {
        let Some(message) = self.open.take() else { panic!("no message is open") };
        if well {
            self.outcome.kept.push(message);
        }
    }

    /// Whole replies only, in a form that our own client understands.
    fn sent(&mut self, octets: &[u8]) {
        assert!(octets.len() < OUTPUT_OCTETS + REPLY_LINE_OCTETS * 10, "the output is bounded");
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            assert!(line.len() <= REPLY_LINE_OCTETS && line.ends_with(b"\r\n"));
            assert!(line[..line.len() - 2].iter().all(|octet| matches!(octet, b' '..=b'~')));
            let mut rest = line;
            match self.replies.parse(&mut rest) {
                Ok(Some(reply)) => {
                    self.queued_replies += usize::from(line.starts_with(b"250 2.6.0 "));
                    assert!(!reply.text.is_empty());
                }
                Ok(None) => assert_eq!(line.get(3), Some(&b'-')),
                Err(error) => panic!("{error}: {:?}", line.escape_ascii().to_string()),
            }
        }
        self.outcome.sent.extend_from_slice(octets);
    }

    pub(super) fn check(&self, heard: &[u8]) {
        let Outcome { sent, kept, .. } = &self.outcome;
        assert_eq!(self.queued_replies, kept.len(), "a 250 for each message that is kept");
        assert!(sent.is_empty() || sent.ends_with(b"\r\n"));
        let ends = heard.windows(5).filter(|window| *window == b"\r\n.\r\n").count();
        assert!(kept.len() <= ends, "at most one message per end of data");
        for message in kept {
            let begins_with = |field: &[u8]| message.starts_with(field);
            assert!(begins_with(b"Received: from ") || begins_with(b"Authentication-Results: "));
            let mut before = 0;
            for (at, &octet) in message.iter().enumerate() {
                assert_ne!(octet, 0);
                assert_eq!(octet == b'\n', before == b'\r', "octet {at}");
                before = octet;
            }
            assert_ne!(before, b'\r');
        }
    }
}

fn check_envelope(envelope: &Envelope) {
    assert!(!envelope.recipients.is_empty());
    assert!(envelope.smtputf8 || envelope.sender.is_ascii());
    assert!(envelope.smtputf8 || envelope.recipients.iter().all(|path| path.is_ascii()));
}

pub(super) fn failure() -> StoreError {
    StoreError::Full("the script says so".to_owned())
}
