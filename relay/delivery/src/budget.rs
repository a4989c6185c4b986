//! Which messages may be in hand at the same time?
//!
//! A job in hand uses memory and, sooner or later, a connection, and a slow next hop uses them for
//! long. A stranger can name next hops (the domain of a sender that gets a report), so their
//! resources are limited: next hops found by DNS, next hops that have not recently proved alive,
//! and reports have only a share each. Next hops that the configuration names always get
//! [`limits::CONFIGURED_CLAIMS`], independent of the others.
//!
//! A job without room goes back to the queue; its id waits here for room. [`super::remotes`] limits
//! the connections to one address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::waiting_list::WaitingList;
use parking_lot::{Mutex, MutexGuard};
use relay_mail::queue_id::QueueId;
use relay_queue::Queue;
use relay_queue::limits::CLAIMED_AT_ONCE;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits;

/// The class of a job in the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeliveryClass {
    /// Its next hop was found by DNS, or is given in the recipient's address.
    pub(super) is_exchanger: bool,
    /// Its next hop has recently replied, and no attempt there is stalled.
    pub(super) is_proven: bool,
    /// It is a report, or another message with the null sender.
    pub(super) is_report: bool,
}

/// The room of one delivery task.
#[derive(Debug)]
pub(super) struct DeliveryBudget {
    queue: Queue,
    state: Mutex<State>,
    /// Becomes true while messages wait for room.
    is_short: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Jobs in hand and reservations.
    counts: Counts,
    waiting: BTreeMap<DeliveryClass, WaitingList>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    all: usize,
    exchangers: usize,
    unproven: usize,
    reports: usize,
}

/// The room of one job; dropping it returns the room.
#[derive(Debug)]
pub(super) struct Hold {
    budget: Arc<DeliveryBudget>,
    class: DeliveryClass,
    /// Jobs of the same next hop in hand.
    of_hop: Arc<AtomicUsize>,
}

impl Counts {
    fn have_room(&self, class: DeliveryClass) -> bool {
        self.all < limits::DELIVERY_CLAIMS
            && (!class.is_exchanger || self.exchangers < limits::EXCHANGER_CLAIMS)
            && (class.is_proven || self.unproven < limits::UNPROVEN_CLAIMS)
            && (!class.is_report || self.reports < limits::REPORT_CLAIMS)
    }

    fn add(&mut self, class: DeliveryClass) {
        self.all += 1;
        self.exchangers += usize::from(class.is_exchanger);
        self.unproven += usize::from(!class.is_proven);
        self.reports += usize::from(class.is_report);
    }

    fn remove(&mut self, class: DeliveryClass) {
        self.all -= 1;
        self.exchangers -= usize::from(class.is_exchanger);
        self.unproven -= usize::from(!class.is_proven);
        self.reports -= usize::from(class.is_report);
    }
}

impl State {
    /// A message has been claimed. Was it called?
    fn came(&mut self, id: QueueId) -> bool {
        let mut was_called = false;
        for (class, list) in &mut self.waiting {
            if list.came(id) {
                self.counts.remove(*class);
                was_called = true;
            }
        }
        was_called
    }

    /// Which messages to make due, now that there may be room.
    fn call(&mut self, now: Instant) -> Vec<QueueId> {
        let mut ids = Vec::new();
        for (class, list) in &mut self.waiting {
            for _ in 0..list.expire(now) {
                self.counts.remove(*class);
            }
            while ids.len() < CLAIMED_AT_ONCE
                && self.counts.have_room(*class)
                && let Some(id) = list.wake(now)
            {
                self.counts.add(*class);
                ids.push(id);
            }
        }
        self.waiting.retain(|_, list| !list.is_empty());
        ids
    }

    fn is_short(&self) -> bool {
        self.waiting.values().any(WaitingList::has_waiting)
    }
}

impl DeliveryBudget {
    pub(super) fn new(queue: Queue) -> Arc<Self> {
        let (state, is_short) = (Mutex::default(), watch::Sender::new(false));
        Arc::new(Self { queue, state, is_short })
    }

