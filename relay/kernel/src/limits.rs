//! The bounds of the kernel half and of generations: unit, source, and what happens at each.

use std::time::Duration;

// Generations.

/// How long a replaced generation is remembered: connections may wait for `accept` with its tags
/// on them. Longer than a client waits for a greeting (RFC 5321 section 4.5.3.2.1: five minutes)
/// would gain nothing. An unknown generation is answered by the daemon's table.
pub const GENERATION_RETENTION: Duration = Duration::from_secs(5 * 60);

/// How many replaced generations are remembered, the oldest being forgotten first. A generation holds its whole table, so this bounds memory when reloads come in quick succession.
pub const GENERATIONS_RETAINED: usize = 64;

// The kernel half.

/// How long the kernel keeps the entries of a replaced generation. A program runs for microseconds
/// with preemption off; this is beyond any of them, and short enough that reloads many times a
/// second do not fill the maps.
pub const GENERATION_GRACE: Duration = Duration::from_millis(250);

/// How long the self-test waits for its own connection. Loopback answers at once, or something
/// holds it up that will hold up mail too.
pub const SELF_TEST_WAIT: Duration = Duration::from_secs(5);

/// Connections that may wait on the self-test's listeners, in case strangers find them.
pub const SELF_TEST_BACKLOG: i32 = 64;

/// Tries to lock a pin directory that another instance removes at the same moment.
pub const PIN_CLAIM_TRIES: u32 = 8;

/// Looks until the guard is tried again on an interface that refused it: some drivers restart
/// their queues for each try.
pub const GUARD_RETRY_LOOKS: u32 = 10;

/// Longest answer about an interface in octets. The kernel itself sends no longer ones unless it
/// is asked for virtual functions.
pub const LINK_ANSWER_OCTETS: usize = 32 * 1024;

/// Messages that are read while the answer about an interface is waited for.
pub const LINK_ANSWERS: u32 = 8;

/// How long that answer may take. The kernel gives it within the question's system call.
pub const LINK_WAIT: Duration = Duration::from_secs(1);
