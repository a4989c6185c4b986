//! The state of a next hop for administrators, in `relay status` and as the reason why a message
//! waits; and the withdrawal of messages that wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Destination;
use crate::hop::Hop;
use parking_lot::Mutex;
use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::queue_id::QueueId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// One next hop, as `relay status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopStatus {
    /// As it was configured or found.
    pub name: String,
    /// Its state.
    pub state: HopState,
    /// Since when it has failed, in seconds since 1970; none if it does not fail. A working next
    /// hop may fail too: it replies, but every attempt ends early.
    pub since: Option<u64>,
    /// The result of the last attempt to reach it, if that failed, or the reason why it accepts no
    /// mail.
    pub because: Option<String>,
    /// When it is tried next, in seconds since 1970; none if it is not in back-off.
    pub next_try: Option<u64>,
    /// Failures to reach it in a row.
    pub failures: u32,
    /// Connections to it, those being made included.
    pub connections: u64,
    /// Messages that wait for one of its connections.
    pub in_hand: u64,
    /// Further messages in the queue, which are put back until it has room or is tried again.
    pub put_back: u64,
}

/// The state of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HopState {
    /// It could not be reached, and is in back-off until [`HopStatus::next_try`].
    BackOff,
    /// It could not be reached, and is tried now or with the next message.
    Retrying,
    /// It accepts connections and replies to no message: no further connection is opened.
    Stalled,
    /// It accepts mail.
    Working,
    /// No message waits for it.
    Idle,
}

/// Why a next hop is in back-off.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    since: SystemTime,
    because: String,
}

impl Trouble {
    /// Another failure, after `before`.
    pub(super) fn after_failure(before: Option<Self>, cause: &Cause) -> Self {
        let because = OutcomeReason { hop: None, cause: cause.clone() }.to_string();
        let since = before.map_or_else(SystemTime::now, |before| before.since);
        Self { since, because }
    }
}

impl Hop {
    /// Its state for administrators.
    pub(crate) fn status(&self) -> HopStatus {
        let state = self.state.lock();
        let pause = state.paused_until.map(|until| until.duration_since(Instant::now()));
        let pause = pause.filter(|pause| !pause.is_zero());
        let in_hand = state.waiting.len() as u64;
        let put_back = state.waiting_for_hop.len() as u64
            + state.returning.min(crate::limits::PAUSE_ENDS_WITH) as u64;
        let now = Instant::now();
        let stalled = state.stalled_since(now).map(|since| Trouble {
            since: SystemTime::now() - now.saturating_duration_since(since),
            because: "it accepts connections and does not reply".to_owned(),
        });
        let trouble = state.trouble.as_ref().or(stalled.as_ref()).or(state.breaking_off.as_ref());
        HopStatus {
            name: self.name.clone(),
            state: match (pause.is_some(), state.failures) {
                (true, _) => HopState::BackOff,
                (false, 1..) => HopState::Retrying,
                (false, 0) if stalled.is_some() => HopState::Stalled,
                (false, 0) if state.alive > 0 || in_hand + put_back > 0 => HopState::Working,
                (false, 0) => HopState::Idle,
            },
            since: trouble.map(|trouble| seconds(trouble.since)),
            because: trouble.map(|trouble| trouble.because.clone()),
            next_try: pause.map(|pause| seconds(SystemTime::now() + pause)),
            failures: state.failures,
            connections: (state.open() + state.connecting) as u64,
            in_hand,
            put_back,
        }
    }
}

impl HopStatus {
    /// Why a message for it waits; `None` if the next hop is not the reason.
    pub fn reason(&self, moment: impl Fn(u64) -> String) -> Option<String> {
        let Self { name, because, put_back, .. } = self;
        let because = because.as_deref().unwrap_or("it could not be reached");
        match (self.state, self.next_try) {
            (HopState::BackOff, Some(next)) => {
                let next = moment(next);
                Some(format!("its next hop {name} is in back-off until {next}, because {because}"))
            }
            (HopState::BackOff | HopState::Retrying, _) => {
                Some(format!("its next hop {name} is being tried again, because {because}"))
            }
            (HopState::Stalled, _) => {
                Some(format!("its next hop {name} accepts no mail: {because}"))
            }
            (HopState::Working, _) if *put_back > 0 => Some(format!(
                "its next hop {name} has no free connection: {put_back} messages wait for one"
            )),
            (HopState::Working | HopState::Idle, _) => None,
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    // Rounded up to a whole second, so that a message does not look late because of a fraction.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since + Duration::from_millis(500)).as_secs()
}

/// The next hops of one delivery, for readers. All clones share the same next hops.
#[derive(Clone, Debug, Default)]
pub struct Hops(Arc<Mutex<HashMap<Destination, Weak<Hop>>>>);

impl Hops {
    /// Adds a next hop, and forgets those that no longer exist.
    pub(crate) fn add(&self, hop: &Arc<Hop>) {
        let mut hops = self.0.lock();
        if hops.len() >= hops.capacity() {
            hops.retain(|_, hop| hop.strong_count() > 0);
        }
        hops.insert(hop.destination.clone(), Arc::downgrade(hop));
    }

    /// Puts these messages back into the queue, unless they have a connection. So an administrator
    /// can hold or remove them even if their next hop does not reply.
    pub fn withdraw(&self, ids: &HashSet<QueueId>) {
        let hops: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        hops.iter().for_each(|hop| hop.withdraw(ids));
    }

    /// The state of one next hop.
    pub fn status_of(&self, destination: &Destination) -> Option<HopStatus> {
        let hop = self.0.lock().get(destination)?.upgrade()?;
        Some(hop.status())
    }

    /// The states of all next hops: those with the most messages first; among equals, those that
    /// fail first.
    pub fn status(&self) -> Vec<HopStatus> {
        let hops: Vec<_> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        let mut all: Vec<_> = hops.iter().map(|hop| hop.status()).collect();
        all.sort_by(|one, other| {
            let key = |hop: &HopStatus| {
                (u64::MAX - hop.in_hand - hop.put_back - hop.connections, hop.because.is_none())
            };
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use crate::budget::DeliveryBudget;
    use crate::hop::view::*;
    use crate::limits;
    use crate::remotes::Remotes;
    use crate::testing::{impatient, open_queue};
    use relay_mail::path::{ForwardPath, ReversePath};

    #[tokio::test]
    async fn a_next_hop_that_answers_nothing_says_since_when() {
        let directory = TempDir::new().unwrap();
        let queue = open_queue(directory.path(), Duration::from_secs(600));
        let settings = Arc::new(impatient("127.0.0.1:25".parse().unwrap()));
        let recipient = ForwardPath::parse("<a@b.example>").unwrap();
        let destination = settings.routes.destination(&ReversePath::Null, &recipient);
        let remotes = Remotes::new(queue.clone(), 20);
        let hop =
            Hop::new(destination, queue.clone(), (settings, DeliveryBudget::new(queue), remotes));
        assert_eq!((hop.status().state, hop.status().since), (HopState::Idle, None));

        let silent = limits::STALLED_AFTER + Duration::from_secs(10);
        hop.state.lock().under_way.push(Instant::now() - silent);
        let status = hop.status();
        assert_eq!(status.state, HopState::Stalled);
        let since = Duration::from_secs(status.since.unwrap());
        let ago = SystemTime::now().duration_since(UNIX_EPOCH + since).unwrap();
        assert!(ago + Duration::from_secs(1) >= silent, "{ago:?}");
        let reason = status.reason(|time| time.to_string()).unwrap();
        assert!(reason.contains("does not reply"), "{reason}");
    }
}
