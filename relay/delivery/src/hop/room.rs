//! Which of its messages are in hand for a next hop, and what happens to the others?

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crate::budget::DeliveryClass;
use crate::hop::{Hop, State};
use crate::job::Job;
use crate::patience::Patience;
use crate::remotes::Key;
use crate::route::Destination;
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_queue::Entry;
use tokio::time::Instant;

use crate::limits;

impl Hop {
    /// Passes a message to a worker, or puts it back until the next hop is tried again or has room.
    /// No next hop gets more of the messages in hand than are left for all others. Never waits:
    /// workers do the writing. If a class is returned, it has no room, and the message waits for
    /// its other next hops or is put back by the caller.
    pub(crate) fn push(self: &Arc<Self>, mut job: Job) -> Option<DeliveryClass> {
        let id = job.entry.id;
        let pause = self.remaining_back_off();
        let (class, room) = {
            let mut state = self.state.lock();
            state.waiting_for_hop.remove(id);
            let class = self.class(&state, &job.entry);
            // If only a report to its sender is due, the message is not in hand for long.
            let is_short = pause.is_some();
            (
                class,
                self.room(
                    &state,
                    DeliveryClass { is_proven: class.is_proven || is_short, ..class },
                ),
            )
        };
        let hold = self.budget.admit(id, class, &self.in_hand);
        if let Some(pause) = pause
            && !self.queue.has_pending_report(&job.entry, SystemTime::now())
        {
            self.put_off(job, pause);
            return None;
        }
        let Some(hold) = hold else {
            let due = self.wakes(&job.entry, limits::PARKED_LOOK);
            if !job.put_back_for_free_connection(&self.destination, due) {
                return Some(class);
            }
            self.budget.park(id, class);
            // It comes before others of its class once this next hop has proved alive.
            self.state.lock().waiting_for_hop.add(id);
            return None;
        };
        job.hold = Some(hold);
        let mut state = self.state.lock();
        if state.waiting.len() >= room {
            drop(state);
            match pause {
                // A report to its sender is due, and no other event would fetch the message before.
                Some(_) => self.put_back(job, limits::REPORT_LOOK),
                None => self.park(job),
            }
            return None;
        }
        state.waiting.push_back(job);
        self.staff(&mut state);
        None
    }

    /// The class of a message in hand.
    fn class(&self, state: &State, entry: &Entry) -> DeliveryClass {
        let now = Instant::now();
        let has_proved =
            state.proved.is_some_and(|at| now.saturating_duration_since(at) < limits::PROOF_HOLDS);
        DeliveryClass {
            is_exchanger: matches!(self.destination, Destination::Exchangers { .. }),
            is_proven: has_proved && state.failures == 0 && !state.is_stalled(now),
            is_report: entry.sender == ReversePath::Null,
        }
    }

    /// How many messages may wait here.
    fn room(&self, state: &State, class: DeliveryClass) -> usize {
        let of_window = state.window.size() * limits::CLAIMS_PER_CONNECTION;
        if class.is_proven { self.budget.remaining().max(of_window) } else { of_window }
    }

    /// Puts a job back until there is room for a connection to the address.
    pub(crate) fn wait_for_remote(&self, job: Job, key: Key) {
        let id = job.entry.id;
        let due = self.wakes(&job.entry, limits::PARKED_LOOK);
        if job.put_back_for_free_connection(&self.destination, due) {
            self.remotes.park(id, key);
        }
    }

    /// The time limit of an attempt for a job, which begins now.
    pub(crate) fn patience(&self, job: &Job) -> Patience {
        let transactions = job.places.len().div_ceil(limits::RECIPIENTS_PER_TRANSACTION);
        let is_exchanger = matches!(self.destination, Destination::Exchangers { .. });
        let is_short = is_exchanger.then(|| self.budget.is_short());
        Patience::new(job.entry.size, transactions, is_short)
    }

    /// Puts back those of these messages that wait for a connection, so that an administrator can
    /// hold or remove them; they are not claimed again before that is done.
    pub(super) fn withdraw(&self, ids: &HashSet<QueueId>) {
        let withdrawn: Vec<_> = {
            let mut state = self.state.lock();
            let (taken, kept) = mem::take(&mut state.waiting)
                .into_iter()
                .partition::<VecDeque<_>, _>(|job| ids.contains(&job.entry.id));
            state.waiting = kept;
            taken.into()
        };
        for job in withdrawn {
            let due = self.wakes(&job.entry, limits::WITHDRAWN);
            // In both cases: with other next hops in progress, the message must stay in hand.
            job.put_back_for_free_connection(&self.destination, due);
        }
        // Parked messages stay parked until a worker fetches them: otherwise they would be in hand
        // again before the administrator's change.
    }

    /// Puts a message back during the back-off of the next hop. A few messages are due when the
    /// back-off ends, and the others after the next hop has proved alive.
    pub(crate) fn put_off(&self, job: Job, pause: Duration) {
        let comes_up = {
            let mut state = self.state.lock();
            state.returning += 1;
            state.returning <= limits::PAUSE_ENDS_WITH
        };
        if comes_up { self.put_back(job, pause) } else { self.park(job) }
    }

    /// Puts a message back until there is room.
    fn park(&self, job: Job) {
        let id = job.entry.id;
        // First put back: a message that is still claimed cannot be fetched.
        self.put_back(job, limits::PARKED_LOOK);
        let mut state = self.state.lock();
        state.waiting_for_hop.add(id);
        // There may be room by now, and no later event may notice it.
        self.fetch_waiting_messages(&mut state);
    }

    /// Puts a message back for a while, but not beyond the time of its report of a delay.
    fn put_back(&self, job: Job, wait: Duration) {
        let due = self.wakes(&job.entry, wait);
        job.put_back(due);
    }

    fn wakes(&self, entry: &Entry, wait: Duration) -> SystemTime {
        let now = SystemTime::now();
        self.queue.wakes_at(entry, now + wait, now)
    }

    /// Makes messages due for which there is room now; all of them when this next hop is closing.
    pub(super) fn fetch_waiting_messages(&self, state: &mut State) {
        let ids = if self.is_closing() {
            state.waiting_for_hop.take()
        } else if state.failures > 0 {
            return;
        } else {
            let is_exchanger = matches!(self.destination, Destination::Exchangers { .. });
            let is_proven = state.proved.is_some() && !state.is_stalled(Instant::now());
            let class = DeliveryClass { is_exchanger, is_proven, is_report: false };
            let ids = state.waiting_for_hop.next(state.waiting.len(), self.room(state, class));
            if !self.budget.has_capacity(class) && self.has_its_share() {
                // They are made due when there is room for all next hops, or when this next hop
                // proves alive.
                for id in ids {
                    self.budget.park(id, class);
                    state.waiting_for_hop.remove(id);
                    state.waiting_for_hop.add(id);
                }
                return;
            }
            ids
        };
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }

    /// Does it have the share of every next hop of the configuration, or is it not one of them?
    fn has_its_share(&self) -> bool {
        matches!(self.destination, Destination::Exchangers { .. })
            || self.in_hand.load(Ordering::Relaxed) >= limits::CONFIGURED_CLAIMS
    }
}
