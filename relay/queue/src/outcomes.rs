//! What follows an attempt: the outcomes are recorded, with the time of the next attempt or the end of
//! the message, and the sender gets a report.
//!
//! [`crate::schedule`] decides the times, `report` composes the text of a report, and the engine makes the
//! record durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use relay_mail::dsn::Ret;
use relay_mail::outcome::Outcome;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::store_error::StoreError;
use relay_message::outbound::{Audience, OutboundFirewall};
use relay_smtp::client::DotStuffer;
use tracing::warn;

use crate::content::Content;
use crate::entry::{AttemptedRecipients, Entry};
use crate::report::{self, Original, Report};
use crate::schedule::Next;
use crate::store::{ClaimAfter, Settlement};
use crate::{Queue, limits, track};

impl Queue {
    /// Records the outcomes of an attempt at a claimed entry, one for each recipient that was
    /// tried. Also enters the consequences: the time of the next attempt or the end, and a report
    /// to the sender if recipients were given up or have waited for long. Returns the changed
    /// entry.
    ///
    /// While the disk refuses, this repeats its attempt to write, since a message that was
    /// delivered must not be delivered again.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or [`StoreError::NotFound`] for an entry that is not claimed.
    pub async fn record(
        &self,
        mut entry: Entry,
        outcomes: Vec<(usize, Outcome)>,
        now: SystemTime,
    ) -> Result<Entry, StoreError> {
        let mut tried = entry.apply_all(outcomes);
        entry.attempts = entry.attempts.saturating_add(1);
        let schedule = self.shared.settings.load().schedule;
        match schedule.next(entry.id, entry.arrived, entry.attempts, now) {
            Next::At(due) => entry.due = self.wakes_at(&entry, due, now),
            Next::Expired => {
                tried.expired = places(entry.pending());
                entry.expire();
            }
        }
        self.settle(entry, &tried, now, ClaimAfter::Released).await
    }

    /// Records that a claimed entry was not tried, and the consequences of its age: either it is
    /// due again at `due`, perhaps with a report of the delay, or it is given up. The outcomes are
    /// for recipients that have no recorded reason yet. Otherwise as [`Queue::record`].
    ///
    /// # Errors
    /// As [`Queue::record`].
    pub async fn record_untried(
        &self,
        mut entry: Entry,
        outcomes: Vec<(usize, Outcome)>,
        due: SystemTime,
        now: SystemTime,
    ) -> Result<Entry, StoreError> {
        let mut tried = AttemptedRecipients { all: Vec::new(), ..entry.apply_all(outcomes) };
        if self.has_expired(&entry, now) {
            tried.expired = places(entry.pending());
            entry.expire();
        } else {
            entry.due = self.wakes_at(&entry, due, now);
        }
        self.settle(entry, &tried, now, ClaimAfter::Released).await
    }

    /// Records the outcomes of one of several next hops of a claimed entry. The claim stays, and
    /// the attempt continues at the others. Otherwise as [`Queue::record`].
    ///
    /// # Errors
    /// As [`Queue::record`].
    pub async fn record_part(
        &self,
        mut entry: Entry,
        outcomes: Vec<(usize, Outcome)>,
        now: SystemTime,
    ) -> Result<Entry, StoreError> {
        let tried = entry.apply_all(outcomes);
        self.settle(entry, &tried, now, ClaimAfter::Kept).await
    }

    /// When an entry is due again that was tried in part and is now put back.
    pub fn due_after_part(&self, entry: &Entry, now: SystemTime) -> SystemTime {
        let schedule = self.shared.settings.load().schedule;
        match schedule.next(entry.id, entry.arrived, entry.attempts.saturating_add(1), now) {
            Next::At(due) => self.wakes_at(entry, due, now),
            Next::Expired => now,
        }
    }