    /// Room for one job of a claimed message. None: it must wait in the queue, see
    /// [`DeliveryBudget::park`]. `of_hop` counts the jobs of its next hop.
    pub(super) fn admit(
        self: &Arc<Self>,
        id: QueueId,
        class: DeliveryClass,
        of_hop: &Arc<AtomicUsize>,
    ) -> Option<Hold> {
        let mut state = self.state.lock();
        let was_called = state.came(id);
        let is_guaranteed =
            !class.is_exchanger && of_hop.load(Ordering::Relaxed) < limits::CONFIGURED_CLAIMS;
        // Waiting messages come first.
        let is_its_turn = was_called || !state.waiting.get(&class).is_some_and(|l| l.has_waiting());
        if !(is_guaranteed || is_its_turn && state.counts.have_room(class)) {
            return None;
        }
        state.counts.add(class);
        of_hop.fetch_add(1, Ordering::Relaxed);
        Some(Hold { budget: Arc::clone(self), class, of_hop: Arc::clone(of_hop) })
    }

    /// A message waits in the queue for room. Call this only after its claim has ended.
    pub(super) fn park(&self, id: QueueId, class: DeliveryClass) {
        let mut state = self.state.lock();
        state.waiting.entry(class).or_default().park(id);
        // There may be room by now, and no job left that could return room.
        self.call(state);
    }

    /// How many more jobs may be in hand.
    pub(super) fn remaining(&self) -> usize {
        limits::DELIVERY_CLAIMS.saturating_sub(self.state.lock().counts.all)
    }

    /// Would another job of this class be admitted now?
    pub(super) fn has_capacity(&self, class: DeliveryClass) -> bool {
        let state = self.state.lock();
        let is_waited_for = state.waiting.get(&class).is_some_and(WaitingList::has_waiting);
        state.counts.have_room(class) && !is_waited_for
    }

    /// True while messages wait for room.
    pub(super) fn is_short(&self) -> watch::Receiver<bool> {
        self.is_short.subscribe()
    }

    fn call(&self, mut state: MutexGuard<'_, State>) {
        let ids = state.call(Instant::now());
        let is_short = state.is_short();
        drop(state);
        self.is_short.send_if_modified(|was| std::mem::replace(was, is_short) != is_short);
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.of_hop.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.budget.state.lock();
        state.counts.remove(self.class);
        self.budget.call(state);
    }
}

#[cfg(test)]
mod tests {
    use crate::budget::*;

    const CONFIGURED: DeliveryClass =
        DeliveryClass { is_exchanger: false, is_proven: true, is_report: false };
    const PROVEN: DeliveryClass =
        DeliveryClass { is_exchanger: true, is_proven: true, is_report: false };
    const UNPROVEN: DeliveryClass =
        DeliveryClass { is_exchanger: true, is_proven: false, is_report: false };
    const REPORT: DeliveryClass =
        DeliveryClass { is_exchanger: true, is_proven: true, is_report: true };

    /// How many of a class are admitted.
    fn fill(counts: &mut Counts, class: DeliveryClass) -> usize {
        let mut admitted = 0;
        while counts.have_room(class) {
            counts.add(class);
            admitted += 1;
        }
        admitted
    }

    #[test]
    fn each_class_has_only_its_share() {
        let mut counts = Counts::default();
        assert_eq!(fill(&mut counts, UNPROVEN), limits::UNPROVEN_CLAIMS);
        assert_eq!(fill(&mut counts, REPORT), limits::REPORT_CLAIMS);
        let rest = limits::EXCHANGER_CLAIMS - limits::UNPROVEN_CLAIMS - limits::REPORT_CLAIMS;
        assert_eq!(fill(&mut counts, PROVEN), rest);
        let rest = limits::DELIVERY_CLAIMS - limits::EXCHANGER_CLAIMS;
        assert_eq!(fill(&mut counts, CONFIGURED), rest);
    }

    #[test]
    fn the_oldest_is_called_and_its_room_is_reserved() {
        let now = Instant::now();
        let mut state = State::default();
        let full = fill(&mut state.counts, UNPROVEN);
        let id = QueueId::from_u64;
        for number in [3, 1, 2] {
            state.waiting.entry(UNPROVEN).or_default().park(id(number));
        }
        assert_eq!(state.call(now), []);
        state.counts.remove(UNPROVEN);
        assert_eq!(state.call(now), [id(1)]);
        assert_eq!(state.counts.unproven, full, "reserved");
        assert!(state.came(id(1)));
        assert_eq!(state.counts.unproven, full - 1, "free for the message that has come");
        state.counts.add(UNPROVEN);
        // A message that does not arrive keeps no room.
        state.counts.remove(UNPROVEN);
        assert_eq!(state.call(now), [id(2)]);
        assert_eq!(state.call(now + limits::CALLED_WAIT), [id(3)]);
        assert!(!state.is_short());
    }
}
