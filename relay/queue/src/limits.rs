//! The bounds of the queue: unit, source, and the effect of each.

use std::time::Duration;

// Delivery.

/// `initial_retry_interval`: from the first failed attempt to the second. RFC 5321 section 4.5.4.1
/// asks for 30 minutes between attempts, and allows shorter intervals at first.
pub const INITIAL_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// `maximum_retry_interval`: the upper bound of the growing interval.
pub const MAXIMUM_RETRY_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// `MessageExpirationTimeout`: Exchange's 2 days. Then the sender gets a report of the failure.
pub const MESSAGE_EXPIRATION_TIMEOUT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// `DelayNotificationTimeout`: Exchange's 4 hours. Then the sender gets a report of the delay.
pub const DELAY_NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);

// The queue.

/// Attempts to lock the queue's directory, since the process that has the lock may be ending. After
/// the last attempt the daemon does not start.
pub const QUEUE_LOCK_TRIES: u32 = 20;

/// Between two tries.
pub const QUEUE_LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Octets of a message that stay in memory. A larger message is written to its own file, in writes
/// of this size. With the header section and its buffers, a session in the middle of a message
/// needs up to 640 KiB; [`relay_mail::limits::MESSAGE_MEMORY`] bounds the sum of all sessions. An
/// idle session needs almost none.
pub const MESSAGE_IN_MEMORY: usize = 256 * 1024;

/// Octets of a large message that are read at once for delivery.
pub const MESSAGE_READ: usize = 64 * 1024;

/// The percentage of `message_memory` that the clients of one connector may use, so that the
/// clients of one connector do not use up the memory of the others. Our own.
pub const CONNECTOR_MEMORY_PERCENT: u64 = 50;

/// Messages of a backlog that are counted: the index is locked meanwhile, for a millisecond or two.
/// The levels of `queue_length` cannot be higher.
pub const BACKLOG_COUNTED: usize = 200_000;

/// Messages in the queue; the index needs about 200 octets of memory for each. More: `452 4.3.1`.
pub const QUEUED_MESSAGES: u64 = 5_000_000;

/// Octets that the queue's file system must have free for a message to begin. Less: `452 4.3.1`.
pub const QUEUE_MIN_FREE_OCTETS: u64 = 128 * 1024 * 1024;

/// How long the free space of the queue's file system is assumed to be unchanged, if it is at least
/// the sum of the two constants below.
pub const SPACE_SEEN: Duration = Duration::from_millis(50);

/// More octets than this host can write in [`SPACE_SEEN`]: 20 GB a second.
pub const SPACE_PLENTY_OCTETS: u64 = 1024 * 1024 * 1024;

/// Files that nothing here makes in [`SPACE_SEEN`].
pub const SPACE_PLENTY_INODES: u64 = 100_000;

/// Octets of a page of the queue's database, measured in docs/queue-storage.md.
pub const DATABASE_PAGE_OCTETS: usize = 4096;

/// Kibibytes of pages that the committer keeps in memory: the inner pages of a hundred thousand
/// messages. Other pages are read from the system's page cache, in microseconds.
pub const DATABASE_CACHE_KIBIBYTES: i64 = 4 * 1024;

/// Kibibytes of pages that each connection for reads keeps in memory. Each commit makes them stale.
pub const DATABASE_READER_CACHE_KIBIBYTES: i64 = 256;

/// Octets of the database's log above which it is moved into the database. SQLite's own default is
/// 4 MB; with more, messages that are delivered early need fewer writes. The log is read as a whole
/// at start-up.
pub const DATABASE_LOG_OCTETS: u64 = 32 * 1024 * 1024;

/// Octets that are preallocated at a time after the end of the database's log, measured in
/// docs/queue-storage.md: enough for about 200 messages that arrive alone. Writing and syncing them
/// needs a few milliseconds, between two commits.
pub const LOG_ROOM_STEP: u64 = 4 * 1024 * 1024;

/// Octets in front of the log's end below which it gets more.
pub const LOG_ROOM_LEAST: u64 = 1024 * 1024;

/// Octets of the log's file above which nothing is preallocated: by then the log starts again at
/// its beginning.
pub const LOG_ROOM_MOST: u64 = DATABASE_LOG_OCTETS + COMMIT_OCTETS as u64;

