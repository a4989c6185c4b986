//! The bounds of delivery: unit, source, and what happens at each.

use std::time::Duration;

// The queue.

/// Octets of the largest report that is adapted to a next hop, in memory: what it returns, and what
/// it tells of some thousand recipients.
pub const ADAPTED_REPORT_OCTETS: u64 = 4 * 1024 * 1024;

/// Connections to one next hop at a time, once it has shown that it takes as many.
pub const DELIVERY_CONCURRENCY: usize = 20;

/// Connections to a next hop of which nothing is known yet, as in Postfix.
pub const DELIVERY_CONCURRENCY_FIRST: usize = 5;

/// When a further connection is tried after a next hop has refused one while it served others;
/// doubled with each refusal.
pub const CONNECTION_PROBE_FIRST: Duration = Duration::from_secs(30);

/// The longest time between two such tries.
pub const CONNECTION_PROBE_LONGEST: Duration = Duration::from_secs(10 * 60);

/// Messages in hand for all next hops together. It bounds connections too, since each of them has
/// a message or is closed after [`CONNECTION_IDLE`].
pub const DELIVERY_CLAIMS: usize = 1000;

/// Messages of these for next hops that DNS names: a stranger can choose them. Our own.
pub const EXCHANGER_CLAIMS: usize = 750;

/// Messages of these for next hops that have not lately proved alive. Our own.
pub const UNPROVEN_CLAIMS: usize = 250;

/// Of these, for reports and other messages with the null sender.
pub const REPORT_CLAIMS: usize = 250;

/// Messages that each next hop of the configuration may have in hand, whatever others have.
pub const CONFIGURED_CLAIMS: usize = 2 * DELIVERY_CONCURRENCY;

/// Next hops of one message that are tried at the same time.
pub const JOBS_PER_MESSAGE: usize = 100;

/// Next hops of one message that are tried once one of them is done: one takes its place, and there
/// may be room for one more.
pub const JOBS_AFTER_ONE: usize = 2;

/// Into how many parts the results of one attempt at a message with many recipients are divided, to
/// be recorded. Each is a write of the whole record, so more cost more octets and fewer leave more
/// to be delivered twice after a crash.
pub const RECORDS_PER_ATTEMPT: usize = 64;

/// How long a result waits at most for others that are recorded with it.
pub const RESULTS_WAIT: Duration = Duration::from_secs(1);

/// How long room is kept for a message that was called for it.
pub const CALLED_WAIT: Duration = Duration::from_secs(5);

/// How long a next hop counts as alive after its last answer to a message.
pub const PROOF_HOLDS: Duration = Duration::from_secs(60 * 60);

/// A next hop where an attempt is under way for so long, and none has ended meanwhile, does not
/// count as alive.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// For one attempt, besides the time that the octets of its message add: all look-ups, addresses,
/// steps and transactions. More than any one step may take.
pub const LONGEST_ATTEMPT: Duration = Duration::from_secs(20 * 60);

/// The same while messages wait for room, at next hops that DNS names.
pub const SHORT_ATTEMPT: Duration = Duration::from_secs(60);

/// Octets of a message that a next hop takes in a second, at least; they add to the time of an
/// attempt.
pub const SLOWEST_OCTETS_PER_SECOND: u64 = 8 * 1024;

/// Messages for each connection that a next hop may always have in hand: the one under way and the
/// one to follow.
pub const CLAIMS_PER_CONNECTION: usize = 2;

/// Messages in hand of a next hop below which those that it had no room for are fetched, as many as
/// are claimed in one go.
pub const PARKED_REFILL: usize = DELIVERY_CONCURRENCY;

/// How long a message waits at most for its next hop to have room, or to be alive again, before it
/// is looked at all the same.
pub const PARKED_LOOK: Duration = Duration::from_secs(5 * 60);

/// When a message comes up again that was taken back for an administrator to hold or remove, should
/// that fail.
pub const WITHDRAWN: Duration = Duration::from_secs(10);

/// How long a message of which its sender is to be told waits, where its next hop is left alone and
/// so many of them come up at one time that there is no room for it.
pub const REPORT_LOOK: Duration = Duration::from_secs(5);

/// Messages that come up with the end of a next hop's pause, for one of them to find out whether it
/// is alive. All others wait for what becomes of them.
pub const PAUSE_ENDS_WITH: usize = 2 * DELIVERY_CONCURRENCY;

/// Next hops whose state is kept. More: those that have nothing to do are forgotten.
pub const NEXT_HOPS_REMEMBERED: usize = 1000;

/// How long an address that could not be used comes after the others of its next hop.
pub const ADDRESS_PAUSE: Duration = Duration::from_secs(60);

/// How long an address that did not bear PIPELINING or CHUNKING, which it offers, gets one command
/// at a time and no chunks.
pub const PLAIN_SPEECH: Duration = Duration::from_secs(60 * 60);

/// How long a next hop that broke off at a RCPT gets no more recipients in a transaction than it had
/// accepted before: long enough for the next attempts of the message, and no longer, since more
/// transactions carry the message more often.
pub const FEW_RECIPIENTS: Duration = Duration::from_secs(60 * 60);

/// The port of mail exchangers (RFC 5321 section 4.5.4.2).
pub const SMTP_PORT: u16 = 25;

/// Recipients of one transaction; every server must take 100 (RFC 5321 section 4.5.3.1.8). More
/// go in further transactions.
pub const RECIPIENTS_PER_TRANSACTION: usize = 100;

/// Addresses of one smart host, or of all mail exchangers of a domain, that are tried in one
/// attempt.
pub const ADDRESSES_PER_HOP: usize = 8;

/// For a connection to be made to one address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Mail exchangers of one domain whose addresses are looked up; more are not tried.
pub const EXCHANGERS_PER_DOMAIN: usize = 10;

/// How long a connection is kept when no mail waits for it.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(2);

/// How long a next hop that cannot be reached is left alone at first; doubled with each failure.
pub const HOP_PAUSE_FIRST: Duration = Duration::from_secs(5);

/// The longest time that a next hop is left alone.
pub const HOP_PAUSE_LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long attempts under way may go on when the route changes. Then those that have not sent
/// their end of data are cut off and deferred.
pub const DELIVERY_DRAIN: Duration = Duration::from_secs(30);

/// How long attempts under way may go on when the daemon ends. Then those that have not sent their
/// end of data are cut off and deferred.
pub const DELIVERY_CUT: Duration = Duration::from_secs(1);

/// Octets that are read from a next hop at once.
pub const CLIENT_READ_OCTETS: usize = 4096;

/// Warnings about the certificates of one file. More are not told.
pub const CERTIFICATE_CONCERNS: usize = 5;

/// Octets of a file of credentials; an access token takes two thousand or so.
pub const CREDENTIALS_OCTETS: u64 = 64 * 1024;

/// Refusals of all sources together that are recorded one by one at once. An hour of a flood takes 9 MB of the log.
pub const REFUSALS: u32 = 10_000;
