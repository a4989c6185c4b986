//! The bounds of addresses and replies: unit, source, and what happens at each.

/// Longest local part in octets. The 64 of RFC 5321 section 4.5.3.1.1 are what a server must take
/// at least; addresses made by VERP, SRS and BATV have more. Longer: an invalid address.
pub const LOCAL_PART_OCTETS: usize = 255;
/// Longest domain in octets. RFC 5321 section 4.5.3.1.2. Longer: an invalid address.
pub const DOMAIN_OCTETS: usize = 255;
/// Longest label of a domain in octets. RFC 1035 section 2.3.4. Longer: an invalid address.
pub const LABEL_OCTETS: usize = 63;
/// Longest path in octets, angle brackets included. RFC 5321 section 4.5.3.1.3 asks for 256 at
/// least; the longest local part at the longest domain must fit.
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

/// Octets of messages on their way in that all sessions together hold in memory, the default of
/// `message_memory`: a thousand messages as large as [`MESSAGE_IN_MEMORY`] lets them become. Nobody
/// waits for it, since clients that send slowly could use it up: beyond it a message goes to its
/// file in writes of [`relay_session::limits::SMALL_WRITE_OCTETS`], and a header section is not gathered any further than
/// [`relay_session::limits::HEADER_BEYOND_MEMORY`].
pub const MESSAGE_MEMORY: u64 = 256 * 1024 * 1024;
