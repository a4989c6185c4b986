//! A token bucket in one word.
//!
//! The generic cell rate algorithm stores one time, at which the bucket would be full again,
//! instead of a number of tokens and a time. One compare-and-swap changes that word. So the CPUs
//! share a bucket without a lock, and two of them cannot refill it twice.

/// A bucket's word, shared by the CPUs.
pub trait Bucket {
    /// The time at which the bucket is full, in nanoseconds.
    fn load(&self) -> u64;
    /// Replaces `current` by `new`; false if another CPU changed the word first.
    fn replace(&self, current: u64, new: u64) -> bool;
}

/// How many SYNs a bucket lets through. Both zero: no limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBudget {
    /// Nanoseconds until one token is restored. Zero: no limit.
    pub interval: u64,
    /// Nanoseconds in which an empty bucket becomes full: interval times capacity.
    pub depth: u64,
}

const _: () = assert!(size_of::<TokenBudget>() == 16);

/// Attempts to swap before the SYN counts as over the budget. Each failed attempt means that
/// another CPU took a token in these nanoseconds. This happens only in a flood, and a client that
/// is not part of it sends its SYN again after a second.
const TRIES: u32 = 4;

impl TokenBudget {
    /// No limit.
    pub const UNLIMITED: Self = Self { interval: 0, depth: 0 };

    /// A rate per second and a burst. If either is zero: no limit.
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        if rate == 0 || burst == 0 {
            return Self::UNLIMITED;
        }
        let interval = 1_000_000_000 / rate as u64;
        Self { interval, depth: interval * burst as u64 }
    }

    /// Is there no limit?
    #[inline(always)]
    pub const fn is_unlimited(&self) -> bool {
        self.interval == 0
    }

    /// Takes a token; false if there is none. `now` is in nanoseconds of a monotonic clock.
    ///
    /// A bucket outlives its budget: after a reload the word may be further in the future than an
    /// empty bucket of this budget would be. The bucket then counts as empty, and its word is
    /// reduced. Otherwise a small new bucket would stay empty because of a large old one.
    #[inline(always)]
    pub fn take<B: Bucket>(&self, bucket: &B, now: u64) -> bool {
        if self.is_unlimited() {
            return true;
        }
        let mut tries = 0;
        while tries < TRIES {
            let found = bucket.load();
            let empty = now.wrapping_add(self.depth);
            let full_at = if found > empty { empty } else { found };
            let start = if full_at > now { full_at } else { now };
            let next = start.wrapping_add(self.interval);
            if next.wrapping_sub(now) > self.depth {
                if full_at != found {
                    bucket.replace(found, full_at);
                }
                return false;
            }
            if bucket.replace(found, next) {
                return true;
            }
            tries += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::Cell;
    use core::sync::atomic::{AtomicU64, Ordering};
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    impl Bucket for AtomicU64 {
        fn load(&self) -> u64 {
            self.load(Ordering::Relaxed)
        }
        fn replace(&self, current: u64, new: u64) -> bool {
            self.compare_exchange(current, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
    }

    /// A bucket that another CPU changes between every load and swap.
    struct Contended(Cell<u64>);

    impl Bucket for Contended {
        fn load(&self) -> u64 {
            self.0.get()
        }
        fn replace(&self, _: u64, _: u64) -> bool {
            false
        }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let budget = TokenBudget::per_second(10, 5);
        let bucket = AtomicU64::new(0);
        let now = 7 * SECOND;
        assert_eq!((0..100).filter(|_| budget.take(&bucket, now)).count(), 5);
        assert!(!budget.take(&bucket, now + SECOND / 10 - 1));
        assert!(budget.take(&bucket, now + SECOND / 10));
        assert!(!budget.take(&bucket, now + SECOND / 10));
        assert_eq!((0..100).filter(|_| budget.take(&bucket, now + 60 * SECOND)).count(), 5);
    }

    #[test]
    fn after_a_reload_a_smaller_bucket_fills_at_its_own_rate() {
        let (before, after) = (TokenBudget::per_second(1, 1000), TokenBudget::per_second(1000, 10));
        let bucket = AtomicU64::new(0);
        let now = 7 * SECOND;
        assert_eq!((0..2000).filter(|_| before.take(&bucket, now)).count(), 1000);
        assert!(!after.take(&bucket, now), "an empty bucket stays empty");
        assert!(after.take(&bucket, now + SECOND / 1000), "and fills at the new rate");
        assert_eq!((0..100).filter(|_| after.take(&bucket, now + SECOND)).count(), 10);
    }

    #[test]
    fn a_budget_without_limit_changes_no_bucket() {
        let bucket = AtomicU64::new(3);
        assert!((0..1000).all(|_| TokenBudget::UNLIMITED.take(&bucket, 1)));
        assert_eq!(bucket.into_inner(), 3);
        assert!(
            TokenBudget::per_second(0, 9).is_unlimited()
                && TokenBudget::per_second(9, 0).is_unlimited()
        );
    }

    #[test]
    fn a_syn_is_over_the_budget_if_no_swap_succeeds() {
        assert!(!TokenBudget::per_second(10, 5).take(&Contended(Cell::new(0)), SECOND));
    }

    #[test]
    fn threads_share_one_bucket() {
        let budget = TokenBudget::per_second(1, 1000);
        let bucket = Arc::new(AtomicU64::new(0));
        let threads: std::vec::Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || (0..1000).filter(|_| budget.take(&*bucket, SECOND)).count())
            })
            .collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        // A thread may lose all its tries; no thread may take a token that does not exist.
        assert!(taken <= 1000 && taken > 900, "{taken}");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_times_time(
            rate in 1u32..100_000, burst in 1u32..1000, steps in proptest::collection::vec(0u64..SECOND / 50, 1..400),
        ) {
            let budget = TokenBudget::per_second(rate, burst);
            let bucket = AtomicU64::new(0);
            let start = 5 * SECOND;
            let (mut now, mut taken) = (start, 0u64);
            for step in steps {
                now += step;
                taken += u64::from(budget.take(&bucket, now));
                let allowed = u64::from(burst) + (now - start) / budget.interval;
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
