//! Every bound of the daemon: its unit, where it comes from, and what happens at it.
//!
//! A limit that a connector can set has its default here and its key in the configuration.
//! This file decides numbers only; the module that enforces one names it.

mod next_hops;
mod tracking;

use std::time::Duration;

pub use self::next_hops::*;
pub use self::tracking::*;

// Commands and paths.

// Users.

/// Longest password that `relay passwd` reads from standard input, in octets.
pub const PASSWORD_OCTETS: u64 = 1024;
/// Largest users file in octets: room for tens of thousands of users. Larger: not loaded.
pub const USERS_FILE_OCTETS: u64 = 16 * 1024 * 1024;
/// Passwords that are compared at one time, each with the memory that its hash asks for, so that
/// guessers take neither all memory nor the threads that write mail. More wait, and a session that
/// waits longer than [`relay_session::limits::INQUIRY_WAIT`] gets `454 4.7.0`.
pub const PASSWORD_CHECKS: usize = 4;

// Messages. Defaults of the Exchange parameters of the same name.

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

// Delivery.

/// `initial_retry_interval`: from the first failed attempt to the second. RFC 5321 section
/// 4.5.4.1 asks for 30 minutes between attempts and grants that the first come sooner.
pub const INITIAL_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// `maximum_retry_interval`: what the growing interval stops at.
pub const MAXIMUM_RETRY_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// `MessageExpirationTimeout`: Exchange's 2 days. Then the sender gets a report.
pub const MESSAGE_EXPIRATION_TIMEOUT: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// `DelayNotificationTimeout`: Exchange's 4 hours. Then the sender is told that its message waits.
pub const DELAY_NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

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
/// How long the daemon waits for messages that clients are sending when it is told to stop. Other
/// clients find no listener meanwhile, so it is short; a client that is cut off sends again.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How long sessions that did not end within [`DRAIN`] have to tell their clients so.
pub const SESSION_CUT_OFF: Duration = Duration::from_millis(500);

/// Host names of a client's certificate that are looked at. A server has few; the rest is ignored.
pub const CERTIFICATE_NAMES: usize = 100;
/// How often the files of certificates are looked at. A change is taken at the second look that
/// sees it.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

// Proxies.

/// How long a proxy may take for its header. The specification asks for 3 seconds at least.
pub const PROXY_HEADER_WAIT: Duration = Duration::from_secs(5);

// Sessions. Our own bounds.

/// Octets of replies that the system keeps for a client that does not read them; Linux counts its
/// own overhead in and doubles the number. Left to itself it would give each such client as many
/// megabytes as `net.ipv4.tcp_wmem` allows. Replies are all that we send there.
pub const SEND_BUFFER_OCTETS: usize = 64 * 1024;

// Sessions. Defaults of the Exchange parameters of the same name.

/// Longest of the two intervals, as in Exchange. It must leave a client time to read the reply.
pub const LONGEST_TARPIT_INTERVAL: Duration = Duration::from_secs(10 * 60);
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
/// Highest `MaxLogonFailures`, as in Exchange. 0 stands for no limit.
pub const MOST_LOGON_FAILURES: u32 = 10;

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

// Checks of mail from strangers. The deadlines end before INQUIRY_WAIT does.

