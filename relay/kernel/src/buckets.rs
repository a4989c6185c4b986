//! The state of SYN budgets, without a change, for `relay explain --live`.

use std::cell::Cell;
use std::net::IpAddr;

use crate::{KernelError, take_as};
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData};
use relay_common::address::Address;
use relay_common::budget::Bucket;
use relay_common::tables::{BucketState, ConnectorEntry, SourceKey};
use relay_connector::ConnectorId;

/// Reads SYN_BUDGETS and SYN_SOURCES.
pub struct BucketReader {
    connectors: Array<MapData, BucketState>,
    sources: HashMap<MapData, SourceKey, BucketState>,
}

/// A copy of a bucket, so that a test charges no source.
struct Copied(Cell<u64>);

impl Bucket for Copied {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn replace(&self, _: u64, new: u64) -> bool {
        self.0.set(new);
        true
    }
}

impl BucketReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            connectors: take_as(ebpf, "SYN_BUDGETS")?,
            sources: take_as(ebpf, "SYN_SOURCES")?,
        })
    }

    /// Why the guard would drop a SYN of this source now; `None` if it would not, or if a bucket
    /// cannot be read. In the guard's order.
    pub fn drops(
        &self,
        id: ConnectorId,
        entry: &ConnectorEntry,
        remote: IpAddr,
    ) -> Option<&'static str> {
        if entry.refuse != 0 {
            return Some("refuse");
        }
        let now = nanoseconds()?;
        let is_empty = |budget: &relay_common::budget::TokenBudget, state: BucketState| {
            !budget.take(&Copied(Cell::new(state.full_at)), now)
        };
        let key = SourceKey { connector: id.0, source: Address::from(remote).source() };
        // A source without a bucket has a full one.
        let source = self.sources.get(&key, 0).unwrap_or_default();
        if is_empty(&entry.budget_per_source, source) {
            return Some("syn_budget_per_source");
        }
        let connector = self.connectors.get(&id.0, 0).unwrap_or_default();
        is_empty(&entry.budget, connector).then_some("syn_budget")
    }
}

/// The clock of the programs, in nanoseconds since the host started.
fn nanoseconds() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives until the call has returned.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let (seconds, rest) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    (result == 0).then(|| seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}
