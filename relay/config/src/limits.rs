//! The bounds of configurations: unit, source, and effect of each.

use std::time::Duration;

// Users.

/// Largest users file in octets: enough for tens of thousands of users. A larger file is not
/// loaded.
pub const USERS_FILE_OCTETS: u64 = 16 * 1024 * 1024;

// Configuration.

/// Largest configuration file in octets: enough for a million ranges. A larger file is not loaded.
pub const CONFIGURATION_OCTETS: u64 = 64 * 1024 * 1024;

/// Refusals or warnings shown for one configuration. The rest is only counted, so that an error
/// which a script repeats does not hide the others.
pub const FINDINGS_SHOWN: usize = 50;

/// Longest `name` of a connector in characters, as in Exchange.
pub const CONNECTOR_NAME_CHARACTERS: usize = 64;

/// Highest `rate` and `burst` of a budget, in SYNs: more than the interfaces of one machine can
/// carry.
pub const BUDGET_TOKENS: u32 = 100_000_000;

/// Longest name of a network interface in octets: IFNAMSIZ without the terminator.
pub const INTERFACE_NAME_OCTETS: usize = 15;

/// Longest path of a unix socket in octets: sun_path without the terminator.
pub const SOCKET_PATH_OCTETS: usize = 107;

// Sessions. Defaults of the Exchange parameters of the same name.

/// Longest of the two intervals, as in Exchange. A client must have time left to read the reply.
pub const LONGEST_TARPIT_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Highest `MaxLogonFailures`, as in Exchange. 0 means no limit.
pub const MOST_LOGON_FAILURES: u32 = 10;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Default of `timeout` in `[dns]`: for one query to one server, as in resolv.conf(5).
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest `timeout` in `[dns]`.
pub const LONGEST_DNS_TIMEOUT: Duration = Duration::from_secs(10);

/// Most `block_lists` of one connector; each is a query for each message.
pub const BLOCK_LISTS: usize = 16;

/// Default of `timeout` in `[rspamd]`: Rspamd's own default for a message is 8 seconds, but its
/// virus scanners may need longer.
pub const RSPAMD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest `timeout` in `[rspamd]`.
pub const LONGEST_RSPAMD_TIMEOUT: Duration = Duration::from_secs(55);

// Recipients. Our own bounds.

/// Largest `recipients_file` in octets: about sixty for each recipient. A larger file is not
/// loaded.
pub const RECIPIENTS_FILE_OCTETS: u64 = 64 * 1024 * 1024;

// The queue.

/// Minimum of `message_memory` in octets: one message.
pub const LEAST_MESSAGE_MEMORY: u64 = relay_queue::limits::MESSAGE_IN_MEMORY as u64;

/// Minimum of `min_free_space` in octets: the database must be able to finish a write.
pub const QUEUE_LEAST_FREE_OCTETS: u64 = 1024 * 1024;

/// The port of submission with STARTTLS (RFC 6409).
pub const SUBMISSION_PORT: u16 = 587;

/// The port of submission with implicit TLS (RFC 8314 section 3.3).
pub const SUBMISSIONS_PORT: u16 = 465;

/// `ConnectionInactivityTimeout` of Exchange's send connectors and its default: the longest wait
/// for a next hop in any step, unless a constant below allows more.
pub const CLIENT_INACTIVITY_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Default of `max_age`: how long a file is kept, as in Exchange.
pub const TRACKING_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The log is written only if its file system has this multiple of `min_free_space` free, so that
/// the log stops before mail does.
pub const TRACKING_MIN_FREE_FACTOR: u64 = 2;