/// Name servers of `[dns]`. More add nothing but time.
pub const DNS_SERVERS: usize = 8;
/// `timeout` of `[dns]`: for one question to one server, the default of resolv.conf(5).
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest `timeout` of `[dns]`.
pub const LONGEST_DNS_TIMEOUT: Duration = Duration::from_secs(10);
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
/// `block_lists` of one connector; each is a question for each message.
pub const BLOCK_LISTS: usize = 16;
/// For one block list to answer.
pub const BLOCK_LIST_WAIT: Duration = Duration::from_secs(15);
/// For SPF, all its questions together. RFC 7208 section 4.6.4 asks for 20 seconds at least.
pub const SPF_WAIT: Duration = Duration::from_secs(20);
/// For DKIM and DMARC, all their questions together.
pub const DKIM_WAIT: Duration = Duration::from_secs(30);
/// Longest domain in From whose policy can be asked for, in octets: a name in DNS has 253 (RFC 1035
/// section 2.3.4, without the root's dot), seven of which `_dmarc.` takes. Longer: DMARC fails.
pub const DMARC_DOMAIN_OCTETS: usize = 246;
/// Signatures of one message that are verified. RFC 6376 section 6.1 lets us set a limit. The
/// others count as not accepted.
pub const DKIM_SIGNATURES: usize = 10;
/// Fields that one signature may cover: the time to verify it grows with their number times the
/// fields of the message. Signers name 20 or so. More: the signature is not accepted.
pub const DKIM_SIGNED_FIELDS: usize = 128;
/// `timeout` of `[rspamd]`: Rspamd gives a message 8 seconds unless it is told otherwise, and waits
/// for its scanners of viruses.
pub const RSPAMD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest `timeout` of `[rspamd]`.
pub const LONGEST_RSPAMD_TIMEOUT: Duration = Duration::from_secs(55);
/// Connections to Rspamd at one time, all sessions together. Further messages wait for one, within
/// the time that Rspamd has for them.
pub const RSPAMD_CONNECTIONS: usize = 100;
/// Recipients that Rspamd is told of.
pub const RSPAMD_RECIPIENTS: usize = 100;
/// Octets of the header of Rspamd's answer. More: no answer.
pub const RSPAMD_HEADER_OCTETS: usize = 64 * 1024;
/// Octets of the body of Rspamd's answer: its symbols and their texts. More: no answer.
pub const RSPAMD_REPLY_OCTETS: usize = 1024 * 1024;

// Recipients. Our own bounds.

/// Octets of a `recipients_file`: some sixty for each recipient. Larger: not loaded.
pub const RECIPIENTS_FILE_OCTETS: u64 = 64 * 1024 * 1024;
/// How long it is believed that a recipient exists, after its server said so. What it takes for mail
/// in the meantime may be returned by that server.
pub const RECIPIENT_KNOWN: Duration = Duration::from_secs(60 * 60);
/// How long it is believed that a recipient does not exist. Short, for the sake of new ones.
pub const RECIPIENT_UNKNOWN: Duration = Duration::from_secs(5 * 60);
/// Answers about recipients that are kept, some three hundred octets each. Where there are more, one
/// that is too old is forgotten, or any.
pub const RECIPIENT_ANSWERS: usize = 100_000;
/// How often a full table is searched for entries whose time is over. Each look is at all of them.
pub const FADING_SWEEP: Duration = Duration::from_secs(1);
/// Questions about recipients that are under way at one time, a connection each. More wait.
pub const RECIPIENT_QUESTIONS: usize = 20;
/// For one question, from the look-up of the server's name to its answer. Then `451 4.4.3`, or what
/// policy says. Below [`relay_session::limits::INQUIRY_WAIT`], so that the client learns why.
pub const RECIPIENT_QUESTION: Duration = Duration::from_secs(30);
/// For a connection to one address of the server that is asked.
pub const RECIPIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(RECIPIENT_QUESTION.as_secs() < relay_session::limits::INQUIRY_WAIT.as_secs());

// The queue.