    async fn settle(
        &self,
        mut entry: Entry,
        tried: &AttemptedRecipients,
        now: SystemTime,
        claim: ClaimAfter,
    ) -> Result<Entry, StoreError> {
        let was_pending = tried.was_pending.iter().copied();
        let failed: Vec<_> = was_pending.filter(|&place| entry.has_failed(place)).collect();
        let mut told = entry.recipients_for_report(&failed, &tried.relayed);
        // Others of its recipients may be on their way as long as the claim stands.
        if claim == ClaimAfter::Released && self.warns_at(&entry).is_some_and(|at| at <= now) {
            told.extend(entry.recipients_for_delay_report());
            entry.warned = true;
        }
        let report = self.report(&entry, &told, &tried.all, now).await;
        let reported = u64::from(report.is_some());
        let report_id = report.as_ref().map(|(report, _)| report.id);
        let settlement = Settlement { entry: entry.clone(), report, claim };
        while let Err(error) = self.store.record(settlement.clone()).await {
            if matches!(error, StoreError::Closed | StoreError::NotFound(_)) {
                return Err(error);
            }
            warn!(id = %entry.id, %error, "cannot record the outcome of an attempt; trying again");
            tokio::time::sleep(limits::STORE_RETRY).await;
        }
        track::emit_events(self, &entry, &tried.expired, report_id.map(|id| (id, &told[..])));
        // Both are in order.
        let pending = places(entry.pending());
        let is_in = |places: &[usize], place: &usize| places.binary_search(place).is_ok();
        let deferred = tried.all.iter().filter(|place| is_in(&pending, place)).count();
        let gone_on =
            tried.all.iter().filter(|place| !is_in(&pending, place) && !is_in(&failed, place));
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.shared.delivered, gone_on.count());
        add(&self.shared.deferred, deferred);
        add(&self.shared.failed, failed.len());
        self.shared.reports.fetch_add(reported, Ordering::Relaxed);
        Ok(entry)
    }

    /// Does the sender of a message get a report now, even if the message is not tried?
    pub fn has_pending_report(&self, entry: &Entry, now: SystemTime) -> bool {
        self.has_expired(entry, now) || self.warns_at(entry).is_some_and(|at| at <= now)
    }

    /// When an entry that is due at `due` wakes up: not later than the report of its delay.
    pub fn wakes_at(&self, entry: &Entry, due: SystemTime, now: SystemTime) -> SystemTime {
        self.warns_at(entry).filter(|&at| at > now).map_or(due, |at| at.min(due))
    }

    /// When the sender gets a report that a message waits.
    fn warns_at(&self, entry: &Entry) -> Option<SystemTime> {
        let schedule = self.shared.settings.load().schedule;
        let is_wanted = entry.recipients_for_delay_report().next().is_some();
        schedule.warns_at(entry.arrived).filter(|_| is_wanted)
    }

    /// Has a message been in the queue for longer than it may?
    fn has_expired(&self, entry: &Entry, now: SystemTime) -> bool {
        let schedule = self.shared.settings.load().schedule;
        schedule.next(entry.id, entry.arrived, entry.attempts, now) == Next::Expired
    }

    /// The report about these recipients, unless the sender is null.
    async fn report(
        &self,
        entry: &Entry,
        told: &[usize],
        tried: &[usize],
        now: SystemTime,
    ) -> Option<(Entry, Bytes)> {
        if told.is_empty() || entry.sender == ReversePath::Null {
            return None;
        }
        let of_failure = told.iter().any(|&place| entry.has_failed(place));
        let original = self.original(entry, of_failure).await.unwrap_or_else(|error| {
            warn!(id = %entry.id, %error, "a report cannot return its message");
            Original::Lost
        });
        let seven_bit = told.iter().any(|&place| entry.failed_because_of_content(place));
        let original = if seven_bit { original.in_seven_bits() } else { original };
        let id = self.shared.ids.next(now);
        let (boundary, original) = report::separate(id, original);
        let settings = self.shared.settings.load();
        let report = Report {
            id,
            boundary: &boundary,
            hostname: &settings.hostname,
            entry,
            told,
            tried,
            original,
            seven_bit,
            expires: settings.schedule.expires(entry.arrived),
            now,
        };
        let envelope = report.envelope()?;
        let message = report.compose();
        Some((Entry::new(id, envelope, Content::of(&message), now), message))
    }

    /// The part of a message that a report returns: after a failure, the part that RET asked for;
    /// otherwise the header section (RFC 3461 section 4.3).
    async fn original(&self, entry: &Entry, of_failure: bool) -> Result<Original, StoreError> {
        let mut reader = self.store.read(entry.id).await?;
        // A binary message can be sent by BDAT only; its header section can be sent by DATA too.
        let most = match entry.dsn.ret {
            Some(Ret::Full) => limits::REPORT_FULL_OCTETS,
            Some(Ret::Headers) => 0,
            // The sender is not proven: a stranger would choose who gets the message.
            None if entry.dsn.is_unproven => 0,
            None => limits::REPORT_ORIGINAL_OCTETS,
        };
        let whole = of_failure && entry.size <= most && !entry.binary;
        let mut beginning = BytesMut::new();
        // The report is sent to the sender of the message.
        let mut firewall = OutboundFirewall::new(Audience::Outside);
        while (whole || beginning.len() < limits::REPORT_HEADER_OCTETS)
            && let Some(piece) = reader.next().await?
        {
            firewall.pass(piece).iter().for_each(|part| beginning.extend_from_slice(part));
        }
        beginning.extend_from_slice(&firewall.finish());
        if !whole {
            beginning.truncate(limits::REPORT_HEADER_OCTETS);
        }
        let beginning = beginning.freeze();
        let returned = if whole { beginning } else { report::header_section(&beginning) };
        // Octets that may not be sent in a message may not be sent in a report either.
        if DotStuffer::new().stuff(&returned, &mut Vec::new()).is_err() {
            return Ok(Original::Lost);
        }
        Ok(if whole { Original::Whole(returned) } else { Original::Headers(returned) })
    }
}

fn places<'a>(recipients: impl Iterator<Item = (usize, &'a ForwardPath)>) -> Vec<usize> {
    recipients.map(|(place, _)| place).collect()
}
