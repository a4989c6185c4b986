//! The bounds of one session: unit, source, and what happens at each.

use std::time::Duration;

// Connections. Our own bounds.

/// How long a TLS handshake may take, from the 220 to STARTTLS, or from the first octet where TLS
/// begins with it. RFC 5321 has no bound for it. Then the connection is closed.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(30);

// Sessions. Our own bounds.

/// Octets received but not yet understood that a session keeps. Above it the driver does not read;
/// it must hold the longest command line.
pub const INPUT_OCTETS: usize = 64 * 1024;

/// Octets of replies that gather before they are sent, so that a client which pipelines many
/// commands and reads no reply makes us keep no more than this.
pub const OUTPUT_OCTETS: usize = 16 * 1024;

/// Octets of a message between two questions to the policy whether it has become too large; what
/// is written of a message that will be refused is at most this much over the limit.
pub const MESSAGE_CHECK_OCTETS: u64 = 1024 * 1024;

/// Octets of a message without a line end that count as a sign of life, as RFC 5321 section
/// 4.5.3.1.6 limits a text line. Fewer do not postpone the inactivity timeout.
pub const TEXT_LINE_OCTETS: u64 = 1000;

/// How long a client waits for us to begin or to store a message. RFC 5321 section 4.5.3.2.4 lets
/// the client give up after two minutes at DATA. Then `451 4.3.0` and the end.
pub const QUEUE_WAIT: Duration = Duration::from_secs(100);

/// How long a session waits for what a decision needs to know, such as whether a recipient exists.
/// Half of the five minutes that RFC 5321 section 4.5.3.2.3 gives a client for RCPT would be too
/// long for a person who looks on; what is not known by then is temporarily refused.
pub const INQUIRY_WAIT: Duration = Duration::from_secs(60);

/// Commands that lead to no message (NOOP, RSET, VRFY, HELP, another HELO or EHLO) since the last
/// message of a session. Exchange has no such bound; Postfix has the same number. More:
/// `421 4.7.0`.
pub const JUNK_COMMANDS: u32 = 100;

/// Octets since the last message of a session that can lead to nothing: what follows the refusal of
/// a message that is still on its way, chunks that are refused, lines that are refused. They are
/// read, so that a client which sends first and reads later learns why its message was refused; a
/// connector with a larger `max_message_size` allows as many as that. More: the reply to the
/// refused message, or `421 4.7.0`, and the end.
pub const USELESS_OCTETS: u64 = 64 * 1024 * 1024;

/// Refusals, and queue ids, that a session's log line shows. The rest is only counted.
pub const LOGGED_VERDICTS: usize = 8;

/// Octets of one record of the protocol log. Of a longer line the rest is left out, and the record
/// says how long it was.
pub const PROTOCOL_LOG_LINE_OCTETS: usize = 1024;

/// Octets of records that a session keeps for the protocol log until they are fetched, which is
/// when half of them are there. Further ones are left out and counted.
pub const PROTOCOL_LOG_OCTETS: usize = 16 * 1024;

// The queue.

/// Octets of decisions that a transaction keeps for message tracking while `message_memory` is used
/// up. Further ones are counted.
pub const DECISIONS_BEYOND_MEMORY: usize = 4 * 1024;

/// Octets of a header section that a session gathers while [`relay_mail::limits::MESSAGE_MEMORY`] is used up. A longer
/// one: `452 4.3.1` at the end of data.
pub const HEADER_BEYOND_MEMORY: usize = 16 * 1024;

/// Decisions that are kept of one message: its MAIL, as many recipients as
/// `MAX_RECIPIENTS_PER_MESSAGE` allows by default, and some refusals. Further ones are counted.
pub const TRACKED_DECISIONS: usize = 256;

/// Recipients of a refused message that are told of. Further ones are counted.
pub const REFUSED_RECIPIENTS: usize = 8;

/// Refusals that a session keeps until its driver asks for them, which it does after each action.
pub const REFUSALS_UNTOLD: usize = 64;
