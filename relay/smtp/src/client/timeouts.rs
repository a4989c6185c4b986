//! The time limits of a next hop for each step.

use std::time::Duration;

use crate::limits;

/// How long we wait for a next hop at each step (RFC 5321 section 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the greeting, the reply to EHLO or HELO, and each step of STARTTLS and AUTH.
    pub greeting: Duration,
    /// For the replies to MAIL and RSET.
    pub mail: Duration,
    /// For the reply to RCPT.
    pub recipient: Duration,
    /// For the 354.
    pub data_initiation: Duration,
    /// For writing a piece of the message.
    pub data_block: Duration,
    /// For the reply to the end of data.
    pub data_termination: Duration,
    /// For the reply to QUIT, which nothing depends on.
    pub quit: Duration,
}

impl Timeouts {
    /// The same limits, each at most this long.
    #[must_use]
    pub fn at_most(self, longest: Duration) -> Self {
        Self {
            greeting: self.greeting.min(longest),
            mail: self.mail.min(longest),
            recipient: self.recipient.min(longest),
            data_initiation: self.data_initiation.min(longest),
            data_block: self.data_block.min(longest),
            data_termination: self.data_termination.min(longest),
            quit: self.quit.min(longest),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: limits::CLIENT_GREETING_TIMEOUT,
            mail: limits::CLIENT_MAIL_TIMEOUT,
            recipient: limits::CLIENT_RECIPIENT_TIMEOUT,
            data_initiation: limits::CLIENT_DATA_INITIATION_TIMEOUT,
            data_block: limits::CLIENT_DATA_BLOCK_TIMEOUT,
            data_termination: limits::CLIENT_DATA_TERMINATION_TIMEOUT,
            quit: limits::CLIENT_QUIT_TIMEOUT,
        }
    }
}
