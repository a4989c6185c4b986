//! Reads the programs' counters and adds up what each CPU counted.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use relay_common::tables::{ConnectorCounters, ReasonCounters};
use relay_connector::ConnectorId;

use super::{KernelError, take_as};

/// Reads COUNTERS and REASONS.
pub struct CounterReader {
    connectors: PerCpuArray<MapData, ConnectorCounters>,
    reasons: PerCpuArray<MapData, ReasonCounters>,
}

impl CounterReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self { connectors: take_as(ebpf, "COUNTERS")?, reasons: take_as(ebpf, "REASONS")? })
    }

    /// What the programs counted for this connector since the daemon started.
    ///
    /// # Errors
    ///
    /// The connector's id is beyond the map, or the kernel refused.
    pub fn connector(&self, id: ConnectorId) -> Result<ConnectorCounters, KernelError> {
        let values = self.connectors.get(&id.0, 0).map_err(KernelError::map("COUNTERS"))?;
        let mut sum = ConnectorCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// What the programs counted that no connector owns.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn reasons(&self) -> Result<ReasonCounters, KernelError> {
        let values = self.reasons.get(&0, 0).map_err(KernelError::map("REASONS"))?;
        let mut sum = ReasonCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }
}
