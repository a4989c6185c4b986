//! The bounds of checks of foreign mail: unit, source, and effect of each.

use std::time::Duration;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Timeout of one block list.
pub const BLOCK_LIST_WAIT: Duration = Duration::from_secs(15);

/// Timeout of SPF with all its queries. RFC 7208 section 4.6.4 recommends at least 20 seconds.
pub const SPF_WAIT: Duration = Duration::from_secs(20);

/// Timeout of DKIM and DMARC with all their queries.
pub const DKIM_WAIT: Duration = Duration::from_secs(30);

/// Longest domain in From whose policy can be queried, in octets: a DNS name has at most 253 (RFC
/// 1035 section 2.3.4, without the root's dot), seven of them for `_dmarc.`. If the domain is longer,
/// DMARC fails.
pub const DMARC_DOMAIN_OCTETS: usize = 246;

/// Verified signatures of one message. RFC 6376 section 6.1 allows a limit. Other signatures count
/// as not accepted.
pub const DKIM_SIGNATURES: usize = 10;

/// Fields that one signature may cover: the time of verification grows with their number multiplied
/// by the fields of the message. Signers usually cover about 20. Beyond it the signature is not
/// accepted.
pub const DKIM_SIGNED_FIELDS: usize = 128;

/// Connections to Rspamd at one time, over all sessions. Further messages wait, within the timeout
/// of Rspamd.
pub const RSPAMD_CONNECTIONS: usize = 100;

/// Recipients that are sent to Rspamd.
pub const RSPAMD_RECIPIENTS: usize = 100;

/// Octets of the header of Rspamd's answer. Beyond it there is no answer.
pub const RSPAMD_HEADER_OCTETS: usize = 64 * 1024;

/// Octets of the body of Rspamd's answer: its symbols and their texts. Beyond it there is no
/// answer.
pub const RSPAMD_REPLY_OCTETS: usize = 1024 * 1024;
