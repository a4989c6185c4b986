//! Which refusals are recorded one by one, in the log at INFO and in the message tracking log?
//!
//! A refused client tries again, and some clients are refused thousands of times in a minute. So
//! each source has a bucket of records for each kind of refusal, and all sources together have one.
//! Further refusals are counted: the next record of the source has the number of its own, and the
//! message tracking log has the number of all sources every minute.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::{
    REFUSAL_INTERVAL, REFUSAL_OF_SOURCE_INTERVAL, REFUSAL_SOURCES, REFUSALS_OF_SOURCE,
};
use crate::proxy_header::ProxyHeaderError;
use parking_lot::Mutex;
use relay_common::address::Address;
use relay_connector::Connection;
use relay_delivery::limits::REFUSALS;
use relay_host::ttl_cache::TtlCache;
use relay_kernel::classifier::Classification;
use relay_mail::reply::Reply;
use relay_policy::{Because, Decision, Rule};
use relay_session::Refused;
use relay_smtp::command::Verb;
use relay_tracking::Tracker;
use relay_tracking::event::RefusalEvent;

/// Decides which refusals are recorded.
#[derive(Debug)]
pub(super) struct RefusalRecorder(Mutex<Budget>);

/// The refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A connection, before its first command.
    Connection,
    /// A command, or a message.
    Command,
    /// A session without a message.
    Session,
}

#[derive(Debug)]
struct Budget {
    /// Refusals since the last record, and the time at which the bucket is full again.
    sources: TtlCache<(Address, Kind), u64>,
    /// The time at which the bucket of all sources is full again, for each kind.
    all: [Option<Instant>; 3],
}

impl Default for RefusalRecorder {
    fn default() -> Self {
        Self(Mutex::new(Budget { sources: TtlCache::new(REFUSAL_SOURCES), all: [None; 3] }))
    }
}

impl RefusalRecorder {
    /// Counts one more refusal. `Some`: record it, with this number of earlier refusals of the
    /// source that were not recorded.
    fn admit(&self, now: Instant, remote: IpAddr, kind: Kind) -> Option<u64> {
        let mut budget = self.0.lock();
        let key = (Address::from(remote).source(), kind);
        let (suppressed, full) =
            budget.sources.get(now, &key).map_or((0, now), |(&count, full)| (count, full));
        let of_source = one_more(now, full, REFUSAL_OF_SOURCE_INTERVAL, REFUSALS_OF_SOURCE);
        let all = budget.all[kind as usize].unwrap_or(now);
        match of_source.zip(one_more(now, all, REFUSAL_INTERVAL, REFUSALS)) {
            Some((of_source, of_all)) => {
                budget.all[kind as usize] = Some(of_all);
                budget.sources.put(now, key, 0, of_source);
                Some(suppressed)
            }
            None => {
                let until = full.max(now + REFUSAL_OF_SOURCE_INTERVAL);
                budget.sources.put(now, key, suppressed.saturating_add(1), until);
                None
            }
        }
    }

    /// Records a refusal, or counts it.
    pub(super) fn record(&self, tracker: &Tracker, kind: Kind, refusal: RefusalEvent) {
        let Some(suppressed) = self.admit(Instant::now(), refusal.connection.client().ip(), kind)
        else {
            return tracker.suppress(1);
        };
        let refusal = RefusalEvent { suppressed, ..refusal };
        write(&refusal);
        tracker.tell_refused(|| refusal);
    }

    /// Records a connection that was refused before its session.
    pub(super) fn record_connection(
        &self,
        tracker: &Tracker,
        classification: &Classification,
        connection: &Connection,
        decision: &Decision,
    ) {
        let chosen = classification.connector.as_ref();
        let connector = chosen.map(|chosen| chosen.connector.name.clone());
        let because = decision.because.last().cloned();
        let reply = Some(decision.reply.clone());
        self.record_unserved(tracker, connection, connector, reply, because);
    }

