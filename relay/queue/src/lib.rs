//! Accepted mail, from the 250 until it is delivered or reported.
//!
//! This module decides what a message's state is and what follows from an attempt. When it is
//! tried again is for [`schedule`] to say, where it goes for `delivery`, and how bytes
//! get to the disk for the engine behind [`store::Store`], so that one shared by several hosts
//! can take the place of the database of this one.

pub mod adapt;
pub mod admin;
pub mod bulk;
mod content;
mod entry;
pub mod event;
pub mod export;
pub mod filter;
mod ids;
mod incoming;
pub mod limits;
pub mod memory;
mod message_file;
mod record;
mod report;
pub mod schedule;
pub mod sqlite;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod track;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::content::Content;
use crate::entry::AttemptedRecipients;
use crate::event::{Observer, QueueEvent};
use crate::ids::QueueIds;
use crate::memory::{MemoryAccount, MessageMemory};
use crate::report::{Original, Report};
use crate::schedule::{Next, Schedule};
use crate::sqlite::SqliteStore;
use crate::store::{ClaimAfter, Lengths, Settlement, Store};
use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use relay_mail::dsn::Ret;
use relay_mail::envelope::Envelope;
use relay_mail::limits::MESSAGE_MEMORY;
use relay_mail::outcome::Outcome;
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::BeginError;
use relay_message::outbound::{Audience, OutboundFirewall};
use relay_smtp::client::DotStuffer;
use tracing::warn;

pub use crate::entry::{Entry, Recipient, RecipientState};
pub use crate::incoming::{Incoming, IncomingReader};
pub use crate::message_file::{MessageFile, MessageReader};
pub use crate::sqlite::{Damage, Offline, OpenError, Recovery, StoreSettings, Unserved, is_part};
pub use relay_mail::store_error::StoreError;

/// What a queue needs to know besides its engine.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The name that reports come from.
    pub hostname: Domain,
    /// When messages are tried again and given up.
    pub schedule: Schedule,
}

/// The queue, as the server and the delivery see it. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ids: QueueIds,
    settings: ArcSwap<QueueSettings>,
    memory: Arc<MessageMemory>,
    delivered: AtomicU64,
    deferred: AtomicU64,
    failed: AtomicU64,
    reports: AtomicU64,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// What the queue has done since the daemon began. Recipients are counted, not messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Recipients that a next hop took.
    pub delivered: u64,
    /// Attempts that left a recipient for later.
    pub deferred: u64,
    /// Recipients that were given up.
    pub failed: u64,
    /// Reports that were sent to senders.
    pub reports: u64,
    /// What is in the queue now.
    #[serde(flatten)]
    pub lengths: Lengths,
}

impl Queue {
    /// Opens the queue of a single host: the database in `store.directory`.
    ///
    /// # Errors
    /// [`OpenError`] when the directory cannot be used at all, or another process uses it.
    pub fn open(
        store: &StoreSettings,
        settings: QueueSettings,
    ) -> Result<(Self, Recovery), OpenError> {
        let (store, recovery) = SqliteStore::open(store)?;
        Ok((Self::with_store(Arc::new(store), settings), recovery))
    }

    /// A queue upon any engine.
    pub fn with_store(store: Arc<dyn Store>, settings: QueueSettings) -> Self {
        let shared = Shared {
            ids: QueueIds::above(store.highest_id()),
            settings: ArcSwap::from_pointee(settings),
            memory: MessageMemory::new(MESSAGE_MEMORY),
            delivered: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            observer: OnceLock::new(),
        };
        Self { store, shared: Arc::new(shared) }
    }

    /// Begins a message. Nothing is kept before [`Incoming::commit`].
    ///
    /// # Errors
    /// [`BeginError::Store`] when the disk is short or a sync has failed.
    pub async fn begin(&self, envelope: Envelope) -> Result<Incoming, BeginError> {
        self.begin_for(envelope, self.shared.memory.share().holder()).await
    }

    /// The same for a session, whose `memory` is charged with what the message takes of it.
    ///
    /// # Errors
    /// As [`Queue::begin`].
    pub async fn begin_for(
        &self,
        envelope: Envelope,
        memory: MemoryAccount,
    ) -> Result<Incoming, BeginError> {
        if envelope.recipients.is_empty() {
            return Err(BeginError::NoRecipient);
        }
        self.store.accepts().await?;
        let id = self.shared.ids.next(SystemTime::now());
        Ok(Incoming::new(Arc::clone(&self.store), memory, id, envelope))
    }

