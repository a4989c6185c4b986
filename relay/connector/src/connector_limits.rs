//! The limits of a connector, by the names of the Exchange parameters.
//!
//! Data only. `config` checks them against Exchange's bounds; [`crate::limits`] has the defaults
//! and names the module that enforces each.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits;

/// The limits of one message, one session or one source. If a count is an `Option`, `None` is
/// Exchange's `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one message.
    pub max_message_size: u64,
    /// Octets of the header section.
    pub max_header_size: u64,
    /// Recipients of one message; the surplus is deferred.
    pub max_recipients_per_message: u32,
    /// Received fields that a message may carry.
    pub max_hop_count: u32,
    /// Received fields that name this host. Zero: they are not counted.
    pub max_local_hop_count: u32,
    /// The whole session, however busy.
    pub connection_timeout: Duration,
    /// Silence of the client.
    pub connection_inactivity_timeout: Duration,
    /// Protocol errors of one session.
    pub max_protocol_errors: Option<u32>,
    /// Recipients refused to an anonymous client in one session.
    pub max_refused_recipients: Option<u32>,
    /// Connections at one time.
    pub max_inbound_connection: Option<u32>,
    /// Connections at one time from one source.
    pub max_inbound_connection_per_source: Option<u32>,
    /// Connections at one time from one source, in percent of the connections that the connector
    /// has left.
    pub max_inbound_connection_percentage_per_source: u32,
    /// Messages per minute, for each payer that `message_rate_source` selects.
    pub message_rate_limit: Option<u32>,
    /// Whose messages are counted.
    pub message_rate_source: MessageRateSource,
    /// The delay of refusals to clients that did not authenticate. Zero: none.
    pub tarpit_interval: Duration,
    /// Failed logons in one session. `None`: not limited.
    pub max_logon_failures: Option<NonZeroU32>,
    /// The delay of a refusal of AUTH. Zero: none.
    pub auth_tarpit_interval: Duration,
}

/// `MessageRateSource`: the payers for `message_rate_limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageRateSource {
    /// Both, each by itself.
    All,
    /// Each source: an IPv4 address, or the /64 of an IPv6 address.
    #[default]
    IpAddress,
    /// No payer: messages are not counted.
    None,
    /// Each user; for a client that did not authenticate, its source.
    User,
}

impl MessageRateSource {
    /// Every value, in Exchange's order, by Exchange's name.
    pub const NAMES: &[(&str, Self)] = &[
        ("None", Self::None),
        ("IPAddress", Self::IpAddress),
        ("User", Self::User),
        ("All", Self::All),
    ];
}

impl fmt::Display for MessageRateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, source)| source == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// Recipients that are refused only because of their domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectRecipientDomains {
    /// `reject_reserved_top_level_recipient_domains`: `.test`, `.example`, `.invalid`, `.localhost`.
    pub reserved_top_level: bool,
    /// `reject_reserved_second_level_recipient_domains`: example.com, example.net, example.org.
    pub reserved_second_level: bool,
    /// `reject_single_label_recipient_domains`: a domain without a dot.
    pub single_label: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: limits::MAX_MESSAGE_SIZE,
            max_header_size: limits::MAX_HEADER_SIZE,
            max_recipients_per_message: limits::MAX_RECIPIENTS_PER_MESSAGE,
            max_hop_count: limits::MAX_HOP_COUNT,
            max_local_hop_count: limits::MAX_LOCAL_HOP_COUNT,
            connection_timeout: limits::CONNECTION_TIMEOUT,
            connection_inactivity_timeout: limits::CONNECTION_INACTIVITY_TIMEOUT,
            max_protocol_errors: Some(limits::MAX_PROTOCOL_ERRORS),
            max_refused_recipients: Some(limits::MAX_REFUSED_RECIPIENTS),
            max_inbound_connection: Some(limits::MAX_INBOUND_CONNECTION),
            max_inbound_connection_per_source: Some(limits::MAX_INBOUND_CONNECTION_PER_SOURCE),
            max_inbound_connection_percentage_per_source:
                limits::MAX_INBOUND_CONNECTION_PERCENTAGE_PER_SOURCE,
            message_rate_limit: None,
            message_rate_source: MessageRateSource::default(),
            tarpit_interval: limits::TARPIT_INTERVAL,
            max_logon_failures: Some(limits::MAX_LOGON_FAILURES),
            auth_tarpit_interval: limits::AUTH_TARPIT_INTERVAL,
        }
    }
}