/// Tries to lock the queue's directory, since the process that has it may be ending. Then the daemon
/// does not start.
pub const QUEUE_LOCK_TRIES: u32 = 20;
/// Between two tries.
pub const QUEUE_LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Octets of a message that wait in memory. A larger one goes to its own file, in writes of this
/// size. With the header section and its buffers a session in the middle of a message holds up to
/// 640 KiB; [`relay_mail::limits::MESSAGE_MEMORY`] bounds the sum of all sessions. An idle one holds next to nothing.
pub const MESSAGE_IN_MEMORY: usize = 256 * 1024;
/// Octets of a large message that are read at once for delivery.
pub const MESSAGE_READ: usize = 64 * 1024;
/// The percentage of `message_memory` that the clients of one connector may hold, so that strangers at
/// one connector do not use up what another needs. Our own.
pub const CONNECTOR_MEMORY_PERCENT: u64 = 50;
/// Octets that a TLS session is counted as: its keys, certificates and buffers, measured in
/// docs/measurements.md.
pub const TLS_SESSION_OCTETS: u64 = 12 * 1024;
/// Octets that `message_memory` is at least: one message.
pub const LEAST_MESSAGE_MEMORY: u64 = MESSAGE_IN_MEMORY as u64;
/// How often the resources are metered that make back pressure, as in Exchange.
pub const BACK_PRESSURE_INTERVAL: Duration = Duration::from_secs(2);
/// Messages of a backlog that are counted: the index is locked meanwhile, for a millisecond or two.
/// The levels of `queue_length` are at most this.
pub const BACKLOG_COUNTED: usize = 200_000;
/// Messages in the queue; the index takes about 200 octets of memory for each. More: `452 4.3.1`.
pub const QUEUED_MESSAGES: u64 = 5_000_000;
/// Octets that the queue's file system must have free for a message to begin. Less: `452 4.3.1`.
pub const QUEUE_MIN_FREE_OCTETS: u64 = 128 * 1024 * 1024;
/// The least of `min_free_space`, in octets: the database must be able to end what it has begun.
pub const QUEUE_LEAST_FREE_OCTETS: u64 = 1024 * 1024;
/// How long what the queue's file system has free is believed without asking again, while it is
/// as much as the two below.
pub const SPACE_SEEN: Duration = Duration::from_millis(50);
/// Octets that nothing here writes in [`SPACE_SEEN`]: 20 GB a second.
pub const SPACE_PLENTY_OCTETS: u64 = 1024 * 1024 * 1024;
/// Files that nothing here makes in [`SPACE_SEEN`].
pub const SPACE_PLENTY_INODES: u64 = 100_000;
/// Octets of a page of the queue's database, measured in docs/queue-storage.md.
pub const DATABASE_PAGE_OCTETS: usize = 4096;
/// Kibibytes of pages that the committer keeps in memory: the inner pages of a hundred thousand
/// messages. Others come from the system's memory, in microseconds.
pub const DATABASE_CACHE_KIBIBYTES: i64 = 4 * 1024;
/// Kibibytes of pages that each connection for reads keeps in memory. Each commit makes them stale.
pub const DATABASE_READER_CACHE_KIBIBYTES: i64 = 256;
/// Octets of the database's log above which it is moved into the database. SQLite's own default
/// is 4 MB; more of it saves writes of messages that are delivered before they are moved. It is
/// read whole at start-up.
pub const DATABASE_LOG_OCTETS: u64 = 32 * 1024 * 1024;
/// Octets that the log of the database gets in front of its end at a time, measured in
/// docs/queue-storage.md: about 200 messages that come alone. Writing and syncing them takes a few
/// milliseconds, between two commits.
pub const LOG_ROOM_STEP: u64 = 4 * 1024 * 1024;
/// Octets in front of the log's end below which it gets more.
pub const LOG_ROOM_LEAST: u64 = 1024 * 1024;
/// Octets of the log's file above which it gets no more: by then the log has begun anew.
pub const LOG_ROOM_MOST: u64 = DATABASE_LOG_OCTETS + COMMIT_OCTETS as u64;
/// Octets that are written at a time.
pub const LOG_ROOM_WRITE: usize = 256 * 1024;
/// Octets of a transaction that go to the log in one write: fifteen pages, and fewer than the
/// 128 KiB that SQLite's own layer takes for none (`seekAndWriteFd` in its os_unix.c).
pub const LOG_WRITE_OCTETS: usize = 64 * 1024;
/// Octets that new mail leaves free on the disk besides what its commit and the checkpoint after
/// it take, so that there is room to record that a message has gone.
pub const DATABASE_SPARE_OCTETS: u64 = 512 * 1024;
/// Octets up to which a database's structure is checked at start-up, at about a GB in a second.
/// A larger one is checked as it is read.
pub const DATABASE_CHECKED_OCTETS: u64 = 256 * 1024 * 1024;
/// Octets of a row that are believed when a damaged database is read: a message in memory, or an
/// entry with thousands of recipients.
pub const DATABASE_ROW_OCTETS: usize = 16 * 1024 * 1024;
/// Octets of messages that are kept in memory between their commit and their first attempt: two
/// thousand of 4 KiB.
pub const FRESH_OCTETS: usize = 8 * 1024 * 1024;
/// Connections for reads that are kept idle: about as many as deliveries begin at one moment.
pub const DATABASE_READERS: usize = 16;
/// How many seconds SQLite waits for a lock. Only this process has the database; it waits for
/// its own readers, each for less than a millisecond.
pub const DATABASE_BUSY: Duration = Duration::from_secs(10);
/// How long the committer waits for commits before it moves the log into the database.
pub const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);
/// Rows of a damaged database that are saved in one transaction.
pub const SALVAGED_ROWS: usize = 1000;
/// Ids that are reserved at once, in the unit of a queue id: those of one minute. After a restart
/// ids begin above them, so a clock that was set back repeats none.
pub const QUEUE_IDS_RESERVED: u64 = 60_000 << 20;
/// The wall clock and the one that nobody sets are read one after the other; they are apart from
/// this much on.
pub const CLOCK_JITTER: Duration = Duration::from_secs(1);
/// After a failed write or sync: how often the queue is tried again.
pub const STORE_RETRY: Duration = Duration::from_secs(1);
/// Octets after which no more commits join a batch.
pub const COMMIT_OCTETS: usize = 8 * 1024 * 1024;
/// Commits that wait for the committer; more wait before it.
pub const COMMITS_WAITING: usize = 4096;
/// Octets of a message that a report returns whole; of a larger one it returns the headers.
pub const REPORT_ORIGINAL_OCTETS: u64 = 32 * 1024;
/// Octets of a header section that a report returns, to the end of the last whole line within them.
/// Postfix returns 50,000 octets of a message at most. What is left out is not missed by a reader, and
/// a sender's address need not be the sender's.
pub const REPORT_HEADER_OCTETS: usize = 32 * 1024;
/// The same where RET=FULL asked for the whole message (RFC 3461 section 4.3): a report is made in
/// memory.
pub const REPORT_FULL_OCTETS: u64 = 1024 * 1024;
/// Octets of the largest report that is adapted to a next hop, in memory: what it returns, and what
/// it tells of some thousand recipients.
pub const ADAPTED_REPORT_OCTETS: u64 = 4 * 1024 * 1024;
/// Octets that a report quotes of a next hop's reply; with the field's name it stays below the
/// 998 of RFC 5322 section 2.1.1.
pub const REPORT_LINE_OCTETS: usize = 900;
/// Damaged records that are reported and set aside at start-up.
pub const DAMAGES_REPORTED: usize = 1000;

