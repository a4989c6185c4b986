//! What a session keeps in memory of what its client sent, and what it lets go of when memory is
//! short.

use crate::limits::HEADER_BEYOND_MEMORY;
use crate::policy::{Because, Decision};
use crate::smtp::reply;
use crate::smtp::session::Session;
use crate::smtp::session::state::State;

impl Session {
    /// Octets of the client that the session keeps, the queue not having them.
    pub fn held_octets(&self) -> u64 {
        let gathered = match &self.state {
            State::Chunking(reception) | State::Receiving(reception) => reception.gathered(),
            State::Recipients(recipients) => recipients.octets(),
            _ => 0,
        };
        let decisions = self.context.summary.decisions.octets();
        (self.input.len() + gathered + decisions) as u64
    }

    /// All sessions together hold what they may. True when this one has let go of a message whose
    /// header section it would have had to gather any further: the rest is read and thrown away.
    pub fn handle_short_memory(&mut self) -> bool {
        let (State::Chunking(reception) | State::Receiving(reception)) = &mut self.state else {
            return false;
        };
        if !reception.is_open() || reception.gathered() <= HEADER_BEYOND_MEMORY {
            return false;
        }
        let found = "the memory for messages on their way in is used up".to_owned();
        let because = vec![Because { rule: "message_memory", found }];
        let decision = Decision { reply: reply::INSUFFICIENT_RESOURCES, because };
        reception.discard(decision, &mut |action| self.output.push(action));
        true
    }
}