    /// Records a connection from a proxy that ended without a reply, because of its PROXY header.
    pub(super) fn record_proxy_header(
        &self,
        tracker: &Tracker,
        connection: &Connection,
        error: &ProxyHeaderError,
    ) {
        let because = Because { rule: Rule::ProxyProtocolFrom, found: error.to_string().into() };
        self.record_unserved(tracker, connection, None, None, Some(because));
    }

    fn record_unserved(
        &self,
        tracker: &Tracker,
        connection: &Connection,
        connector: Option<String>,
        reply: Option<Reply>,
        because: Option<Because>,
    ) {
        let refused = Refused {
            command: Some(Verb::Connect),
            sender: None,
            recipients: Vec::new(),
            recipients_left_out: 0,
            identity: relay_message::identity::Identity::default(),
            reply,
            because,
        };
        let refusal = RefusalEvent {
            session: None,
            connection: *connection,
            connector,
            principal: None,
            user: None,
            hello: None,
            refused,
            suppressed: 0,
        };
        self.record(tracker, Kind::Connection, refusal);
    }
}

/// The new time of a bucket that is full at `full`, after one more record; `None` if the bucket is
/// empty.
fn one_more(now: Instant, full: Instant, interval: Duration, most: u32) -> Option<Instant> {
    let after = full.max(now) + interval;
    (after - now <= interval * most).then_some(after)
}

/// The line of the daemon's log.
fn write(refusal: &RefusalEvent) {
    let connection = &refusal.connection;
    let Refused { command, sender, recipients, recipients_left_out, identity, reply, because } =
        &refusal.refused;
    let recipients: Vec<_> = recipients.iter().map(ToString::to_string).collect();
    let suppressed = (refusal.suppressed > 0).then_some(refusal.suppressed);
    let left_out = (*recipients_left_out > 0).then_some(*recipients_left_out);
    let found =
        because.as_ref().map(|because| because.found.to_string().escape_debug().to_string());
    let what = match command {
        Some(Verb::Connect) => "connection refused",
        Some(_) => "refused",
        None => "aborted",
    };
    tracing::info!(
        session_id = refusal.session.map(|session| format!("{session:016X}")),
        remote = %connection.remote(),
        proxy = connection.proxy().map(tracing::field::display),
        local = %connection.local(),
        connector = refusal.connector,
        command = command.map(Verb::name),
        sender = sender.as_ref().map(tracing::field::display),
        recipients = (!recipients.is_empty()).then(|| recipients.join(" ")),
        recipients_left_out = left_out,
        message_id = identity.message_id.as_deref().map(tracing::field::debug),
        from = identity.from.as_deref().map(tracing::field::debug),
        reply = reply.as_ref().map(tracing::field::display),
        rule = because.as_ref().map(|because| because.rule.name()),
        found,
        suppressed,
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use crate::refusals::*;

    #[test]
    fn a_source_has_its_records_and_the_next_one_counts_the_others() {
        let refusals = RefusalRecorder::default();
        let start = Instant::now();
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut recorded = 0;
        for _ in 0..1000 {
            recorded += u32::from(refusals.admit(start, one, Kind::Command).is_some());
        }
        assert_eq!(recorded, REFUSALS_OF_SOURCE);
        assert_eq!(refusals.admit(start, other, Kind::Command), Some(0), "it has its own");
        assert_eq!(refusals.admit(start, one, Kind::Connection), Some(0), "so has each kind");
        let later = start + REFUSAL_OF_SOURCE_INTERVAL;
        assert_eq!(refusals.admit(later, one, Kind::Command), Some(900));
        assert_eq!(refusals.admit(later, one, Kind::Command), None);
        assert_eq!(refusals.admit(later + REFUSAL_OF_SOURCE_INTERVAL, one, Kind::Command), Some(1));
    }

    #[test]
    fn all_sources_together_have_a_bound_too() {
        let refusals = RefusalRecorder::default();
        let now = Instant::now();
        let sources = 0..2 * REFUSALS;
        let recorded = sources.filter(|source| {
            let remote = IpAddr::from((source + 0x0A00_0000).to_be_bytes());
            refusals.admit(now, remote, Kind::Connection).is_some()
        });
        assert_eq!(recorded.count(), REFUSALS as usize);
    }
}
