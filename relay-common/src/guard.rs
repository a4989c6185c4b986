//! Is this SYN dropped? The one place that decides it.
//!
//! A SYN is dropped only when a connector says so: by `refuse`, by its own budget, or by its
//! budget for one source. Everything else passes, for a reason that is counted: the guard is
//! there to spare the host work, and what it does not understand the stack and the daemon judge.

use crate::address::Address;
use crate::budget::Bucket;
use crate::classify::{Class, Tables, classify};
use crate::packet::{NotSegment, Reader, Segment, segment};
use crate::tables::{ConnectorEntry, ConnectorKey, NO_GENERATION, SourceKey};

/// The tables that only the guard reads.
pub trait GuardTables: Tables {
    /// How a bucket's word is reached.
    type Bucket: Bucket;

    /// CONNECTORS. `None`: the connector has nothing for the guard to do.
    fn connector(&self, key: &ConnectorKey) -> Option<ConnectorEntry>;
    /// The connector's bucket in SYN_BUDGETS.
    fn bucket(&self, connector: u32) -> Option<Self::Bucket>;
    /// The source's bucket in SYN_SOURCES, made when it is not there.
    fn source_bucket(&self, key: &SourceKey) -> Option<Self::Bucket>;
    /// Nanoseconds of a clock that does not go back. Asked only when a budget needs it.
    fn now(&self) -> u64;
}

/// What becomes of a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dropped, by this connector.
    Drop(u32, DropReason),
    /// Passed: a SYN of this connector.
    PassConnector(u32),
    /// Passed: nothing for the guard.
    Pass(PassReason),
}

/// Why a frame that no connector owns is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// No connector of its binding matches. The daemon says so with a 421, which tells an
    /// administrator more than silence.
    NoConnector,
    /// A SYN to no binding.
    NoBinding,
    /// No generation is published.
    NoGeneration,
    /// Not a TCP segment.
    NotSegment(NotSegment),
    /// Not the first segment of a connection.
    NotSyn,
}

/// Why a SYN is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The connector's budget is spent.
    OverBudget,
    /// The source's budget is spent.
    OverSourceBudget,
    /// The connector is `refuse = true`.
    Refused,
}

/// Judges a frame by the tables of this generation.
#[inline(always)]
pub fn judge<R: Reader + ?Sized, T: GuardTables>(
    frame: &R,
    tables: &T,
    generation: u32,
) -> Verdict {
    let segment = match segment(frame) {
        Ok(segment) => segment,
        Err(reason) => return Verdict::Pass(PassReason::NotSegment(reason)),
    };
    if !segment.opens {
        return Verdict::Pass(PassReason::NotSyn);
    }
    if generation == NO_GENERATION {
        return Verdict::Pass(PassReason::NoGeneration);
    }
    let Segment { remote, local, local_port, .. } = segment;
    match classify(tables, generation, local, local_port, remote) {
        Class::NoBinding => Verdict::Pass(PassReason::NoBinding),
        Class::NoConnector => Verdict::Pass(PassReason::NoConnector),
        Class::Connector(entry) => judge_connector(tables, generation, entry.connector, remote),
    }
}

/// The source's budget is asked before the connector's, so that one loud source spends its own
/// tokens and not everybody's. A bucket that cannot be had (the map is full, the connector is
/// beyond it) limits nothing: budgets spare work, they grant no right.
#[inline(always)]
fn judge_connector<T: GuardTables>(
    tables: &T,
    generation: u32,
    connector: u32,
    remote: Address,
) -> Verdict {
    let Some(entry) = tables.connector(&ConnectorKey { generation, connector }) else {
        return Verdict::PassConnector(connector);
    };
    if entry.refuse != 0 {
        return Verdict::Drop(connector, DropReason::Refused);
    }
    let now = tables.now();
    if !entry.budget_per_source.is_unlimited()
        && let Some(bucket) =
            tables.source_bucket(&SourceKey { connector, source: remote.source() })
        && !entry.budget_per_source.take(&bucket, now)
    {
        return Verdict::Drop(connector, DropReason::OverSourceBudget);
    }
    if !entry.budget.is_unlimited()
        && let Some(bucket) = tables.bucket(connector)
        && !entry.budget.take(&bucket, now)
    {
        return Verdict::Drop(connector, DropReason::OverBudget);
    }
    Verdict::PassConnector(connector)
}

#[cfg(test)]
mod tests;
