//! How many failed logons may a source still have?
//!
//! `max_logon_failures` limits the guesses of one session, but a client may have many sessions.
//! Here failures are counted for the source over all its connections: an IPv4 address, the /64 of
//! an IPv6 address, and its /48 with a higher limit. Beyond the limit every logon from the source
//! is deferred for a time, even with the right password. A success does not reset the count,
//! because an attacker with one account could go on for ever. Users are not locked: they can log on
//! from elsewhere.
//!
//! A bucket of [`LOGON_FAILURES_PER_SOURCE`] tokens, of which one returns in each
//! [`LOGON_FAILURE_INTERVAL`], so that a device with an old password that tries now and then is
//! never deferred. The module has no clock.

use std::net::IpAddr;
use std::time::Instant;

use crate::limits::{
    LOGON_FAILURE_BUCKETS, LOGON_FAILURE_INTERVAL, LOGON_FAILURES_PER_NETWORK,
    LOGON_FAILURES_PER_SOURCE,
};
use parking_lot::Mutex;
use relay_common::address::Address;
use relay_host::ttl_cache::TtlCache;

/// The time at which the bucket of each network is full again. At most [`LOGON_FAILURE_BUCKETS`].
#[derive(Debug)]
pub(super) struct LogonFailures(Mutex<Buckets>);

/// By the address of the network and its leading bits.
type Buckets = TtlCache<(Address, u32), ()>;

impl Default for LogonFailures {
    fn default() -> Self {
        Self(Mutex::new(TtlCache::new(LOGON_FAILURE_BUCKETS)))
    }
}

impl LogonFailures {
    /// Counts a failed logon. Returns true if further logons are deferred from now on.
    pub(super) fn failed(&self, now: Instant, remote: IpAddr) -> bool {
        let mut buckets = self.0.lock();
        let mut is_last = false;
        for (network, most) in networks(remote) {
            let full = buckets.get(now, &network).map_or(now, |(_, full)| full);
            let after = (full + LOGON_FAILURE_INTERVAL).min(now + LOGON_FAILURE_INTERVAL * most);
            is_last |= !is_used_up(now, full, most) && is_used_up(now, after, most);
            buckets.put(now, network, (), after);
        }
        is_last
    }

    /// Are logons from this address deferred now?
    pub(super) fn refuses(&self, now: Instant, remote: IpAddr) -> bool {
        let buckets = self.0.lock();
        let is_used_up = |(network, most)| {
            buckets.get(now, &network).is_some_and(|(_, full)| is_used_up(now, full, most))
        };
        networks(remote).any(is_used_up)
    }
}

/// Is less than one token left in a bucket of `most` that is full at `full`?
fn is_used_up(now: Instant, full: Instant, most: u32) -> bool {
    full.saturating_duration_since(now) > LOGON_FAILURE_INTERVAL * (most - 1)
}

/// All units for which a failure counts, with their limits.
fn networks(remote: IpAddr) -> impl Iterator<Item = ((Address, u32), u32)> {
    let address = Address::from(remote);
    let source = ((address.source(), 64), LOGON_FAILURES_PER_SOURCE);
    let wider = ((address.network(48), 48), LOGON_FAILURES_PER_NETWORK);
    [source].into_iter().chain((!address.is_ipv4()).then_some(wider))
}

#[cfg(test)]
mod tests {
    use crate::logons::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_limit_of_one_source_does_not_affect_others() {
        let failures = LogonFailures::default();
        let now = Instant::now();
        let guesser = address("192.0.2.7");
        for number in 1..LOGON_FAILURES_PER_SOURCE {
            assert!(!failures.failed(now, guesser), "{number}");
            assert!(!failures.refuses(now, guesser), "{number}");
        }
        assert!(failures.failed(now, guesser));
        assert!(failures.refuses(now, guesser));
        assert!(!failures.failed(now, guesser), "it is told once");
        assert!(failures.refuses(now, address("::ffff:192.0.2.7")));
        assert!(!failures.refuses(now, address("192.0.2.8")));
        // More failures do not extend the time.
        let later = now + LOGON_FAILURE_INTERVAL;
        assert!(!failures.refuses(later, guesser));
        failures.failed(later, guesser);
        assert!(failures.refuses(later, guesser), "one for each interval");
    }

    #[test]
    fn a_device_that_tries_now_and_then_never_runs_out() {
        let failures = LogonFailures::default();
        let start = Instant::now();
        for number in 0..10 * LOGON_FAILURES_PER_SOURCE {
            let now = start + LOGON_FAILURE_INTERVAL * number;
            assert!(!failures.refuses(now, address("192.0.2.7")));
            failures.failed(now, address("192.0.2.7"));
        }
    }

    #[test]
    fn the_64s_of_one_customer_share_a_limit() {
        let failures = LogonFailures::default();
        let now = Instant::now();
        for site in 0..LOGON_FAILURES_PER_NETWORK {
            let guesser = address(&format!("2001:db8:1:{site:x}::1"));
            assert!(!failures.refuses(now, guesser));
            failures.failed(now, guesser);
        }
        assert!(failures.refuses(now, address("2001:db8:1:ffff::1")));
        assert!(!failures.refuses(now, address("2001:db8:2::1")));
        for _ in 0..LOGON_FAILURES_PER_SOURCE {
            failures.failed(now, address("2001:db8:2::1"));
        }
        assert!(failures.refuses(now, address("2001:db8:2::2")), "a /64 is one source");
        assert!(!failures.refuses(now, address("2001:db8:2:1::1")));
    }
}
