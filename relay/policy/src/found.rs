//! What a rule found: a sentence for readers, and the numbers in it for programs.
//!
//! A rule that compares a quantity with a limit has a variant here, which words it. The sentences
//! without numbers stand beside their rules.

use std::borrow::Cow;
use std::fmt;

use relay_connector::MessageRateSource;

/// The finding of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A finding without a quantity.
    Sentence(Cow<'static, str>),
    /// The sizes of chunks do not add up to a size, in octets.
    ChunksOverflow {
        /// The octets before the chunk.
        so_far: u64,
        /// The octets of the chunk.
        octets: u64,
    },
    /// The header section has this many octets, or more if it has not ended.
    HeaderOctets {
        /// The received octets.
        octets: u64,
        /// `max_header_size`.
        limit: u64,
    },
    /// The header section has this many fields.
    HeaderFields {
        /// The fields.
        fields: u64,
        /// [`crate::limits::HEADER_FIELDS`].
        limit: u64,
    },
    /// The message has passed this many hosts.
    Hops {
        /// The Received fields.
        hops: u64,
        /// `max_hop_count`.
        limit: u64,
    },
    /// The message has passed this host before.
    LocalHops {
        /// The Received fields that name this host.
        hops: u64,
        /// `max_local_hop_count`.
        limit: u64,
    },
    /// The message, or its declared size, has this many octets.
    MessageOctets {
        /// The octets.
        octets: u64,
        /// `max_message_size`.
        limit: u64,
    },
    /// The client has used up its messages a minute.
    MessageRate {
        /// `message_rate_limit`.
        limit: u64,
        /// `message_rate_source`.
        source: MessageRateSource,
    },
    /// The message has as many recipients as it may have.
    Recipients {
        /// `max_recipients_per_message`.
        limit: u64,
    },
    /// The memory for messages is used up, and the recipients of this one use much of it.
    RecipientsMemory {
        /// The octets of the recipients so far.
        octets: u64,
        /// [`crate::limits::RECIPIENTS_BEYOND_MEMORY`].
        limit: u64,
    },
    /// The session has exceeded one of its limits.
    SessionLimit {
        /// The largest permitted count.
        limit: u64,
        /// What is counted.
        counted: &'static str,
        /// Rule and finding of the refusal that exceeded the limit.
        last: Option<String>,
    },
}

impl Found {
    /// The compared quantity, in the unit of its limit.
    pub fn measured(&self) -> Option<u64> {
        match *self {
            Self::Sentence(_)
            | Self::MessageRate { .. }
            | Self::Recipients { .. }
            | Self::SessionLimit { .. } => None,
            Self::ChunksOverflow { octets, .. }
            | Self::HeaderOctets { octets, .. }
            | Self::MessageOctets { octets, .. }
            | Self::RecipientsMemory { octets, .. } => Some(octets),
            Self::HeaderFields { fields, .. } => Some(fields),
            Self::Hops { hops, .. } | Self::LocalHops { hops, .. } => Some(hops),
        }
    }

    /// The limit: the largest permitted quantity.
    pub fn limit(&self) -> Option<u64> {
        match *self {
            Self::Sentence(_) | Self::ChunksOverflow { .. } => None,
            Self::HeaderOctets { limit, .. }
            | Self::HeaderFields { limit, .. }
            | Self::Hops { limit, .. }
            | Self::LocalHops { limit, .. }
            | Self::MessageOctets { limit, .. }
            | Self::MessageRate { limit, .. }
            | Self::Recipients { limit }
            | Self::RecipientsMemory { limit, .. }
            | Self::SessionLimit { limit, .. } => Some(limit),
        }
    }

    /// The octets on the heap.
    pub fn heap_octets(&self) -> usize {
        match self {
            Self::Sentence(Cow::Owned(sentence)) => sentence.capacity(),
            Self::SessionLimit { last: Some(last), .. } => last.capacity(),
            _ => 0,
        }
    }
}

impl From<&'static str> for Found {
    fn from(sentence: &'static str) -> Self {
        Self::Sentence(Cow::Borrowed(sentence))
    }
}

impl From<String> for Found {
    fn from(sentence: String) -> Self {
        Self::Sentence(Cow::Owned(sentence))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sentence(sentence) => f.write_str(sentence),
            Self::ChunksOverflow { so_far, octets } => {
                write!(f, "{so_far} plus {octets} octets overflow")
            }
            Self::HeaderOctets { octets, limit } => {
                write!(f, "{octets} octets of header, {limit} allowed")
            }
            Self::HeaderFields { fields, limit } => write!(f, "{fields} fields, {limit} allowed"),
            Self::Hops { hops, limit } => write!(f, "{hops} Received fields, {limit} allowed"),
            Self::LocalHops { hops, limit } => {
                write!(f, "{hops} Received fields name this host, {limit} allowed")
            }
            Self::MessageOctets { octets, limit } if octets > limit => {
                write!(f, "{octets} octets, over the {limit} allowed")
            }
            Self::MessageOctets { octets, limit } => write!(f, "{octets} octets, {limit} allowed"),
            Self::MessageRate { limit, source } => {
                write!(f, "more than {limit} messages a minute, counted by {source}")
            }
            Self::Recipients { limit } => write!(f, "{limit} are accepted already"),
            Self::RecipientsMemory { octets, .. } => {
                write!(f, "used up, and the recipients so far take {octets} octets")
            }
            Self::SessionLimit { limit, counted, last: None } => {
                write!(f, "more than {limit} {counted}")
            }
            Self::SessionLimit { limit, counted, last: Some(last) } => {
                write!(f, "more than {limit} {counted}; the last refusal: {last}")
            }
        }
    }
}
