//! The limits of a connector: keys, Exchange's bounds, and its word `unlimited`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::{Section, Wrong};
use crate::value::{
    boolean, duration, number, number_or_unlimited, one_of, size_or_unlimited, timespan,
};
use relay_connector::{Limits, MessageRateSource, RejectRecipientDomains};

use crate::limits;

/// Exchange decides the bounds, and which keys accept `unlimited`.
pub(super) fn read(section: &mut Section<'_, '_>) -> Limits {
    let default = Limits::default();
    let all = i32::MAX.unsigned_abs();
    let most = u64::from(all);
    let percentage_line = section.line_of(PERCENTAGE);
    let has_percentage = section.has_key(PERCENTAGE);
    let (message_rate_limit, message_rate_source) = message_rate(section);
    let limits = Limits {
        max_message_size: section
            .take("max_message_size", size_or_unlimited(65_536..=most))
            .unwrap_or(default.max_message_size),
        max_header_size: section
            .take("max_header_size", size_or_unlimited(1..=most))
            .unwrap_or(default.max_header_size),
        max_recipients_per_message: count(section, "max_recipients_per_message", 1..=512_000)
            .unwrap_or(default.max_recipients_per_message),
        max_hop_count: count(section, "max_hop_count", 1..=500).unwrap_or(default.max_hop_count),
        max_local_hop_count: count(section, "max_local_hop_count", 0..=50)
            .unwrap_or(default.max_local_hop_count),
        max_protocol_errors: section
            .take("max_protocol_errors", number_or_unlimited(0..=all))
            .unwrap_or(default.max_protocol_errors),
        max_refused_recipients: section
            .take("max_refused_recipients", number_or_unlimited(0..=all))
            .unwrap_or(default.max_refused_recipients),
        max_inbound_connection: section
            .take("max_inbound_connection", number_or_unlimited(1..=all))
            .unwrap_or(default.max_inbound_connection),
        max_inbound_connection_per_source: section
            .take("max_inbound_connection_per_source", number_or_unlimited(1..=10_000))
            .unwrap_or(default.max_inbound_connection_per_source),
        max_inbound_connection_percentage_per_source: count(section, PERCENTAGE, 1..=100)
            .unwrap_or(default.max_inbound_connection_percentage_per_source),
        message_rate_limit,
        message_rate_source,
        tarpit_interval: section
            .take("tarpit_interval", duration(Duration::ZERO..=limits::LONGEST_TARPIT_INTERVAL))
            .unwrap_or(default.tarpit_interval),
        max_logon_failures: section
            .take("max_logon_failures", number(0..=limits::MOST_LOGON_FAILURES))
            .map_or(default.max_logon_failures, NonZeroU32::new),
        auth_tarpit_interval: section
            .take(
                "auth_tarpit_interval",
                duration(Duration::ZERO..=limits::LONGEST_TARPIT_INTERVAL),
            )
            .unwrap_or(default.auth_tarpit_interval),
        ..timeouts(section)
    };
    if has_percentage && limits.max_inbound_connection.is_none() {
        let problem = "has no effect: max_inbound_connection is unlimited";
        let mend = "remove it, or write a number for max_inbound_connection";
        section.warn(percentage_line, PERCENTAGE, Wrong::new(problem, mend));
    }
    limits
}

const PERCENTAGE: &str = "max_inbound_connection_percentage_per_source";

fn count(
    section: &mut Section<'_, '_>,
    key: &'static str,
    bounds: RangeInclusive<u32>,
) -> Option<u32> {
    section.take(key, number(bounds))
}

fn message_rate(section: &mut Section<'_, '_>) -> (Option<u32>, MessageRateSource) {
    let source_line = section.line_of("message_rate_source");
    let source = section.take("message_rate_source", one_of(MessageRateSource::NAMES));
    let limit_line = section.line_of("message_rate_limit");
    let limit = section
        .take("message_rate_limit", number_or_unlimited(1..=i32::MAX.unsigned_abs()))
        .unwrap_or_default();
    match (limit, source) {
        (Some(_), Some(MessageRateSource::None)) => {
            let problem = "has no effect: message_rate_source is None";
            let mend = "remove it, or write message_rate_source = \"IPAddress\"";
            section.warn(limit_line, "message_rate_limit", Wrong::new(problem, mend));
        }
        (None, Some(source)) if source != MessageRateSource::None => {
            let problem = "has no effect: messages are not limited";
            let mend = "remove it, or write message_rate_limit = 600";
            section.warn(source_line, "message_rate_source", Wrong::new(problem, mend));
        }
        _ => {}
    }
    (limit, source.unwrap_or_default())
}

/// As in Exchange, all three are off unless they are switched on.
pub(super) fn reject_recipient_domains(section: &mut Section<'_, '_>) -> RejectRecipientDomains {
    let mut is_on = |key| section.take(key, boolean).unwrap_or(false);
    RejectRecipientDomains {
        reserved_top_level: is_on("reject_reserved_top_level_recipient_domains"),
        reserved_second_level: is_on("reject_reserved_second_level_recipient_domains"),
        single_label: is_on("reject_single_label_recipient_domains"),
    }
}

/// Reads both timeouts. As in Exchange, the inactivity timeout must be the shorter one.
fn timeouts(section: &mut Section<'_, '_>) -> Limits {
    let default = Limits::default();
    let any_time = || duration(Duration::from_secs(1)..=Duration::from_hours(24));
    let connection_timeout =
        section.take("connection_timeout", any_time()).unwrap_or(default.connection_timeout);
    let line = section.line_of("connection_inactivity_timeout");
    let connection_inactivity_timeout = section
        .take("connection_inactivity_timeout", any_time())
        .unwrap_or(default.connection_inactivity_timeout);
    if connection_inactivity_timeout >= connection_timeout {
        let inactivity = timespan(connection_inactivity_timeout);
        let whole = timespan(connection_timeout);
        section.refuse(
            line,
            "connection_inactivity_timeout",
            Wrong::new(
                format!("{inactivity} is not below connection_timeout, {whole}"),
                "lower connection_inactivity_timeout, or raise connection_timeout",
            ),
        );
    }
    Limits { connection_timeout, connection_inactivity_timeout, ..default }
}
