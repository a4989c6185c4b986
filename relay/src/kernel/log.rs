//! The programs' own log, through aya-log.
//!
//! Only a debugging build of the programs has one (`cargo xtask build --kernel-log`); in
//! operation the counters say what happened, and nothing is logged for each packet.

use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;

/// How often the records are fetched. The buffer holds 128 KiB; what does not fit is lost, and a
/// person who debugs sees the next ones.
pub const INTERVAL: Duration = Duration::from_millis(100);

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
