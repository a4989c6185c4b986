//! The bounds of checks of mail from strangers: unit, source, and what happens at each.

use std::time::Duration;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// For one block list to answer.
pub const BLOCK_LIST_WAIT: Duration = Duration::from_secs(15);

/// For SPF, all its questions together. RFC 7208 section 4.6.4 asks for 20 seconds at least.
pub const SPF_WAIT: Duration = Duration::from_secs(20);

/// For DKIM and DMARC, all their questions together.
pub const DKIM_WAIT: Duration = Duration::from_secs(30);

/// Longest domain in From whose policy can be asked for, in octets: a name in DNS has 253 (RFC 1035
/// section 2.3.4, without the root's dot), seven of which `_dmarc.` takes. Longer: DMARC fails.
pub const DMARC_DOMAIN_OCTETS: usize = 246;

/// Signatures of one message that are verified. RFC 6376 section 6.1 lets us set a limit. The
/// others count as not accepted.
pub const DKIM_SIGNATURES: usize = 10;

/// Fields that one signature may cover: the time to verify it grows with their number times the
/// fields of the message. Signers name 20 or so. More: the signature is not accepted.
pub const DKIM_SIGNED_FIELDS: usize = 128;

/// Connections to Rspamd at one time, all sessions together. Further messages wait for one, within
/// the time that Rspamd has for them.
pub const RSPAMD_CONNECTIONS: usize = 100;

/// Recipients that Rspamd is told of.
pub const RSPAMD_RECIPIENTS: usize = 100;

/// Octets of the header of Rspamd's answer. More: no answer.
pub const RSPAMD_HEADER_OCTETS: usize = 64 * 1024;

/// Octets of the body of Rspamd's answer: its symbols and their texts. More: no answer.
pub const RSPAMD_REPLY_OCTETS: usize = 1024 * 1024;
