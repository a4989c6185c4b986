//! The bounds of listeners, connections and look-ups: unit, source, and effect of each.

use std::time::Duration;

// Users.

/// Passwords that are compared at one time, each with the memory of its hash, so that guesses use
/// up neither the memory nor the threads that write mail. More wait, and a session that waits
/// longer than [`relay_session::limits::INQUIRY_WAIT`] gets `454 4.7.0`.
pub const PASSWORD_CHECKS: usize = 4;

// Connections. Our own bounds.

/// Sessions at one time, over all connectors. Each needs a file descriptor. Further connections
/// wait in the system's queue.
pub const SESSIONS: usize = 20_000;

/// Connections that the system queues for each listening socket.
pub const LISTEN_BACKLOG: i32 = 1024;

/// The first pause after a failed accept. It doubles up to [`LONGEST_ACCEPT_PAUSE`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause after a failed accept.
pub const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Octets of one read from a connection.
pub const READ_OCTETS: usize = 16 * 1024;

/// How long the server waits for the client's end after its own end.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long sessions that did not end within `DRAIN` have for a last reply to their clients.
pub const SESSION_CUT_OFF: Duration = Duration::from_millis(500);

// Proxies.

/// How long the server waits for the header of a proxy. The specification demands 3 seconds at
/// least.
pub const PROXY_HEADER_WAIT: Duration = Duration::from_secs(5);

// Sessions. Our own bounds.

/// Octets of replies that the system keeps for a client that does not read them. Linux includes its
/// own overhead and doubles the number. Without this bound, each such client could use as many
/// megabytes as `net.ipv4.tcp_wmem` allows. Only replies are sent there.
pub const SEND_BUFFER_OCTETS: usize = 64 * 1024;

// Sessions. Defaults of the Exchange parameters of the same name.

/// Failed logons of a source over all its connections before further logons are deferred. One is
/// forgiven in each [`LOGON_FAILURE_INTERVAL`]. Our own. Beyond it: `454 4.7.0`.
pub const LOGON_FAILURES_PER_SOURCE: u32 = 30;

/// The same for an IPv6 /48. Our own. Beyond it: `454 4.7.0`.
pub const LOGON_FAILURES_PER_NETWORK: u32 = 4 * LOGON_FAILURES_PER_SOURCE;

/// The time after which one failed logon is forgiven.
pub const LOGON_FAILURE_INTERVAL: Duration = Duration::from_secs(60);

/// Sources whose failed logons are remembered, some hundred octets each. Beyond it, an expired
/// source is forgotten, or any.
pub const LOGON_FAILURE_BUCKETS: usize = 65_536;

/// Networks whose connections are counted besides those of a source, with the percentage of free
/// connections of a connector that each may have. One customer has a /56 or a /48, one provider a
/// /32, and a /24 of IPv4 can be rented. Our own; Exchange counts single addresses. Beyond it: `421
/// 4.3.2`.
pub const NETWORK_SHARES_IPV6: &[(u32, u32)] = &[(56, 5), (48, 10), (32, 50)];

/// The same for IPv4.
pub const NETWORK_SHARES_IPV4: &[(u32, u32)] = &[(24, 25)];

/// The percentage of `MaxInboundConnection` that is reserved for sources without a connection. Our
/// own.
pub const RESERVED_CONNECTION_PERCENTAGE: u32 = 10;

/// Buckets of `message_rate_limit`, of all connectors: sources and users, some hundred octets each.
/// Beyond it, a full bucket is forgotten, or any.
pub const MESSAGE_RATE_BUCKETS: usize = 65_536;

// Recipients. Our own bounds.

/// How long the answer that a recipient exists is valid. If the recipient is removed in this time,
/// its server may return mail that was accepted for it.
pub const RECIPIENT_KNOWN: Duration = Duration::from_secs(60 * 60);

/// How long the answer that a recipient does not exist is valid. Short, so that new recipients get
/// mail soon.
pub const RECIPIENT_UNKNOWN: Duration = Duration::from_secs(5 * 60);

/// Answers about recipients that are kept, some three hundred octets each. Beyond it, an expired
/// answer is forgotten, or any.
pub const RECIPIENT_ANSWERS: usize = 100_000;

/// Recipient look-ups at one time, a connection each. More wait.
pub const RECIPIENT_QUESTIONS: usize = 20;

/// Timeout of one recipient look-up, from the look-up of the server's name to its answer. Beyond
/// it: `451 4.4.3`, or the result that policy decides. Below
/// [`relay_session::limits::INQUIRY_WAIT`], so that the client learns the reason.
pub const RECIPIENT_QUESTION: Duration = Duration::from_secs(30);

/// Timeout of a connection to one address of the server.
pub const RECIPIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

// The queue.

/// Octets for which a TLS session counts: its keys, certificates and buffers, measured in
/// docs/measurements.md.
pub const TLS_SESSION_OCTETS: u64 = 12 * 1024;

/// How often the resources of back pressure are measured, as in Exchange.
pub const BACK_PRESSURE_INTERVAL: Duration = Duration::from_secs(2);

/// Refusals of one source and kind that are recorded at once.
pub const REFUSALS_OF_SOURCE: u32 = 100;

/// The interval after which one more of them is recorded.
pub const REFUSAL_OF_SOURCE_INTERVAL: Duration = Duration::from_secs(6);

/// The interval of [`relay_delivery::limits::REFUSALS`].
pub const REFUSAL_INTERVAL: Duration = Duration::from_millis(200);

/// Sources whose refusals are counted.
pub const REFUSAL_SOURCES: usize = 16 * 1024;
