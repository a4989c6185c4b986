//! The bounds of listeners, connections and look-ups: unit, source, and what happens at each.

use std::time::Duration;

// Users.

/// Passwords that are compared at one time, each with the memory that its hash asks for, so that
/// guessers take neither all memory nor the threads that write mail. More wait, and a session that
/// waits longer than [`relay_session::limits::INQUIRY_WAIT`] gets `454 4.7.0`.
pub const PASSWORD_CHECKS: usize = 4;

// Connections. Our own bounds.

/// Sessions at one time, all connectors together; each takes a file descriptor. Further
/// connections wait in the system's queue.
pub const SESSIONS: usize = 20_000;

/// Connections that the system queues for each listening socket.
pub const LISTEN_BACKLOG: i32 = 1024;

/// The first pause after a failed accept. It doubles up to [`LONGEST_ACCEPT_PAUSE`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause after a failed accept.
pub const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Octets that one read takes from a connection.
pub const READ_OCTETS: usize = 16 * 1024;

/// How long a client may take to end its side after we have ended ours.
pub const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long sessions that did not end within `DRAIN` have to tell their clients so.
pub const SESSION_CUT_OFF: Duration = Duration::from_millis(500);

// Proxies.

/// How long a proxy may take for its header. The specification asks for 3 seconds at least.
pub const PROXY_HEADER_WAIT: Duration = Duration::from_secs(5);

// Sessions. Our own bounds.

/// Octets of replies that the system keeps for a client that does not read them; Linux counts its
/// own overhead in and doubles the number. Left to itself it would give each such client as many
/// megabytes as `net.ipv4.tcp_wmem` allows. Replies are all that we send there.
pub const SEND_BUFFER_OCTETS: usize = 64 * 1024;

// Sessions. Defaults of the Exchange parameters of the same name.

/// Failed logons that a source may have over all its connections before further ones are put off.
/// One comes back in each [`LOGON_FAILURE_INTERVAL`]. Our own. Beyond it: `454 4.7.0`.
pub const LOGON_FAILURES_PER_SOURCE: u32 = 30;

/// The same for an IPv6 /48. Our own. Beyond it: `454 4.7.0`.
pub const LOGON_FAILURES_PER_NETWORK: u32 = 4 * LOGON_FAILURES_PER_SOURCE;

/// How long it takes until a failed logon is forgotten.
pub const LOGON_FAILURE_INTERVAL: Duration = Duration::from_secs(60);

/// Sources whose failed logons are remembered, a hundred octets or so each. Where there are more, one
/// whose time is over is forgotten, or any.
pub const LOGON_FAILURE_BUCKETS: usize = 65_536;

/// Networks whose connections are counted besides those of a source, with the percentage that each
/// may have of the connections that a connector has left. One customer has a /56 or a /48, one
/// provider a /32, and a /24 of IPv4 can be rented. Our own; Exchange counts single addresses. Then
/// `421 4.3.2`.
pub const NETWORK_SHARES_IPV6: &[(u32, u32)] = &[(56, 5), (48, 10), (32, 50)];

/// The same for IPv4.
pub const NETWORK_SHARES_IPV4: &[(u32, u32)] = &[(24, 25)];

/// The percentage of `MaxInboundConnection` that is kept for sources without a connection. Our own.
pub const RESERVED_CONNECTION_PERCENTAGE: u32 = 10;

/// Buckets of `message_rate_limit`, of all connectors: sources and users, a hundred octets or so for
/// each. Where there are more, one that is full is forgotten, or any.
pub const MESSAGE_RATE_BUCKETS: usize = 65_536;

// Recipients. Our own bounds.

/// How long it is believed that a recipient exists, after its server said so. What it takes for mail
/// in the meantime may be returned by that server.
pub const RECIPIENT_KNOWN: Duration = Duration::from_secs(60 * 60);

/// How long it is believed that a recipient does not exist. Short, for the sake of new ones.
pub const RECIPIENT_UNKNOWN: Duration = Duration::from_secs(5 * 60);

/// Answers about recipients that are kept, some three hundred octets each. Where there are more, one
/// that is too old is forgotten, or any.
pub const RECIPIENT_ANSWERS: usize = 100_000;

/// Questions about recipients that are under way at one time, a connection each. More wait.
pub const RECIPIENT_QUESTIONS: usize = 20;

/// For one question, from the look-up of the server's name to its answer. Then `451 4.4.3`, or what
/// policy says. Below [`relay_session::limits::INQUIRY_WAIT`], so that the client learns why.
pub const RECIPIENT_QUESTION: Duration = Duration::from_secs(30);

/// For a connection to one address of the server that is asked.
pub const RECIPIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

// The queue.

/// Octets that a TLS session is counted as: its keys, certificates and buffers, measured in
/// docs/measurements.md.
pub const TLS_SESSION_OCTETS: u64 = 12 * 1024;

/// How often the resources are metered that make back pressure, as in Exchange.
pub const BACK_PRESSURE_INTERVAL: Duration = Duration::from_secs(2);

/// Refusals of one source and kind that are recorded one by one at once.
pub const REFUSALS_OF_SOURCE: u32 = 100;

/// How often one more of them is recorded.
pub const REFUSAL_OF_SOURCE_INTERVAL: Duration = Duration::from_secs(6);

/// The interval that belongs to [`relay_delivery::limits::REFUSALS`].
pub const REFUSAL_INTERVAL: Duration = Duration::from_millis(200);

/// Sources whose refusals are counted.
pub const REFUSAL_SOURCES: usize = 16 * 1024;
