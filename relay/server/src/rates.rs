//! How many messages may a source or user still begin?
//!
//! A bucket of `message_rate_limit` tokens for each source and connector, refilled evenly over a
//! minute: a client that was quiet for a minute may send its whole limit at once, and no client can
//! send more than twice its limit in a minute. A bucket is stored as the moment at which it is full
//! again, like the guard's buckets. The bucket belongs to the connector and outlives sessions, so
//! that a client gains nothing by a new connection. The module has no clock.

use std::time::{Duration, Instant};

use crate::limits::MESSAGE_RATE_BUCKETS;
use parking_lot::Mutex;
use relay_common::address::Address;
use relay_connector::ConnectorId;
use relay_host::ttl_cache::TtlCache;
use relay_mail::user_name::UserName;

/// The time at which each bucket is full again, over all connectors with a limit. At most
/// [`MESSAGE_RATE_BUCKETS`]. A bucket that is forgotten for lack of memory counts as full, as after
/// a quiet minute: a client with that many addresses has that many limits anyway.
#[derive(Debug)]
pub(super) struct MessageRates(Mutex<Buckets>);

type Buckets = TtlCache<(ConnectorId, RateSubject), ()>;

/// The client whose messages a bucket counts.
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
    /// Counts one more message, with this limit for each minute. Returns false if one of `counted`
    /// has no token left; then no bucket is charged.
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

    /// Would one more message be allowed now? Charges nothing.
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

/// The times at which the buckets are full again after one more message; `None` if one is empty.
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
        // A message that one bucket refuses is charged to no bucket.
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
    fn the_table_is_bounded_and_forgets_quiet_clients_first() {
        let rates = MessageRates::default();
        let now = Instant::now();
        let most = u32::try_from(MESSAGE_RATE_BUCKETS).unwrap();
        for number in 0..most {
            assert!(rates.take(now, HERE, &[source(number)], 1));
        }
        let later = now + MINUTE;
        assert!(rates.take(later, HERE, &[source(most)], 1));
        assert_eq!(rates.0.lock().len(), 1, "full buckets are removed");
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