    /// Other settings from now on: for the next attempt of every message, and for reports.
    pub fn set_settings(&self, settings: QueueSettings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// The budget of memory for messages on their way in.
    pub fn message_memory(&self) -> &Arc<MessageMemory> {
        &self.shared.memory
    }

    /// The engine: claims, reads, lists and changes entries.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The highest id that there ever was in this queue: new ones are above it.
    pub fn highest_id(&self) -> QueueId {
        self.shared.ids.last()
    }

    /// Sets who is told what happens to messages from now on. Only the first call has an effect: a
    /// second observer would lack the events before.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Tells the observer an event of a message. The event is not made where it is not wanted.
    pub fn tell(&self, id: QueueId, event: impl FnOnce() -> QueueEvent) {
        if let Some(observer) = self.shared.observer.get().filter(|it| it.is_listening()) {
            observer.observe(id, event());
        }
    }

    /// What the queue has done and holds.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            delivered: read(&self.shared.delivered),
            deferred: read(&self.shared.deferred),
            failed: read(&self.shared.failed),
            reports: read(&self.shared.reports),
            lengths: self.store.lengths(),
        }
    }

    /// Records what an attempt at a claimed entry came to, one outcome for each recipient that
    /// was tried, and what follows from it: the next time, or the end, and a report to the
    /// sender when recipients were given up or have waited for long. Returns the entry as it is
    /// then.
    ///
    /// While the disk refuses this is tried again and again, since a message that was delivered
    /// must not be delivered again.
    ///
    /// # Errors
    /// [`StoreError::Closed`], or [`StoreError::NotFound`] for an entry that nobody claimed.
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
            Next::At(due) => entry.due = self.wakes(&entry, due, now),
            Next::Expired => {
                tried.expired = places(entry.pending());
                entry.expire();
            }
        }
        self.settle(entry, &tried, now, ClaimAfter::Released).await
    }

    /// Records that a claimed entry was not tried, and what follows from its age alone: it is due
    /// again at `due` and its sender warned, or it is given up. The outcomes are for recipients of
    /// whom nothing is known yet. Otherwise as [`Queue::record`].
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
            entry.due = self.wakes(&entry, due, now);
        }
        self.settle(entry, &tried, now, ClaimAfter::Released).await
    }

    /// Records what one next hop of several did with its recipients of a claimed entry. The
    /// claim stands, and the attempt goes on at the others. Otherwise as [`Queue::record`].
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
            Next::At(due) => self.wakes(entry, due, now),
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
        let mut told = entry.to_be_told(&failed, &tried.relayed);
        // Others of its recipients may be on their way as long as the claim stands.
        if claim == ClaimAfter::Released && self.warns_at(&entry).is_some_and(|at| at <= now) {
            told.extend(entry.to_be_warned_of());
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
            warn!(id = %entry.id, %error, "cannot record what an attempt came to; trying again");
            tokio::time::sleep(limits::STORE_RETRY).await;
        }
        track::settled(self, &entry, &tried.expired, report_id.map(|id| (id, &told[..])));
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

    /// Is there something to tell the sender of a message, whether it is tried now or not?
    pub fn owes_a_report(&self, entry: &Entry, now: SystemTime) -> bool {
        self.has_expired(entry, now) || self.warns_at(entry).is_some_and(|at| at <= now)
    }

    /// When an entry comes up that is due at `due`: no later than its sender is to be warned.
    pub fn wakes(&self, entry: &Entry, due: SystemTime, now: SystemTime) -> SystemTime {
        self.warns_at(entry).filter(|&at| at > now).map_or(due, |at| at.min(due))
    }

    /// When the sender is to be told that a message waits.
    fn warns_at(&self, entry: &Entry) -> Option<SystemTime> {
        let schedule = self.shared.settings.load().schedule;
        let is_wanted = entry.to_be_warned_of().next().is_some();
        schedule.warns_at(entry.arrived).filter(|_| is_wanted)
    }

    /// Has a message been in the queue for longer than it may?
    fn has_expired(&self, entry: &Entry, now: SystemTime) -> bool {
        let schedule = self.shared.settings.load().schedule;
        schedule.next(entry.id, entry.arrived, entry.attempts, now) == Next::Expired
    }

    /// The report for these recipients, unless nobody may be told.
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
        let seven_bit = told.iter().any(|&place| entry.failed_for_its_octets(place));
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

    /// What a report returns: of a message that failed, what RET asked for; of another, the header
    /// section (RFC 3461 section 4.3).
    async fn original(&self, entry: &Entry, of_failure: bool) -> Result<Original, StoreError> {
        let mut reader = self.store.read(entry.id).await?;
        // Of a binary message only the header section may leave otherwise than by BDAT.
        let most = match entry.dsn.ret {
            Some(Ret::Full) => limits::REPORT_FULL_OCTETS,
            Some(Ret::Headers) => 0,
            // A stranger would choose who gets the mail.
            None if entry.dsn.is_unproven => 0,
            None => limits::REPORT_ORIGINAL_OCTETS,
        };
        let whole = of_failure && entry.size <= most && !entry.binary;
        let mut beginning = BytesMut::new();
        // A report goes to whoever sent the message.
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
        // What may not leave must not leave inside a report either.
        if DotStuffer::new().stuff(&returned, &mut Vec::new()).is_err() {
            return Ok(Original::Lost);
        }
        Ok(if whole { Original::Whole(returned) } else { Original::Headers(returned) })
    }
}

fn places<'a>(recipients: impl Iterator<Item = (usize, &'a ForwardPath)>) -> Vec<usize> {
    recipients.map(|(place, _)| place).collect()
}
