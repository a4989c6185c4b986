//! The programs' own log, through aya-log.
//!
//! Only a debugging build of the programs has a log (`cargo xtask build --kernel-log`); normally
//! only the counters exist, and packets are not logged.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The records of the programs. Dropping it closes their map.
pub struct KernelLog {
    logger: EbpfLogger<&'static dyn log::Log>,
}

impl KernelLog {
    /// The log, if the programs were built with one.
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self { logger: EbpfLogger::init(ebpf).ok()? })
    }

    /// Forwards the new records to the daemon's log.
    pub fn forward(&mut self) {
        self.logger.flush();
    }
}
