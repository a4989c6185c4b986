//! Is this SYN dropped? Only this module decides it.
//!
//! The guard drops a SYN only because of a connector: its `refuse`, its own budget, or its budget
//! for one source. All other frames pass, each with a counted reason. The guard saves the host
//! work; the stack and the daemon decide about frames that it cannot parse.

use crate::address::Address;
use crate::budget::Bucket;
use crate::classify::{ConnectionClass, Tables, classify};
use crate::packet::{NotSegment, Reader, Segment, segment};
use crate::tables::{ConnectorEntry, ConnectorKey, NO_GENERATION, SourceKey};

/// The tables that only the guard reads.
pub trait GuardTables: Tables {
    /// Access to a bucket's word.
    type Bucket: Bucket;

    /// CONNECTORS. `None`: the guard has no rule for the connector.
    fn connector(&self, key: &ConnectorKey) -> Option<ConnectorEntry>;
    /// The connector's bucket in SYN_BUDGETS.
    fn bucket(&self, connector: u32) -> Option<Self::Bucket>;
    /// The source's bucket in SYN_SOURCES, created if it is absent.
    fn source_bucket(&self, key: &SourceKey) -> Option<Self::Bucket>;
    /// Nanoseconds of a monotonic clock. Called only if a budget needs it.
    fn now(&self) -> u64;
}

/// The decision about a frame, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardDecision {
    /// Dropped, because of this connector.
    Drop(u32, DropReason),
    /// Passed: a SYN of this connector.
    PassConnector(u32),
    /// Passed: the guard has no rule for it.
    Pass(PassReason),
}

/// Why a frame without a connector is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// No connector of its binding matches. The daemon replies with 421, which tells an
    /// administrator more than silence.
    NoConnector,
    /// A SYN to an address and port without a binding.
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
    /// The connector's budget is used up.
    OverBudget,
    /// The source's budget is used up.
    OverSourceBudget,
    /// The connector is `refuse = true`.
    Refused,
}

/// Decides about a frame by the tables of this generation.
#[inline(always)]
pub fn decide<R: Reader + ?Sized, T: GuardTables>(
    frame: &R,
    tables: &T,
    generation: u32,
) -> GuardDecision {
    let segment = match segment(frame) {
        Ok(segment) => segment,
        Err(reason) => return GuardDecision::Pass(PassReason::NotSegment(reason)),
    };
    if !segment.opens {
        return GuardDecision::Pass(PassReason::NotSyn);
    }
    if generation == NO_GENERATION {
        return GuardDecision::Pass(PassReason::NoGeneration);
    }
    let Segment { remote, local, local_port, .. } = segment;
    match classify(tables, generation, local, local_port, remote) {
        ConnectionClass::NoBinding => GuardDecision::Pass(PassReason::NoBinding),
        ConnectionClass::NoConnector => GuardDecision::Pass(PassReason::NoConnector),
        ConnectionClass::Connector(entry) => {
            judge_connector(tables, generation, entry.connector, remote)
        }
    }
}

/// The source's budget is checked before the connector's, so that one source with many SYNs uses up
/// its own tokens, not those of all sources. A missing bucket (the map is full, or the connector's
/// id is beyond it) limits nothing: budgets save work, they grant no right.
#[inline(always)]
fn judge_connector<T: GuardTables>(
    tables: &T,
    generation: u32,
    connector: u32,
    remote: Address,
) -> GuardDecision {
    let Some(entry) = tables.connector(&ConnectorKey { generation, connector }) else {
        return GuardDecision::PassConnector(connector);
    };
    if entry.refuse != 0 {
        return GuardDecision::Drop(connector, DropReason::Refused);
    }
    let now = tables.now();
    if !entry.budget_per_source.is_unlimited()
        && let Some(bucket) =
            tables.source_bucket(&SourceKey { connector, source: remote.source() })
        && !entry.budget_per_source.take(&bucket, now)
    {
        return GuardDecision::Drop(connector, DropReason::OverSourceBudget);
    }
    if !entry.budget.is_unlimited()
        && let Some(bucket) = tables.bucket(connector)
        && !entry.budget.take(&bucket, now)
    {
        return GuardDecision::Drop(connector, DropReason::OverBudget);
    }
    GuardDecision::PassConnector(connector)
}

#[cfg(test)]
mod tests;