/// Octets that are written at a time.
pub const LOG_ROOM_WRITE: usize = 256 * 1024;

/// Octets that new mail leaves free on the disk, in addition to its commit and the checkpoint after
/// it, so that the queue can still record deliveries.
pub const DATABASE_SPARE_OCTETS: u64 = 512 * 1024;

/// Octets up to which a database's structure is checked at start-up, at about one GB per second. A
/// larger database is checked while it is read.
pub const DATABASE_CHECKED_OCTETS: u64 = 256 * 1024 * 1024;

/// The largest row that is accepted from a damaged database, in octets: a message in memory, or an
/// entry with thousands of recipients.
pub const DATABASE_ROW_OCTETS: usize = 16 * 1024 * 1024;

/// Octets of messages that are kept in memory from their commit to their first attempt: two
/// thousand messages of 4 KiB.
pub const RECENT_COMMITS_OCTETS: usize = 8 * 1024 * 1024;

/// Idle database connections for reads: about as many as deliveries begin at one moment.
pub const DATABASE_READERS: usize = 16;

/// How long SQLite waits for a lock. Only this process uses the database; it waits for its own
/// readers, each for less than a millisecond.
pub const DATABASE_BUSY: Duration = Duration::from_secs(10);

/// How long the committer waits for commits before it moves the log into the database.
pub const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);

/// Rows of a damaged database that are saved in one transaction.
pub const SALVAGED_ROWS: usize = 1000;

/// Ids that are reserved at once, in the unit of a queue id: those of one minute. After a restart
/// the ids begin above them, so a clock that was set back repeats no id.
pub const QUEUE_IDS_RESERVED: u64 = 60_000 << 20;

/// Difference between wall clock and monotonic clock from which on a clock change is assumed.
/// Smaller differences arise because the clocks are read one after the other.
pub const CLOCK_JITTER: Duration = Duration::from_secs(1);

/// After a failed write or sync: the interval at which the queue is opened again.
pub const STORE_RETRY: Duration = Duration::from_secs(1);

/// Octets after which no more commits join a batch.
pub const COMMIT_OCTETS: usize = 8 * 1024 * 1024;

/// Commits that wait for the committer; more wait before it.
pub const COMMITS_WAITING: usize = 4096;

/// Octets of a message that a report returns whole; of a larger message it returns the header
/// section.
pub const REPORT_ORIGINAL_OCTETS: u64 = 32 * 1024;

/// Octets of a header section that a report returns, up to the end of the last whole line. Postfix
/// returns at most 50,000 octets of a message. Readers do not need the rest, and the address in
/// MAIL may be forged.
pub const REPORT_HEADER_OCTETS: usize = 32 * 1024;

/// The same limit if RET=FULL asked for the whole message (RFC 3461 section 4.3): a report is
/// composed in memory.
pub const REPORT_FULL_OCTETS: u64 = 1024 * 1024;

/// Octets of a next hop's reply that a report quotes; with the field's name the line stays below
/// the 998 octets of RFC 5322 section 2.1.1.
pub const REPORT_LINE_OCTETS: usize = 900;

/// Damaged records that are reported and moved to `damaged/` at start-up.
pub const DAMAGES_REPORTED: usize = 1000;

// The daemon.

/// Messages on one page of `relay queue list`. Longer queues are listed in pages, so that the
/// memory of both sides is bounded.
pub const QUEUE_PAGE_MESSAGES: usize = 1000;

/// Recipients of a page; the page ends with the message that exceeds this number.
pub const QUEUE_PAGE_RECIPIENTS: usize = 20_000;

/// Messages that are examined for a page: few enough for well below a second, even if the filter
/// matches all of them.
pub const QUEUE_PAGE_LOOKED_AT: usize = 5000;

/// Messages that are read at once for a page.
pub const QUEUE_LOOKED_AT_ONCE: usize = 200;

/// Changes that are committed together.
pub const QUEUE_CHANGES_AT_ONCE: usize = 100;

/// Messages that are claimed at once.
pub const CLAIMED_AT_ONCE: usize = 100;

// The daemon.

/// Messages that one request changes. After each request the client can show the progress.
pub const QUEUE_PAGE_CHANGES: usize = 500;
