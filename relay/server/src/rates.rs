//! How many messages each source or user may still begin.
//!
//! A bucket of `message_rate_limit` tokens for each source and connector, refilled evenly over a
//! minute: who has been quiet for a minute may send its whole limit at once, and nobody more than
//! twice of it in any minute. A bucket is one moment, the one at which it will be full again, as
//! the guard's are. It belongs to the connector and outlives sessions, so that a client gains
//! nothing by connecting anew. It owns no clock.

use std::time::{Duration, Instant};

use crate::limits::MESSAGE_RATE_BUCKETS;
use parking_lot::Mutex;
use relay_common::address::Address;
use relay_connector::ConnectorId;
use relay_host::ttl_cache::TtlCache;
use relay_mail::user_name::UserName;

/// When each bucket of all connectors that have a limit is full, [`MESSAGE_RATE_BUCKETS`] at most. A
/// bucket that is forgotten for want of room is a full one, as after a minute of quiet: who has that
/// many addresses has that many limits anyway.
#[derive(Debug)]
pub(super) struct MessageRates(Mutex<Buckets>);

type Buckets = TtlCache<(ConnectorId, RateSubject), ()>;

/// Whose messages one bucket counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RateSubject {
    Source(Address),
    User(UserName),
}

/// The time in which an empty bucket becomes full.
const MINUTE: Duration = Duration::from_secs(60);

impl Default for MessageRates {
    fn default() -> Self {
        Self(Mutex::new(TtlCache::new(MESSAGE_RATE_BUCKETS)))
    }
}

impl MessageRates {
    /// One more message at a limit of so many a minute. False when one of `counted` has none left;
    /// then none of them pays.
    pub(super) fn take(
        &self,
        now: Instant,
        connector: ConnectorId,
        counted: &[RateSubject],
        limit: u32,
    ) -> bool {
        let mut buckets = self.0.lock();
        let Some(after) = paid(&buckets, now, connector, counted, limit) else { return false };
        for (key, full) in after {
            buckets.put(now, key, (), full);
        }
        true
    }

    /// Would one more message pass now? Nothing is paid.
    pub(super) fn allows(
        &self,
        now: Instant,
        connector: ConnectorId,
        counted: &[RateSubject],
        limit: u32,
    ) -> bool {
        paid(&self.0.lock(), now, connector, counted, limit).is_some()
    }
}

/// When each bucket is full again after one more message; `None` where one of them is empty.
fn paid(
    buckets: &Buckets,
    now: Instant,
    connector: ConnectorId,
    counted: &[RateSubject],
    limit: u32,
) -> Option<Vec<((ConnectorId, RateSubject), Instant)>> {
    let interval = MINUTE / limit.max(1);
    let after = counted.iter().map(|counted| {
        let key = (connector, counted.clone());
        let full = buckets.get(now, &key).map_or(now, |(_, full)| full);
        let after = full + interval;
        (after - now <= interval * limit.max(1)).then_some((key, after))
    });
    after.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::rates::*;

    const HERE: ConnectorId = ConnectorId(1);

    fn source(number: u32) -> RateSubject {
        RateSubject::Source(Address::from(std::net::IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn the_limit_is_for_a_minute_and_comes_back_evenly() {
        let rates = MessageRates::default();
        let start = Instant::now();
        let take =
            |seconds| rates.take(start + Duration::from_secs(seconds), HERE, &[source(1)], 6);
        assert_eq!([0; 7].map(take), [true, true, true, true, true, true, false]);
        assert_eq!([9, 10, 10, 29, 29].map(take), [false, true, false, true, false]);
        assert_eq!([600; 7].map(take), [true, true, true, true, true, true, false]);
    }

    #[test]
    fn sources_users_and_connectors_have_their_own() {
        let rates = MessageRates::default();
        let now = Instant::now();
        let alice = RateSubject::User("alice".parse().unwrap());
        assert!(rates.take(now, HERE, &[source(1)], 1));
        assert!(rates.take(now, HERE, &[source(2)], 1));
        assert!(rates.take(now, ConnectorId(2), &[source(1)], 1));
        // Who may not for one of two reasons pays for neither.
        assert!(!rates.take(now, HERE, &[alice.clone(), source(1)], 1));
        assert!(rates.take(now, HERE, &[alice.clone(), source(3)], 1));
        assert!(!rates.take(now, HERE, &[alice, source(4)], 1));
        assert!(rates.take(now, HERE, &[source(4)], 1));
    }

    #[test]
    fn a_lower_limit_after_a_reload_holds_within_a_minute() {
        let rates = MessageRates::default();
        let now = Instant::now();
        assert!((0..600).all(|_| rates.take(now, HERE, &[source(1)], 600)));
        assert!(!rates.take(now, HERE, &[source(1)], 2));
        assert!(rates.take(now + MINUTE, HERE, &[source(1)], 2));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet_first() {
        let rates = MessageRates::default();
        let now = Instant::now();
        let most = u32::try_from(MESSAGE_RATE_BUCKETS).unwrap();
        for number in 0..most {
            assert!(rates.take(now, HERE, &[source(number)], 1));
        }
        let later = now + MINUTE;
        assert!(rates.take(later, HERE, &[source(most)], 1));
        assert_eq!(rates.0.lock().len(), 1, "those that were full again are gone");
        for number in 0..most + 100 {
            rates.take(later, HERE, &[source(number)], 1);
        }
        assert_eq!(rates.0.lock().len(), MESSAGE_RATE_BUCKETS);
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_twice_the_limit(
            limit in 1u32..50,
            waits in proptest::collection::vec(0u64..5_000, 1..300),
        ) {
            let rates = MessageRates::default();
            let start = Instant::now();
            let mut now = start;
            let mut taken = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                if rates.take(now, HERE, &[source(1)], limit) {
                    taken.push(now);
                }
            }
            for (index, &first) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|&&at| at - first < MINUTE).count();
                prop_assert!(within <= 2 * limit as usize, "{within} of {limit}");
            }
        }
    }
}
