//! The bounds of configurations: unit, source, and what happens at each.

use std::time::Duration;

// Users.

/// Largest users file in octets: room for tens of thousands of users. Larger: not loaded.
pub const USERS_FILE_OCTETS: u64 = 16 * 1024 * 1024;

// Configuration.

/// Largest configuration file in octets: room for a million ranges. Larger: not loaded.
pub const CONFIGURATION_OCTETS: u64 = 64 * 1024 * 1024;

/// Refusals or warnings shown for one configuration; the rest is only counted, since one slip
/// repeated by a script would bury the others.
pub const FINDINGS_SHOWN: usize = 50;

/// Longest `name` of a connector in characters, as in Exchange.
pub const CONNECTOR_NAME_CHARACTERS: usize = 64;

/// Highest `rate` and `burst` of a budget, in SYNs: above what one machine's interfaces carry.
pub const BUDGET_TOKENS: u32 = 100_000_000;

/// Longest name of a network interface in octets: IFNAMSIZ without the terminator.
pub const INTERFACE_NAME_OCTETS: usize = 15;

/// Longest path of a unix socket in octets: sun_path without the terminator.
pub const SOCKET_PATH_OCTETS: usize = 107;

// Sessions. Defaults of the Exchange parameters of the same name.

/// Longest of the two intervals, as in Exchange. It must leave a client time to read the reply.
pub const LONGEST_TARPIT_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Highest `MaxLogonFailures`, as in Exchange. 0 stands for no limit.
pub const MOST_LOGON_FAILURES: u32 = 10;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// `timeout` of `[dns]`: for one question to one server, the default of resolv.conf(5).
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest `timeout` of `[dns]`.
pub const LONGEST_DNS_TIMEOUT: Duration = Duration::from_secs(10);

/// `block_lists` of one connector; each is a question for each message.
pub const BLOCK_LISTS: usize = 16;

/// `timeout` of `[rspamd]`: Rspamd gives a message 8 seconds unless it is told otherwise, and waits
/// for its scanners of viruses.
pub const RSPAMD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest `timeout` of `[rspamd]`.
pub const LONGEST_RSPAMD_TIMEOUT: Duration = Duration::from_secs(55);

// Recipients. Our own bounds.

/// Octets of a `recipients_file`: some sixty for each recipient. Larger: not loaded.
pub const RECIPIENTS_FILE_OCTETS: u64 = 64 * 1024 * 1024;

// The queue.

/// Octets that `message_memory` is at least: one message.
pub const LEAST_MESSAGE_MEMORY: u64 = relay_queue::limits::MESSAGE_IN_MEMORY as u64;

/// The least of `min_free_space`, in octets: the database must be able to end what it has begun.
pub const QUEUE_LEAST_FREE_OCTETS: u64 = 1024 * 1024;

/// The port of submission with STARTTLS (RFC 6409).
pub const SUBMISSION_PORT: u16 = 587;

/// The port of submission with implicit TLS (RFC 8314 section 3.3).
pub const SUBMISSIONS_PORT: u16 = 465;

/// `ConnectionInactivityTimeout` of Exchange's send connectors and its default: the longest wait for
/// a next hop at any step, where a step below has more.
pub const CLIENT_INACTIVITY_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a file is kept, the default of `max_age` as in Exchange.
pub const TRACKING_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The log's file system must have so many times `min_free_space` free for the log to be written: it
/// stops before mail does.
pub const TRACKING_MIN_FREE_FACTOR: u64 = 2;
