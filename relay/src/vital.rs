//! Tasks and threads without which the daemon only seems to run.

use crate::logging;

/// The exit code after a panic in a vital part: EX_SOFTWARE, sysexits(3).
const INTERNAL_ERROR: i32 = 70;

/// Kept by a vital part for as long as it runs. Where the part panics, the process ends, with an
/// exit code that tells a service manager to start it again: a daemon that listens on nothing, or
/// delivers nothing, would be noticed by its silence only. Accepted mail is in the queue, as after
/// a crash.
#[derive(Debug)]
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(part = self.0, "a part of the daemon failed; the daemon ends");
            logging::finish();
            std::process::exit(INTERNAL_ERROR);
        }
    }
}
