//! How much of the log may a source fill with full lines?
//!
//! A source may write a share of the directory in a day, as a bucket that refills evenly. Beyond
//! it, lines about its messages are short, and so are lines of their later attempts. Every accepted
//! message has a line, but a flood of long lines does not replace the history of a month.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::{
    TRACKING_SHORT_MESSAGES, TRACKING_SOURCE_SHARE, TRACKING_SOURCE_TIME, TRACKING_SOURCES,
};
use relay_common::address::Address;
use relay_host::ttl_cache::TtlCache;
use relay_mail::queue_id::QueueId;

/// The use of each source, and the messages with short lines.
#[derive(Debug)]
pub(super) struct SourceLineBudget {
    /// The time at which the bucket of a source is full again.
    sources: TtlCache<Address, ()>,
    short: HashSet<QueueId>,
    /// The same, oldest first.
    in_order: VecDeque<QueueId>,
}

impl SourceLineBudget {
    pub(super) fn new() -> Self {
        Self {
            sources: TtlCache::new(TRACKING_SOURCES),
            short: HashSet::new(),
            in_order: VecDeque::new(),
        }
    }

    /// Counts a line of this many octets for this source, in a directory of this size. Returns
    /// false if lines about the message must be short.
    pub(super) fn allows(
        &mut self,
        now: Instant,
        source: IpAddr,
        id: QueueId,
        octets: usize,
        directory: u64,
    ) -> bool {
        let source = Address::from(source).source();
        let share = (directory / TRACKING_SOURCE_SHARE).max(1);
        let full = self.sources.get(now, &source).map_or(now, |(_, full)| full);
        let part = octets as f64 / share as f64;
        let after = full + TRACKING_SOURCE_TIME.mul_f64(part.min(1.0));
        if after.saturating_duration_since(now) <= TRACKING_SOURCE_TIME {
            self.sources.put(now, source, (), after);
            return true;
        }
        if self.short.insert(id) {
            self.in_order.push_back(id);
        }
        while self.in_order.len() > TRACKING_SHORT_MESSAGES {
            if let Some(oldest) = self.in_order.pop_front() {
                self.short.remove(&oldest);
            }
        }
        false
    }

    /// Must lines about this message be short?
    pub(super) fn is_short(&self, id: QueueId) -> bool {
        self.short.contains(&id)
    }
}

const _: () = assert!(TRACKING_SOURCE_TIME.as_secs() > Duration::from_secs(60).as_secs());
