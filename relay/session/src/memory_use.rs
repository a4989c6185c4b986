//! The memory that a session uses because of its client, and what it drops when memory is short.

use crate::Session;
use crate::limits::HEADER_BEYOND_MEMORY;
use crate::state::SessionState;
use bytes::BytesMut;
use relay_smtp::limits::{AUTH_LINE_OCTETS, COMMAND_LINE_OCTETS};

impl Session {
    /// Octets that the session keeps because of its client and that are not in the queue. Counts
    /// all allocations, but iterates over nothing: this is called before every wait.
    pub fn held_octets(&self) -> u64 {
        let state = match &self.state {
            SessionState::Authenticating(_) => AUTH_LINE_OCTETS,
            SessionState::Chunking(reception) | SessionState::Receiving(reception) => {
                reception.octets_kept()
            }
            SessionState::Mail(given) => given.octets(),
            SessionState::Recipients(recipients) => recipients.octets(),
            _ => 0,
        };
        // A command that waits for an answer arrived in one line.
        let asked = if self.asked.is_some() { COMMAND_LINE_OCTETS } else { 0 };
        let summary = &self.context.summary;
        // The state has the client's name as well.
        let hello = summary.hello.as_ref().map_or(0, |name| 2 * name.len());
        let input = self.input.capacity();
        (input + state + asked + hello + summary.decisions.octets() + self.output.octets()) as u64
    }

    /// Tells the session whether all sessions together use up their memory. Returns true if this
    /// session has dropped a message whose header section it would have had to buffer further: the
    /// rest is read and discarded.
    pub fn handle_memory(&mut self, is_short: bool) -> bool {
        self.context.memory_is_short = is_short;
        self.context.summary.decisions.set_memory_short(is_short);
        // A few octets would keep their whole buffer in memory.
        if self.input.len() <= COMMAND_LINE_OCTETS {
            self.input = BytesMut::from(&self.input[..]);
        }
        if !is_short {
            return false;
        }
        let (SessionState::Chunking(reception) | SessionState::Receiving(reception)) =
            &mut self.state
        else {
            return false;
        };
        if !reception.is_open() || reception.gathered() <= HEADER_BEYOND_MEMORY {
            return false;
        }
        let decision = relay_policy::message_beyond_memory();
        reception.discard(decision, &mut |action| self.output.push(action));
        true
    }
}
