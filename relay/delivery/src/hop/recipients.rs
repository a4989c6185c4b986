//! How many recipients does a transaction get, and with which of them does an attempt begin?
//!
//! Some servers reply 421, or close the connection, at the RCPT after their limit or at the RCPT of
//! a recipient they refuse. The same transaction would end there each time, and no recipient would
//! get the message. So the next attempts have as many recipients as were accepted before; and
//! attempts that end at the first recipient begin with another one each time.

use std::collections::VecDeque;

use crate::hop::Hop;
use crate::job::Job;
use tokio::time::Instant;

use crate::limits;

/// Where a next hop broke off lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct BrokeOff {
    /// Recipients that it had accepted.
    accepted: usize,
    until: Instant,
}

impl Hop {
    /// The next hop ended a transaction of `recipients` after it had accepted `accepted` of them.
    pub(crate) fn remember_break(&self, accepted: usize, recipients: usize) {
        if recipients > 1 {
            let until = Instant::now() + limits::FEW_RECIPIENTS;
            self.state.lock().broke_off = Some(BrokeOff { accepted, until });
        }
    }

    /// The recipients of a job in the order of the attempt, and how many a transaction gets.
    pub(crate) fn order_recipients(&self, job: &Job) -> (VecDeque<usize>, usize) {
        let mut places: VecDeque<_> = job.places.iter().copied().collect();
        let broke_off = self.state.lock().broke_off.filter(|it| it.until > Instant::now());
        match broke_off.map(|it| it.accepted) {
            None => (places, limits::RECIPIENTS_PER_TRANSACTION),
            Some(0) => {
                let first = job.entry.attempts as usize % places.len().max(1);
                places.rotate_left(first);
                (places, limits::RECIPIENTS_PER_TRANSACTION)
            }
            Some(accepted) => (places, accepted.min(limits::RECIPIENTS_PER_TRANSACTION)),
        }
    }
}