const _: () = assert!(
    MESSAGE_IN_MEMORY
        + relay_connector::limits::MAX_HEADER_SIZE as usize
        + relay_session::limits::INPUT_OCTETS
        + READ_OCTETS
        + relay_session::limits::OUTPUT_OCTETS
        + 2 * relay_session::limits::SMALL_WRITE_OCTETS
        + relay_session::limits::PROTOCOL_LOG_OCTETS
        <= 640 * 1024,
    "what a session holds, as MESSAGE_IN_MEMORY says"
);

// Generations.

/// How long a replaced generation is remembered: connections may wait for `accept` with its tags
/// on them. Longer than a client waits for a greeting (RFC 5321 section 4.5.3.2.1: five minutes)
/// would gain nothing. An unknown generation is answered by the daemon's table.
pub const GENERATION_RETENTION: Duration = Duration::from_secs(5 * 60);
/// How many replaced generations are remembered, the oldest being forgotten first. A generation holds its whole table, so this bounds memory when reloads come in quick succession.
pub const GENERATIONS_RETAINED: usize = 64;

// The control socket.

/// Longest request in octets. Longer: refused.
pub const CONTROL_REQUEST_OCTETS: u64 = 64 * 1024;
/// Longest answer that the command line reads, in octets.
pub const CONTROL_ANSWER_OCTETS: u64 = 1024 * 1024 * 1024;
/// Octets of a piece of a message that is exported.
pub const CONTROL_PIECE_OCTETS: usize = 256 * 1024;
/// How long either side waits for the other, where something has to be done.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a command that only looks waits for an answer.
pub const CONTROL_LOOK: Duration = Duration::from_secs(10);
/// How long a control connection may be silent: it is of this host, and its request is one line.
pub const CONTROL_SILENCE: Duration = Duration::from_secs(2);
/// Control connections at one time. More wait.
pub const CONTROL_CONNECTIONS: usize = 256;

