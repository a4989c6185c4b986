//! The bounds of decisions: unit, source, and what happens at each.

use crate::pressure::Thresholds;

// Messages. Defaults of the Exchange parameters of the same name.

/// Fields of one header section: some ten times what a message with many hosts and filters behind it
/// has. Our own bound, since a field costs every later host more than its octets. More: as
/// `MaxHeaderSize`.
pub const HEADER_FIELDS: usize = 4096;

// Recipients. Our own bounds.

/// Recipients of one `recipients_file`; each takes about a hundred octets of memory. More: not
/// loaded.
pub const RECIPIENTS_LISTED: usize = 1_000_000;

// The queue.

/// Octets of recipients that a transaction may keep while `message_memory` is used up: ten or twenty
/// recipients. More: `452 4.3.1` at RCPT. All sessions of a connector together
/// (`MAX_INBOUND_CONNECTION`) then keep 40 MB in this way.
pub const RECIPIENTS_BEYOND_MEMORY: usize = 8 * 1024;

/// Exchange's levels of its queue's drive, in percent of the file system of the queue.
pub const BACK_PRESSURE_DISK_USE: Thresholds =
    Thresholds { low_to_medium: 89, medium_to_high: 99, high_to_medium: 90, medium_to_low: 80 };

/// Exchange's levels of its submission queue, in messages. What is in that queue has not been
/// looked at yet; so these are messages that are due and that delivery has not come to, and none
/// of those that wait for a next hop.
pub const BACK_PRESSURE_QUEUE_LENGTH: Thresholds = Thresholds {
    low_to_medium: 9_999,
    medium_to_high: 15_000,
    high_to_medium: 10_000,
    medium_to_low: 2_000,
};

/// Exchange's levels of private memory, in percent of the memory of this host. It names no values
/// to fall at; they are ours.
pub const BACK_PRESSURE_MEMORY_USE: Thresholds =
    Thresholds { low_to_medium: 72, medium_to_high: 75, high_to_medium: 73, medium_to_low: 71 };

/// Levels of the memory that messages on their way in take, in percent of `message_memory`. Our own.
pub const BACK_PRESSURE_MESSAGE_MEMORY_USE: Thresholds =
    Thresholds { low_to_medium: 80, medium_to_high: 100, high_to_medium: 85, medium_to_low: 60 };
