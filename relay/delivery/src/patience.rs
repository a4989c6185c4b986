//! The time limit of a whole attempt.
//!
//! Each step of a session has its own time-out (RFC 5321 section 4.5.3.2), but a next hop that uses
//! each of them up, at each of its addresses, occupies a connection for hours. While messages wait
//! for room, next hops that strangers can name get much less time. A message whose end of data was
//! sent has no such limit: if it were cut off then, it would be delivered twice.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::limits;

/// The time limit of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    began: Instant,
    /// The time for the octets of the message.
    to_send: Duration,
    /// True while messages wait for room; absent for next hops that the configuration names.
    is_short: Option<watch::Receiver<bool>>,
}

impl Patience {
    /// An attempt begins now, with `transactions` of a message of `octets`.
    pub(super) fn new(
        octets: u64,
        transactions: usize,
        is_short: Option<watch::Receiver<bool>>,
    ) -> Self {
        let octets = octets.saturating_mul(transactions as u64);
        let to_send = Duration::from_secs(octets / limits::SLOWEST_OCTETS_PER_SECOND);
        Self { began: Instant::now(), to_send, is_short }
    }

    /// Waits until the attempt has reached its time limit.
    pub(super) async fn wait_for_deadline(&mut self) {
        loop {
            let is_short = self.is_short.as_mut().is_some_and(|short| *short.borrow_and_update());
            let base = if is_short { limits::SHORT_ATTEMPT } else { limits::LONGEST_ATTEMPT };
            let end = sleep_until(self.began + base + self.to_send);
            let Some(changes) = self.is_short.as_mut() else { return end.await };
            tokio::select! {
                () = end => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        self.is_short = None;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::patience::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_earlier_while_messages_wait_for_room() {
        let (short, is_short) = watch::channel(false);
        let mut configured = Patience::new(0, 1, None);
        let mut patience = Patience::new(0, 1, Some(is_short));
        let mut of_large = Patience { to_send: Duration::from_secs(600), ..patience.clone() };
        let began = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            short.send_replace(true);
            std::future::pending::<()>().await;
        });
        patience.wait_for_deadline().await;
        assert_eq!(began.elapsed(), limits::SHORT_ATTEMPT);
        of_large.wait_for_deadline().await;
        assert_eq!(began.elapsed(), limits::SHORT_ATTEMPT + Duration::from_secs(600));
        configured.wait_for_deadline().await;
        assert_eq!(began.elapsed(), limits::LONGEST_ATTEMPT);
    }
}
