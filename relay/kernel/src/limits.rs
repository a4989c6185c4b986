//! The bounds of the kernel half and of generations: unit, source, and effect of each.

use std::time::Duration;

// Generations.

/// How long a replaced generation is remembered: connections with its tags may wait for `accept`.
/// More than a client's wait for a greeting (RFC 5321 section 4.5.3.2.1: five minutes) would have
/// no use. For an unknown generation, the daemon's table decides.
pub const GENERATION_RETENTION: Duration = Duration::from_secs(5 * 60);

/// Replaced generations that are remembered; beyond it, the oldest is forgotten. A generation
/// contains its whole table, so this bounds memory when reloads follow each other quickly.
pub const GENERATIONS_RETAINED: usize = 64;

// The kernel half.

/// How long the kernel keeps the entries of a replaced generation. A program runs for microseconds
/// without preemption; this is longer than any run, and short enough that many reloads in a second
/// do not fill the maps.
pub const GENERATION_GRACE: Duration = Duration::from_millis(250);

/// How long the self-test waits for its own connection. Loopback answers at once, unless a problem
/// exists that would delay mail too.
pub const SELF_TEST_WAIT: Duration = Duration::from_secs(5);

/// Connections that may wait on the self-test's listeners, in case other programs connect.
pub const SELF_TEST_BACKLOG: i32 = 64;

/// Tries to lock a pin directory while another instance removes it.
pub const PIN_CLAIM_TRIES: u32 = 8;

/// Checks until the guard is tried again on an interface that refused it: some drivers restart
/// their queues at each try.
pub const GUARD_RETRY_LOOKS: u32 = 10;

/// Longest answer about an interface in octets. The kernel sends longer answers only about virtual
/// functions.
pub const LINK_ANSWER_OCTETS: usize = 32 * 1024;

/// Messages that are read during the wait for the answer about an interface.
pub const LINK_ANSWERS: u32 = 8;

/// Timeout of that answer. The kernel sends it within the system call of the request.
pub const LINK_WAIT: Duration = Duration::from_secs(1);
