//! The bounds of addresses and replies: unit, source, and the effect of each.

/// Longest local part in octets. The 64 of RFC 5321 section 4.5.3.1.1 are a minimum that a server
/// must accept; VERP, SRS and BATV create longer ones. Longer: an invalid address.
pub const LOCAL_PART_OCTETS: usize = 255;
/// Longest domain in octets. RFC 5321 section 4.5.3.1.2. Longer: an invalid address.
pub const DOMAIN_OCTETS: usize = 255;
/// Longest label of a domain in octets. RFC 1035 section 2.3.4. Longer: an invalid address.
pub const LABEL_OCTETS: usize = 63;
/// Longest path in octets, angle brackets included. RFC 5321 section 4.5.3.1.3 requires at least
/// 256; the longest local part with the longest domain must fit.
pub const PATH_OCTETS: usize = LOCAL_PART_OCTETS + 1 + DOMAIN_OCTETS + 2;
/// Longest value of ENVID in characters, encoded. RFC 3461 section 4.4. Longer: `501 5.5.4`.
pub const ENVELOPE_ID_CHARACTERS: usize = 100;
/// Longest value of ORCPT in octets, encoded. RFC 3461 section 4.2. Longer: `501 5.5.4`.
pub const ORIGINAL_RECIPIENT_CHARACTERS: usize = 500;
/// Longest reply line in octets, CRLF included. RFC 5321 section 4.5.3.1.5.
pub const REPLY_LINE_OCTETS: usize = 512;

// Users.

/// Longest name of a user in octets: what every implementation of RFC 4616 section 2 may send.
/// Longer: not a user.
pub const USER_NAME_OCTETS: usize = 255;

// The queue.

/// Octets of incoming messages that all sessions together may have in memory, the default of
/// `message_memory`: a thousand messages of the size that `MESSAGE_IN_MEMORY` permits. No session
/// waits for it, because clients that send slowly could use it up. Beyond it a message goes to its
/// file in writes of `SMALL_WRITE_OCTETS`, and no more than `HEADER_BEYOND_MEMORY` of a header
/// section is gathered.
pub const MESSAGE_MEMORY: u64 = 256 * 1024 * 1024;

/// Parts of a message with fewer octets than this are gathered before they are written, up to twice
/// as many: each part costs the queue some forty octets beside its own.
pub const SMALL_WRITE_OCTETS: usize = 8 * 1024;
