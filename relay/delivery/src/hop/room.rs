//! Which of its messages a next hop has in hand, and what becomes of the others.

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
    /// Hands a message to a worker, or puts it back until the next hop is tried again or has
    /// room. No next hop takes more of the messages in hand than are left for all others. Never
    /// waits: what has to be written, a worker writes. A class that is returned has no room, and
    /// the message waits for its other next hops or is put back by the caller.
    pub(crate) fn push(self: &Arc<Self>, mut job: Job) -> Option<DeliveryClass> {
        let id = job.entry.id;
        let pause = self.remaining_back_off();
        let (class, room) = {
            let mut state = self.state();
            state.parking.remove(id);
            let class = self.class(&state, &job.entry);
            // Where only its sender is to be told, it is not kept for long.
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
            self.state().parking.add(id);
            return None;
        };
        job.hold = Some(hold);
        let mut state = self.state();
        if state.waiting.len() >= room {
            drop(state);
            match pause {
                // Its sender is to be told something, and nobody fetches it meanwhile.
                Some(_) => self.put_back(job, limits::REPORT_LOOK),
                None => self.park(job),
            }
            return None;
        }
        state.waiting.push_back(job);
        self.staff(&mut state);
        None
    }

    /// What a message counts as in hand.
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

    /// How long an attempt for a job may take, which begins now.
    pub(crate) fn patience(&self, job: &Job) -> Patience {
        let transactions = job.places.len().div_ceil(limits::RECIPIENTS_PER_TRANSACTION);
        let is_exchanger = matches!(self.destination, Destination::Exchangers { .. });
        let is_short = is_exchanger.then(|| self.budget.is_short());
        Patience::new(job.entry.size, transactions, is_short)
    }

    /// Puts back those of these messages that wait for a connection, for an administrator who holds
    /// or removes them; they are not claimed again before that is done.
    pub(super) fn withdraw(&self, ids: &HashSet<QueueId>) {
        let withdrawn: Vec<_> = {
            let mut state = self.state();
            let (taken, kept) = mem::take(&mut state.waiting)
                .into_iter()
                .partition::<VecDeque<_>, _>(|job| ids.contains(&job.entry.id));
            state.waiting = kept;
            taken.into()
        };
        for job in withdrawn {
            let due = self.wakes(&job.entry, limits::WITHDRAWN);
            // True or false: with further next hops under way it stays in hand, as it must.
            job.put_back_for_free_connection(&self.destination, due);
        }
        // What is parked stays there until a worker looks: fetched now, it would be in hand again
        // before the administrator's change reaches it.
    }

    /// Puts a message back while the next hop is left alone. A few come up when the pause ends, and
    /// the others once it is known to be alive.
    pub(crate) fn put_off(&self, job: Job, pause: Duration) {
        let comes_up = {
            let mut state = self.state();
            state.returning += 1;
            state.returning <= limits::PAUSE_ENDS_WITH
        };
        if comes_up { self.put_back(job, pause) } else { self.park(job) }
    }

    /// Puts a message back until there is room.
    fn park(&self, job: Job) {
        let id = job.entry.id;
        // First: one that is claimed still cannot be fetched.
        self.put_back(job, limits::PARKED_LOOK);
        let mut state = self.state();
        state.parking.add(id);
        // There may be room by now, and nobody left to notice.
        self.fetch_waiting_messages(&mut state);
    }

    /// Puts a message back for a while, but not beyond the time when its sender is to be warned.
    fn put_back(&self, job: Job, wait: Duration) {
        let due = self.wakes(&job.entry, wait);
        job.put_back(due);
    }

    fn wakes(&self, entry: &Entry, wait: Duration) -> SystemTime {
        let now = SystemTime::now();
        self.queue.wakes_at(entry, now + wait, now)
    }

    /// Makes messages due that there is room for now; all of them when nobody here will.
    pub(super) fn fetch_waiting_messages(&self, state: &mut State) {
        let ids = if self.is_closing() {
            state.parking.take()
        } else if state.failures > 0 {
            return;
        } else {
            let is_exchanger = matches!(self.destination, Destination::Exchangers { .. });
            let is_proven = state.proved.is_some() && !state.is_stalled(Instant::now());
            let class = DeliveryClass { is_exchanger, is_proven, is_report: false };
            let ids = state.parking.next(state.waiting.len(), self.room(state, class));
            if !self.budget.has_capacity(class) && self.has_its_share() {
                // They are made due when there is room in all, or this next hop proves alive.
                for id in ids {
                    self.budget.park(id, class);
                    state.parking.remove(id);
                    state.parking.add(id);
                }
                return;
            }
            ids
        };
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }

    /// Does it have what every next hop of the configuration may have, or is it none of those?
    fn has_its_share(&self) -> bool {
        matches!(self.destination, Destination::Exchangers { .. })
            || self.in_hand.load(Ordering::Relaxed) >= limits::CONFIGURED_CLAIMS
    }
}
