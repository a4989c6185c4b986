//! The bounds of delivery: unit, source, and the effect of each.

use std::time::Duration;

// The queue.

/// Octets of the largest report that is adapted to a next hop, in memory: the returned message, and
/// the text about a thousand recipients.
pub const ADAPTED_REPORT_OCTETS: u64 = 4 * 1024 * 1024;

/// Connections to one next hop at a time, after it has shown that it accepts as many.
pub const DELIVERY_CONCURRENCY: usize = 20;

/// Connections to a next hop without history, as in Postfix.
pub const DELIVERY_CONCURRENCY_FIRST: usize = 5;

/// When a further connection is tried after a next hop has refused one while it served others;
/// doubled with each refusal.
pub const CONNECTION_PROBE_FIRST: Duration = Duration::from_secs(30);

/// The longest time between two such attempts.
pub const CONNECTION_PROBE_LONGEST: Duration = Duration::from_secs(10 * 60);

/// Messages in hand for all next hops together. It bounds connections too, since each of them has a
/// message or is closed after [`CONNECTION_IDLE`].
pub const DELIVERY_CLAIMS: usize = 1000;

/// Claims of these for next hops that DNS names: a stranger can choose these next hops.
pub const EXCHANGER_CLAIMS: usize = 750;

/// Claims of these for next hops that have not recently proved alive.
pub const UNPROVEN_CLAIMS: usize = 250;

/// Of these, reports and other messages with the null sender.
pub const REPORT_CLAIMS: usize = 250;

/// Messages that each next hop of the configuration may have in hand, independent of the others.
pub const CONFIGURED_CLAIMS: usize = 2 * DELIVERY_CONCURRENCY;

/// Next hops of one message that are tried at the same time.
pub const JOBS_PER_MESSAGE: usize = 100;

/// Next hops of one message that are tried when one of them is done: one replaces it, and there may
/// be room for one more.
pub const JOBS_AFTER_ONE: usize = 2;

/// The number of parts in which the results of one attempt at a message with many recipients are
/// recorded. Each part writes the whole record: more parts write more octets, and fewer parts leave
/// more recipients that get the message twice after a crash.
pub const RECORDS_PER_ATTEMPT: usize = 64;

/// How long a result waits at most for others to be recorded with it.
pub const RESULTS_WAIT: Duration = Duration::from_secs(1);

/// How long room is reserved for a message that was called.
pub const CALLED_WAIT: Duration = Duration::from_secs(5);

/// How long a next hop counts as alive after its last reply to a message.
pub const PROOF_HOLDS: Duration = Duration::from_secs(60 * 60);

/// After this time of a running attempt, with no other attempt ended meanwhile, a next hop does not
/// count as alive.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// For one attempt, in addition to the time for the octets of its message: all look-ups, addresses,
/// steps and transactions. Longer than any one step.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(20 * 60);

/// The same for next hops that DNS names, while messages wait for room.
pub const SHORT_ATTEMPT: Duration = Duration::from_secs(60);

/// Octets of a message that a next hop accepts in a second, at least; they add to the time limit of
/// an attempt.
pub const SLOWEST_OCTETS_PER_SECOND: u64 = 8 * 1024;

/// Messages for each connection that a next hop may always have in hand: the current one and the
/// next.
pub const CLAIMS_PER_CONNECTION: usize = 2;

/// If fewer messages than this are in hand for a next hop, parked messages are fetched, as many as
/// are claimed at once.
pub const PARKED_REFILL: usize = DELIVERY_CONCURRENCY;

/// How long a message waits at most for room at its next hop, or for its next hop to be alive,
/// before it is examined again.
pub const PARKED_LOOK: Duration = Duration::from_secs(5 * 60);

/// When a message is due again that was withdrawn so that an administrator can hold or remove it,
/// if that fails.
pub const WITHDRAWN: Duration = Duration::from_secs(10);

/// How long a message with a due report waits if its next hop is in back-off and there is no room,
/// because many of them are due at one time.
pub const REPORT_LOOK: Duration = Duration::from_secs(5);

/// Messages that are due when a next hop's back-off ends; one of them finds out whether it is
/// alive. All others wait for the result.
pub const PAUSE_ENDS_WITH: usize = 2 * DELIVERY_CONCURRENCY;

/// Next hops whose state is kept. If there are more, idle ones are forgotten.
pub const NEXT_HOPS_REMEMBERED: usize = 1000;

/// How long an address that could not be used comes after the others of its next hop.
pub const ADDRESS_PAUSE: Duration = Duration::from_secs(60);

/// How long an address that failed with PIPELINING or CHUNKING, although it offers them, gets one
/// command at a time and no chunks.
pub const PLAIN_SPEECH: Duration = Duration::from_secs(60 * 60);

/// How long a next hop that ended a transaction at a RCPT gets no more recipients in a transaction
/// than it had accepted before: long enough for the next attempts of the message, and no longer,
/// since more transactions send the message more often.
pub const FEW_RECIPIENTS: Duration = Duration::from_secs(60 * 60);

/// The port of mail exchangers (RFC 5321 section 4.5.4.2).
pub const SMTP_PORT: u16 = 25;

/// Recipients of one transaction; every server must accept 100 (RFC 5321 section 4.5.3.1.8). More
/// recipients need further transactions.
pub const RECIPIENTS_PER_TRANSACTION: usize = 100;

/// Addresses of one smart host, or of all mail exchangers of a domain, that are tried in one
/// attempt.
pub const ADDRESSES_PER_HOP: usize = 8;

/// For opening a connection to one address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Mail exchangers of one domain whose addresses are looked up; more are not tried.
pub const EXCHANGERS_PER_DOMAIN: usize = 10;

/// How long an idle connection is kept.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(2);

/// The first back-off of a next hop that cannot be reached; doubled with each failure.
pub const HOP_PAUSE_FIRST: Duration = Duration::from_secs(5);

/// The longest back-off of a next hop.
pub const HOP_PAUSE_LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long running attempts may continue after a change of the route. Then those that have not
/// sent their end of data are cut off and deferred.
pub const DELIVERY_DRAIN: Duration = Duration::from_secs(30);

/// How long running attempts may continue when the daemon ends. Then those that have not sent their
/// end of data are cut off and deferred.
pub const DELIVERY_CUT: Duration = Duration::from_secs(1);

/// Octets that are read from a next hop at once.
pub const CLIENT_READ_OCTETS: usize = 4096;

/// Warnings about the certificates of one file. Further ones are left out.
pub const CERTIFICATE_CONCERNS: usize = 5;

/// Octets of a file of credentials; an access token has about two thousand.
pub const CREDENTIALS_OCTETS: u64 = 64 * 1024;

/// Refusals of all sources together that are recorded individually. One hour of a flood writes 9 MB
/// to the log.
pub const REFUSALS: u32 = 10_000;
