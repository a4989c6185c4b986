//! The bounds of DNS queries: unit, source, and effect of each.

use std::time::Duration;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Name servers of `[dns]`. More would only cost time.
pub const DNS_SERVERS: usize = 8;

/// How often a query to a server is repeated, as in the default of resolv.conf(5).
pub const DNS_RETRIES: usize = 1;

/// Queries at one time on one connection to a name server. Further queries fail.
pub const DNS_QUESTIONS: usize = 4096;

/// How long one name server is waited for before the next one is asked too.
pub const DNS_NEXT_SERVER: Duration = Duration::from_secs(1);

/// How long a name server that failed, or was slow, is asked after the others.
pub const DNS_SERVER_PAUSE: Duration = Duration::from_secs(30);

/// Cached DNS answers for all checks of mail, and as many for all deliveries. An answer is seldom
/// larger than 1 KB.
pub const DNS_CACHED_ANSWERS: u64 = 4096;

/// How long an answer is cached at most, regardless of its TTL.
pub const DNS_LONGEST_CACHED: Duration = Duration::from_secs(60 * 60);

/// Timeout for the look-up of a next hop's name.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
