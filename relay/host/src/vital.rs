//! Tasks and threads that are essential: without them the daemon only seems to run.
//!
//! If such a part panics, the process ends with an exit code that makes a service manager restart
//! it. Otherwise the daemon would silently listen on no port or deliver no mail. Accepted mail is
//! in the queue, as after a crash.
//!
//! Only the part's own panic counts. A part that is dropped while another stack unwinds, as with
//! the runtime of a failing test, has not failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use futures_util::FutureExt;

/// The exit code after a panic in a vital part: EX_SOFTWARE, sysexits(3).
const INTERNAL_ERROR: i32 = 70;

/// Called before the process ends here.
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

/// Sets a function that runs before a failed part ends the process, so that the log is written.
/// Only the first call has an effect.
pub fn before_exit(action: fn()) {
    let _ = BEFORE_EXIT.set(action);
}

/// Runs an essential task.
pub async fn task<T>(part: &'static str, work: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(output) => output,
        Err(_) => end(part),
    }
}

/// Runs an essential thread.
pub fn thread<T>(part: &'static str, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| end(part))
}

fn end(part: &'static str) -> ! {
    tracing::error!(part, "a part of the daemon failed; stopping the daemon");
    if let Some(action) = BEFORE_EXIT.get() {
        action();
    }
    std::process::exit(INTERNAL_ERROR);
}

#[cfg(test)]
mod tests {
    use crate::vital::*;

    /// Otherwise the process of this test would end with exit code 70.
    #[test]
    fn a_part_that_is_dropped_while_another_panics_has_not_failed() {
        let panic = catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                tokio::spawn(task("part", std::future::pending::<()>()));
                tokio::task::yield_now().await;
                panic!("the test's own");
            });
        });
        assert!(panic.is_err());
    }
}
