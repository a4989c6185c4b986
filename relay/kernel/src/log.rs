//! The programs' own log, through aya-log.
//!
//! Only a debugging build of the programs has one (`cargo xtask build --kernel-log`); in
//! operation the counters say what happened, and nothing is logged for each packet.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The records that the programs wrote. Dropping it closes the map that they write to.
pub struct KernelLog {
    logger: EbpfLogger<&'static dyn log::Log>,
}

impl KernelLog {
    /// The log, if the programs were built with one.
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self { logger: EbpfLogger::init(ebpf).ok()? })
    }

    /// Hands the records that came since the last call to the daemon's log.
    pub fn forward(&mut self) {
        self.logger.flush();
    }
}
