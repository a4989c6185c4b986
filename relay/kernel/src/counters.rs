//! Reads the programs' counters and sums them over all CPUs.

use crate::{KernelError, take_as};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use relay_common::tables::{ConnectorCounters, ReasonCounters};
use relay_connector::ConnectorId;

/// Reads COUNTERS and REASONS.
pub struct CounterReader {
    connectors: PerCpuArray<MapData, ConnectorCounters>,
    reasons: PerCpuArray<MapData, ReasonCounters>,
}

impl CounterReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self { connectors: take_as(ebpf, "COUNTERS")?, reasons: take_as(ebpf, "REASONS")? })
    }

    /// The counters of this connector since the start of the daemon.
    ///
    /// # Errors
    ///
    /// The connector's id is beyond the map, or the kernel refused the read.
    pub fn connector(&self, id: ConnectorId) -> Result<ConnectorCounters, KernelError> {
        let values = self.connectors.get(&id.0, 0).map_err(KernelError::map("COUNTERS"))?;
        let mut sum = ConnectorCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// The counters that belong to no connector.
    ///
    /// # Errors
    ///
    /// The kernel refused the read.
    pub fn reasons(&self) -> Result<ReasonCounters, KernelError> {
        let values = self.reasons.get(&0, 0).map_err(KernelError::map("REASONS"))?;
        let mut sum = ReasonCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }
}
