//! The bounds of the protocol: unit, source, and the effect of each.

use std::time::Duration;

// Commands and paths.

/// Longest command line in octets, CRLF included. RFC 5321 section 4.5.3.1.4 asks for 512 at
/// least; RFC 6531 and the MAIL and RCPT extensions add to it. Longer: `500 5.5.2`.
pub const COMMAND_LINE_OCTETS: usize = 4096;

/// Longest line of an AUTH exchange in octets, CRLF included: the AUTH command with its initial
/// response, and each response after it. RFC 4954 section 4. Longer: `500 5.5.6`.
pub const AUTH_LINE_OCTETS: usize = 12_288;

/// Octets of a line without its end, after which the reader gives up: sixteen times the longest
/// command line. Then the reply to a line that is too long, and the end of the session.
pub const SKIPPED_LINE_OCTETS: usize = 64 * 1024;

// Users.

/// Longest nonce of a SCRAM client in octets. RFC 5802 names no limit, but a challenge must fit
/// a reply line. Longer: not a message.
pub const SCRAM_NONCE_MOST: usize = 128;

// Proxies.

/// Longest PROXY header of version 1 in octets, with CRLF, by its specification. Longer: the
/// connection is closed.
pub const PROXY_LINE_OCTETS: usize = 107;

/// Longest PROXY header of version 2 in octets, with its skipped fields. Longer: the connection is
/// closed.
pub const PROXY_HEADER_OCTETS: usize = 4096;

/// Octets of a chunk that is sent (RFC 3030). A connection buffers as many.
pub const CLIENT_CHUNK_OCTETS: usize = 64 * 1024;

/// Longest command that a next hop must accept, in octets, CRLF included (RFC 5321 section
/// 4.5.3.1.4). An AUTH command with a longer initial response is sent without it (RFC 4954 section
/// 4).
pub const CLIENT_COMMAND_OCTETS: usize = 512;

/// Lines of one reply of a next hop whose text is kept. Further lines are read and dropped.
pub const CLIENT_REPLY_LINES: usize = 100;

/// Octets of one reply of a next hop that are kept, without line ends. Further octets are read and
/// dropped.
pub const CLIENT_REPLY_KEPT_OCTETS: usize = 32 * 1024;

/// Octets of one reply of a next hop that are read, line ends included; RFC 5321 section 4.5.3.1.5
/// allows 512 for a line and has no limit for a reply. More: the attempt is deferred.
pub const CLIENT_REPLY_OCTETS: usize = 256 * 1024;

/// Octets of a reply that are kept with each recipient. The rest is cut off.
pub const ANSWER_OCTETS: usize = 1024;

/// For the greeting and the reply to EHLO. RFC 5321 section 4.5.3.2.1: 5 minutes.
pub const CLIENT_GREETING_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// For the reply to MAIL. RFC 5321 section 4.5.3.2.2: 5 minutes.
pub const CLIENT_MAIL_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// For the reply to RCPT. RFC 5321 section 4.5.3.2.3: 5 minutes.
pub const CLIENT_RECIPIENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// For the 354. RFC 5321 section 4.5.3.2.4: 2 minutes.
pub const CLIENT_DATA_INITIATION_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// For writing a piece of the message. RFC 5321 section 4.5.3.2.5: 3 minutes.
pub const CLIENT_DATA_BLOCK_TIMEOUT: Duration = Duration::from_secs(3 * 60);

/// For the reply to the end of data. RFC 5321 section 4.5.3.2.6: 10 minutes; a shorter time leads
/// to duplicates.
pub const CLIENT_DATA_TERMINATION_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// For the reply to QUIT. No message depends on it.
pub const CLIENT_QUIT_TIMEOUT: Duration = Duration::from_secs(5);
