//! The results of a session whose queue works.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use relay_mail::envelope::Envelope;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::{BeginError, StoreError};
use relay_mail::tls::TlsInfo;

use crate::player::{self, World};
use crate::{Action, HandshakeFailure, MessageBegun, ProtocolRecord, Session};
use relay_policy::{Inquiry, InquiryAnswer};

/// The results of a session.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<u8>,
    pub(super) open: Option<Vec<u8>>,
    pub(super) kept: Vec<Vec<u8>>,
    pub(super) closed: bool,
    /// The length of each write.
    pub(super) parts: Vec<usize>,
    pub(crate) protocol: Vec<ProtocolRecord>,
}

/// A world with a working queue.
impl World for Outcome {
    fn observe(&mut self, session: &mut Session, action: &Action) {
        assert!(!self.closed, "{action:?} after Close");
        self.protocol.extend(session.take_protocol_records());
    }

    fn find_out(&mut self, inquiry: Inquiry) -> Option<InquiryAnswer> {
        Some(inquiry.without_answer())
    }

    fn begin_message(&mut self, envelope: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        assert!(!envelope.recipients.is_empty());
        assert!(self.open.replace(Vec::new()).is_none());
        let id = QueueId::from_u64(self.kept.len() as u64);
        Some(Ok(MessageBegun { id, at: UNIX_EPOCH }))
    }

    fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        self.open.as_mut().unwrap().extend_from_slice(&octets);
        self.parts.push(octets.len());
        Ok(())
    }

    fn put_in_front(&mut self, fields: Bytes) {
        self.open.as_mut().unwrap().splice(0..0, fields);
    }

    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        self.kept.push(self.open.take().unwrap());
        Some(Ok(()))
    }

    fn abandon_message(&mut self) {
        assert!(self.open.take().is_some());
    }

    fn shake_hands(&mut self) -> Option<Result<TlsInfo, HandshakeFailure>> {
        None
    }

    fn send(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
    }

    fn close(&mut self) {
        self.closed = true;
    }
}

/// Performs the session's actions.
pub(crate) fn perform(session: &mut Session, outcome: &mut Outcome) {
    let now = session.now;
    player::perform(session, outcome, now);
    outcome.protocol.extend(session.take_protocol_records());
    assert!(session.is_closed() || session.wants_bytes(), "what is left must not block reading");
}
