//! End of data: may this message pass?

use crate::limits::HEADER_FIELDS;
use crate::{Decision, Found, Peer, Reasons, Rule};
use relay_connector::Permission;
use relay_mail::reply::{
    BARE_LINE_ENDING, CHUNK_RECEIVED, HEADER_TOO_LARGE, HOP_COUNT_EXCEEDED, MESSAGE_TOO_LARGE,
    QUEUED, Reply,
};

/// The facts about a message for the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageFacts {
    /// Octets as received, after dot-unstuffing and without the terminator.
    pub size: u64,
    /// Octets of the header section.
    pub header_size: u64,
    /// Fields of the header section.
    pub header_fields: usize,
    /// Received fields, counted before any is removed.
    pub hops: u32,
    /// Of these, those that name this host. Zero, without counting, if `max_local_hop_count` is
    /// zero.
    pub local_hops: u32,
    /// Does it have a bare CR, a bare LF or a NUL? With BODY=BINARYMIME, in its header section.
    pub bare_line_ending: bool,
}

/// A header section over `max_header_size` that has not ended, after this many received octets.
pub fn header_too_large(peer: &Peer, octets: u64) -> Decision {
    let limit = peer.connector.limits.max_header_size;
    Decision::new(HEADER_TOO_LARGE, Rule::MaxHeaderSize, Found::HeaderOctets { octets, limit })
}

/// The message as a whole. A positive reply may be sent only after the message is on stable
/// storage; its text is then completed with the queue id.
pub fn message(peer: &Peer, facts: &MessageFacts) -> Decision {
    let mut reasons = Reasons::default();
    let reply = decide(peer, facts, &mut reasons);
    reasons.decide(reply)
}

/// BDAT with this size, after `so_far` octets of the same message: called before any of its octets
/// is read.
pub fn chunk(peer: &Peer, so_far: u64, octets: u64) -> Decision {
    let mut reasons = Reasons::default();
    // An overflowing sum exceeds every limit.
    let Some(size) = so_far.checked_add(octets) else {
        reasons.note(Rule::ChunkSize, Found::ChunksOverflow { so_far, octets });
        return reasons.decide(MESSAGE_TOO_LARGE);
    };
    let is_too_large = is_too_large(peer, size, &mut reasons);
    reasons.decide(if is_too_large { MESSAGE_TOO_LARGE } else { CHUNK_RECEIVED })
}

fn decide(peer: &Peer, facts: &MessageFacts, reasons: &mut Reasons) -> Reply {
    let limits = &peer.connector.limits;
    if facts.bare_line_ending {
        reasons.note(Rule::ForbiddenOctets, "the message has a bare CR, a bare LF or a NUL");
        return BARE_LINE_ENDING;
    }
    if is_too_large(peer, facts.size, reasons) {
        return MESSAGE_TOO_LARGE;
    }
    if facts.header_size > limits.max_header_size {
        let (octets, limit) = (facts.header_size, limits.max_header_size);
        reasons.note(Rule::MaxHeaderSize, Found::HeaderOctets { octets, limit });
        return HEADER_TOO_LARGE;
    }
    if facts.header_fields > HEADER_FIELDS {
        let (fields, limit) = (facts.header_fields as u64, HEADER_FIELDS as u64);
        reasons.note(Rule::HeaderFields, Found::HeaderFields { fields, limit });
        return HEADER_TOO_LARGE;
    }
    if facts.hops > limits.max_hop_count {
        let (hops, limit) = (facts.hops.into(), limits.max_hop_count.into());
        reasons.note(Rule::MaxHopCount, Found::Hops { hops, limit });
        return HOP_COUNT_EXCEEDED;
    }
    let most = limits.max_local_hop_count;
    if most > 0 && facts.local_hops > most {
        let (hops, limit) = (facts.local_hops.into(), most.into());
        reasons.note(Rule::MaxLocalHopCount, Found::LocalHops { hops, limit });
        return HOP_COUNT_EXCEEDED;
    }
    super::auth_as::decide(peer, reasons);
    QUEUED
}

/// `max_message_size`, for SIZE of MAIL and for the real size.
pub(super) fn is_too_large(peer: &Peer, octets: u64, reasons: &mut Reasons) -> bool {
    let limit = peer.connector.limits.max_message_size;
    reasons.note(Rule::MaxMessageSize, Found::MessageOctets { octets, limit });
    octets > limit && !reasons.permits(peer, Permission::BypassMessageSizeLimit)
}