// The daemon.

/// How often entries of replaced generations are looked for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that one page of `relay queue list` holds. Longer queues are listed in pages, so that
/// neither side holds more.
pub const QUEUE_PAGE_MESSAGES: usize = 1000;
/// Recipients of the messages of a page, beyond which it ends with the message that brought them.
pub const QUEUE_PAGE_RECIPIENTS: usize = 20_000;
/// Messages that are looked at for a page: few enough to take well below a second, whatever of them
/// the filter means.
pub const QUEUE_PAGE_LOOKED_AT: usize = 5000;
/// Messages that are read in one go for it.
pub const QUEUE_LOOKED_AT_ONCE: usize = 200;
/// Messages that one request changes. Then whoever asked hears how far it has come.
pub const QUEUE_PAGE_CHANGES: usize = 500;
/// Changes that are committed together.
pub const QUEUE_CHANGES_AT_ONCE: usize = 100;
/// Octets of log lines that wait to be written. A line beyond them is lost and counted.
pub const LOG_PENDING_OCTETS: usize = 4 * 1024 * 1024;
/// Octets of the log that are written at once. Not more than PIPE_BUF, pipe(7): a pipe that is ready
/// takes them without blocking.
pub const LOG_OUTPUT_OCTETS: usize = 4096;
/// Octets of one log line. The rest of a longer one is cut off.
pub const LOG_LINE_OCTETS: usize = 64 * 1024;
/// Octets of one line for the journal. `journalctl -o json` shows a message as `null` from 4,096
/// octets on, the field's name included.
pub const JOURNAL_LINE_OCTETS: usize = 4_000;
/// How long the log's writer waits at once for a reader.
pub const LOG_POLL: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the log to be written.
pub const LOG_FLUSH: Duration = Duration::from_secs(1);
/// Descriptors, besides those of listeners, that the daemon cannot do without: about 40 for the
/// kernel half, the queue and the runtime, and a few sessions, deliveries and questions to DNS.
pub const DESCRIPTORS_RESERVED: u64 = 128;
/// Threads besides those of the runtime: the queue's and the message tracking log's, and a few for
/// work that blocks.
pub const SPARE_THREADS: usize = 6;
/// How long a stop takes at most, from the signal on: sessions, a reload under way and delivery.
/// What has not ended by then is cut off; the queue bears it as it bears a crash.
pub const STOP: Duration = Duration::from_secs(6);
/// How long a stop waits after [`STOP`] for threads that are blocked, on a disk for example.
pub const BLOCKED_STOP: Duration = Duration::from_secs(2);

const _: () = assert!(DELIVERY_CUT.as_secs() < DELIVERY_STOP.as_secs());
// Both wait at the same time.
const _: () = assert!(DRAIN.as_secs() < STOP.as_secs());
const _: () = assert!(DELIVERY_STOP.as_millis() + CUT_RECORD.as_millis() < STOP.as_millis());
const _: () = assert!(
    STOP.as_secs() + BLOCKED_STOP.as_secs() + TRACKING_PATIENCE.as_secs() + LOG_FLUSH.as_secs()
        < 20,
    "TimeoutStopSec= of deploy/relay.service: systemd kills what has not stopped by then"
);

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
/// How often interfaces of the guard are looked at, and addresses of bindings that the host does
/// not have yet. So long a new interface may be without the guard, which only spares work.
pub const HOST_LOOK: Duration = Duration::from_secs(1);
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
/// How often the records of the programs' own log are fetched. Their buffer holds 128 KiB; what
/// does not fit is lost, and a person who debugs sees the next ones.
pub const KERNEL_LOG_INTERVAL: Duration = Duration::from_millis(100);

// The maps hold two whole generations and a few more that are being removed.
const _: () =
    assert!(relay_connector::limits::CONNECTOR_IDS <= relay_common::tables::CONNECTORS_MAX);
const _: () =
    assert!(2 * relay_connector::limits::TABLE_BLOCKS <= relay_common::tables::BLOCKS_MAX as usize);
const _: () =
    assert!(8 * relay_connector::limits::BINDINGS <= relay_common::tables::BINDINGS_MAX as usize);
