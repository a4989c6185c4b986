//! The bounds of questions to name servers: unit, source, and what happens at each.

use std::time::Duration;

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Name servers of `[dns]`. More add nothing but time.
pub const DNS_SERVERS: usize = 8;

/// Times that a server is asked again before a question has no answer, as often as by default of
/// resolv.conf(5).
pub const DNS_RETRIES: usize = 1;

/// Questions at one time on one connection to a name server. Further ones have no answer.
pub const DNS_QUESTIONS: usize = 4096;

/// How long a name server is waited for before the next one is asked too.
pub const DNS_NEXT_SERVER: Duration = Duration::from_secs(1);

/// How long a name server that had no answer, or was slow, is asked after the others.
pub const DNS_SERVER_PAUSE: Duration = Duration::from_secs(30);

/// Answers of DNS that are remembered for all checks of mail, and as many for all deliveries. One is
/// seldom over 1 KB.
pub const DNS_CACHED_ANSWERS: u64 = 4096;

/// How long an answer is remembered at most, whatever it says itself.
pub const DNS_LONGEST_CACHED: Duration = Duration::from_secs(60 * 60);

/// For a next hop's name to be looked up.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
