//! The bounds of connectors, their defaults, and the table: unit, source, and the effect of each.

use std::num::NonZeroU32;
use std::time::Duration;

// Messages. Defaults of the Exchange parameters of the same name.

/// `MaxMessageSize`, in octets: 36 MB. Larger: `552 5.3.4`.
pub const MAX_MESSAGE_SIZE: u64 = 36 * 1024 * 1024;

/// `MaxHeaderSize`, in octets: 256 KB. Larger: `552 5.3.4`, then the connection is closed.
pub const MAX_HEADER_SIZE: u64 = 256 * 1024;

/// `MaxRecipientsPerMessage`. The surplus is deferred with `452 4.5.3`.
pub const MAX_RECIPIENTS_PER_MESSAGE: u32 = 200;

/// `MaxHopCount`, in Received fields. Real servers show 60 where the documentation says 30.
pub const MAX_HOP_COUNT: u32 = 60;

/// `MaxLocalHopCount`, in Received fields that name this host. Real servers show 5 where the
/// documentation says 8. More: `554 5.4.14`.
pub const MAX_LOCAL_HOP_COUNT: u32 = 5;

// Configuration.

/// Connector ids of one process, including the reserved zero. It is the size of per-connector
/// arrays in the kernel. Further names: the configuration is not loaded until the daemon is
/// restarted.
pub const CONNECTOR_IDS: u32 = 4096;

/// Distinct bindings of one generation: each has a listening socket, and an entry in a kernel map,
/// which has several generations during reloads. More: not loaded.
pub const BINDINGS: usize = 1024;

/// Prefixes of all ranges of one generation, over all bindings. It is the size of the kernel's
/// trie, which has two generations during a reload. More: not loaded.
pub const TABLE_BLOCKS: usize = 1 << 21;

// Sessions. Our own bounds.

/// `max_refused_recipients` of one session: recipients that are refused to an anonymous client.
/// Exchange has no such limit; Postfix ends a session after as many errors, including these. Then
/// `421 4.7.0`.
pub const MAX_REFUSED_RECIPIENTS: u32 = 20;

// Sessions. Defaults of the Exchange parameters of the same name.

/// `ConnectionTimeout`: the whole session, even if it is busy. Then `421 4.4.1`.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// `ConnectionInactivityTimeout`: silence of the client. RFC 5321 section 4.5.3.2.7 asks for
/// five minutes at least. Then `451 4.7.0`.
pub const CONNECTION_INACTIVITY_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// `TarpitInterval`: the delay of a refusal to a client that did not authenticate.
pub const TARPIT_INTERVAL: Duration = Duration::from_secs(5);

/// `AuthTarpitInterval`: the delay of a refusal of AUTH.
pub const AUTH_TARPIT_INTERVAL: Duration = Duration::from_secs(5);

/// `MaxProtocolErrors` of one session. Then `421 4.7.0`.
pub const MAX_PROTOCOL_ERRORS: u32 = 5;

/// `MaxLogonFailures` of one session. After the last one `421 4.7.0`.
pub const MAX_LOGON_FAILURES: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// `MaxInboundConnection` of one connector. Then `421 4.3.2`.
pub const MAX_INBOUND_CONNECTION: u32 = 5000;

/// `MaxInboundConnectionPerSource` of one connector and source: an IPv4 address, or the /64 of an
/// IPv6 address. Then `421 4.3.2`.
pub const MAX_INBOUND_CONNECTION_PER_SOURCE: u32 = 20;

/// `MaxInboundConnectionPercentagePerSource`, of the connections that a connector has left. Of 5000
/// it is more than 20 until 4,000 are open; after that it prevents one source from using up the
/// rest.
pub const MAX_INBOUND_CONNECTION_PERCENTAGE_PER_SOURCE: u32 = 2;
