//! Which messages does a search find? Those whose beginning matches, and those that any later line
//! names.
//!
//! The beginning of a message has sender, recipients, Message-ID and client. It may be missing,
//! because the log is not synced and can have gaps; then only lines that name a recipient remain.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::limits::TRACE_MESSAGES;
use crate::line::{TrackingLine, What};
use crate::query::{Criteria, QueryMatch};
use relay_mail::queue_id::QueueId;

/// Messages that may match. Of each kind the newest [`TRACE_MESSAGES`].
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Messages whose beginning matches, in order.
    pub(super) begun: VecDeque<QueueId>,
    /// Messages that a later line names, and whose beginning has not been seen.
    pub(super) named: VecDeque<QueueId>,
    /// Originals of reports: they are named by a line about another message.
    pub(super) origins: HashMap<QueueId, TrackingLine>,
    /// Messages beyond the limit.
    pub(super) left_out: u64,
    /// All messages that were ever in a list.
    seen: HashSet<QueueId>,
    /// Messages whose beginning does not match, if a later line could name them.
    refuted: HashSet<QueueId>,
}

impl Candidates {
    /// Reads the next line of the log.
    pub(super) fn add(&mut self, criteria: &Criteria, line: TrackingLine) {
        let id = line.id;
        match &line.what {
            What::Receive(_) => {
                let Some(id) = id else { return };
                match criteria.matches(&line) {
                    QueryMatch::Yes | QueryMatch::Unknown => self.begin(id),
                    QueryMatch::No if !criteria.selects_message(&line) => self.refute(criteria, id),
                    QueryMatch::No => {}
                }
            }
            What::Dsn { report, .. } => {
                let report = *report;
                if let Some(id) = id.filter(|_| criteria.names(&line)) {
                    self.name(id);
                }
                if criteria.matches(&line) != QueryMatch::No {
                    self.origins.insert(report, line);
                    self.begin(report);
                }
            }
            _ => {
                if let Some(id) = id.filter(|_| criteria.names(&line)) {
                    self.name(id);
                }
            }
        }
    }

    fn begin(&mut self, id: QueueId) {
        if !self.seen.insert(id) {
            // A next hop may be faster than the session that learns of the commit.
            self.named.retain(|named| *named != id);
            if self.begun.contains(&id) {
                return;
            }
        }
        self.begun.push_back(id);
        self.shorten();
    }

    fn name(&mut self, id: QueueId) {
        if !self.refuted.contains(&id) && self.seen.insert(id) {
            self.named.push_back(id);
            self.shorten();
        }
    }

    fn refute(&mut self, criteria: &Criteria, id: QueueId) {
        // If the beginning cannot exclude a message, no later line needs the list.
        let more =
            [criteria.from.is_some(), criteria.message_id.is_some(), criteria.remote.is_some()];
        if criteria.to.is_some() && more.contains(&true) {
            self.refuted.insert(id);
            self.named.retain(|named| *named != id);
        }
    }

    fn shorten(&mut self) {
        for ids in [&mut self.begun, &mut self.named] {
            if ids.len() > TRACE_MESSAGES
                && let Some(oldest) = ids.pop_front()
            {
                self.left_out += 1;
                self.origins.remove(&oldest);
            }
        }
    }
}
