//! The bounds of decisions: unit, source, and the effect of each.

use crate::pressure::Thresholds;

// Messages. Defaults of the Exchange parameters of the same name.

/// Fields of one header section: about ten times those of a message that has passed many hosts and
/// filters. Our own bound, since a field costs every later host more than its octets. More: as
/// `MaxHeaderSize`.
pub const HEADER_FIELDS: usize = 4096;

// Recipients. Our own bounds.

/// Recipients of one `recipients_file`; each uses about a hundred octets of memory. More: not
/// loaded.
pub const RECIPIENTS_LISTED: usize = 1_000_000;

// The queue.

/// Octets of recipients that a transaction may use while `message_memory` is used up: ten or twenty
/// recipients. More: `452 4.3.1` at RCPT. All sessions of a connector together
/// (`MAX_INBOUND_CONNECTION`) then use 40 MB for them.
pub const RECIPIENTS_BEYOND_MEMORY: usize = 8 * 1024;

/// Exchange's levels of its queue's drive, in percent of the file system of the queue.
pub const BACK_PRESSURE_DISK_USE: Thresholds =
    Thresholds { low_to_medium: 89, medium_to_high: 99, high_to_medium: 90, medium_to_low: 80 };

/// Exchange's levels of its submission queue, in messages. That queue has messages that were not
/// processed yet; so this counts messages that are due and that delivery has not claimed yet, and
/// not those that wait for a next hop.
pub const BACK_PRESSURE_QUEUE_LENGTH: Thresholds = Thresholds {
    low_to_medium: 9_999,
    medium_to_high: 15_000,
    high_to_medium: 10_000,
    medium_to_low: 2_000,
};

/// Exchange's levels of private memory, in percent of the memory of this host. Exchange has no
/// values for falling; they are ours.
pub const BACK_PRESSURE_MEMORY_USE: Thresholds =
    Thresholds { low_to_medium: 72, medium_to_high: 75, high_to_medium: 73, medium_to_low: 71 };

/// Levels of the memory of messages that are being received, in percent of `message_memory`. Our
/// own.
pub const BACK_PRESSURE_MESSAGE_MEMORY_USE: Thresholds =
    Thresholds { low_to_medium: 80, medium_to_high: 100, high_to_medium: 85, medium_to_low: 60 };
