//! The bounds of one session: unit, source, and the effect of each.

use std::time::Duration;

// Connections. Our own bounds.

/// How long a TLS handshake may last, from the 220 to STARTTLS, or from the first octet with
/// implicit TLS. RFC 5321 has no bound for it. Then the connection is closed.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(30);

// Sessions. Our own bounds.

/// Received octets that a session keeps unprocessed. Above it the driver does not read; it must be
/// larger than the longest command line.
pub const INPUT_OCTETS: usize = 64 * 1024;

/// Octets of replies that are buffered before they are sent, so that a client that pipelines many
/// commands without reading replies cannot make us keep more.
pub const OUTPUT_OCTETS: usize = 16 * 1024;

/// How long a client between messages may be silent while the daemon stops. Then `421 4.3.2` and the
/// end. Clients that are about to send a message are served; it is longer than a slow client needs
/// between two commands, and short because new clients wait for the next daemon meanwhile.
pub const SHUTDOWN_SILENCE: Duration = Duration::from_secs(2);

/// Octets of a message between two size checks of the policy; of a message that will be refused, at
/// most this much over the limit is written.
pub const MESSAGE_CHECK_OCTETS: u64 = 1024 * 1024;

/// Octets of a message without a line end that count as activity, as RFC 5321 section 4.5.3.1.6
/// limits a text line. Fewer octets do not postpone the inactivity timeout.
pub const TEXT_LINE_OCTETS: u64 = 1000;

/// How long a client waits until we begin or store a message. RFC 5321 section 4.5.3.2.4 lets the
/// client give up after two minutes at DATA. Then `451 4.3.0` and the end.
pub const QUEUE_WAIT: Duration = Duration::from_secs(100);

/// How long a session waits for a fact that a decision needs, such as whether a recipient exists.
/// Half of the five minutes that RFC 5321 section 4.5.3.2.3 gives a client for RCPT would be too
/// long for a person who watches; if the fact is not known by then, the refusal is temporary.
pub const INQUIRY_WAIT: Duration = Duration::from_secs(60);

/// Commands without a message (NOOP, RSET, VRFY, HELP, another HELO or EHLO) since the last message
/// of a session. Exchange has no such bound; Postfix has the same number. More: `421 4.7.0`.
pub const JUNK_COMMANDS: u32 = 100;

/// Octets since the last message of a session that cannot lead to a message: octets of a message
/// after its refusal, refused chunks, refused lines. They are read, so that a client that sends
/// first and reads later learns why its message was refused; a connector with a larger
/// `max_message_size` allows as many as that. More: the reply to the refused message, or `421
/// 4.7.0`, and the end.
pub const USELESS_OCTETS: u64 = 64 * 1024 * 1024;

/// Refusals, and queue ids, in a session's log line. Further ones are only counted.
pub const LOGGED_VERDICTS: usize = 8;

/// Octets of one record of the protocol log. A longer line is cut, and the record shows its length.
pub const PROTOCOL_LOG_LINE_OCTETS: usize = 1024;

/// Octets of records that a session keeps for the protocol log until the driver fetches them, at
/// half of this size. Further records are left out and counted.
pub const PROTOCOL_LOG_OCTETS: usize = 16 * 1024;

// The queue.

/// Octets of decisions that a transaction keeps for message tracking while `message_memory` is used
/// up. Further ones are counted.
pub const DECISIONS_BEYOND_MEMORY: usize = 4 * 1024;

/// Octets of a header section that a session buffers while [`relay_mail::limits::MESSAGE_MEMORY`]
/// is used up. A longer one: `452 4.3.1` at the end of data.
pub const HEADER_BEYOND_MEMORY: usize = 16 * 1024;

/// Decisions that are kept for one message: its MAIL, as many recipients as
/// `MAX_RECIPIENTS_PER_MESSAGE` allows by default, and some refusals. Further ones are counted.
pub const TRACKED_DECISIONS: usize = 256;

/// Recipients of a refused message that are recorded. Further ones are counted.
pub const REFUSED_RECIPIENTS: usize = 8;

/// Refusals that a session keeps until its driver fetches them, which it does after each action.
pub const REFUSALS_UNTOLD: usize = 64;
