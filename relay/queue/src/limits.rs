//! The bounds of the queue: unit, source, and what happens at each.

use std::time::Duration;

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

/// Messages of a backlog that are counted: the index is locked meanwhile, for a millisecond or two.
/// The levels of `queue_length` are at most this.
pub const BACKLOG_COUNTED: usize = 200_000;

/// Messages in the queue; the index takes about 200 octets of memory for each. More: `452 4.3.1`.
pub const QUEUED_MESSAGES: u64 = 5_000_000;

/// Octets that the queue's file system must have free for a message to begin. Less: `452 4.3.1`.
pub const QUEUE_MIN_FREE_OCTETS: u64 = 128 * 1024 * 1024;

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

/// Octets that a report quotes of a next hop's reply; with the field's name it stays below the
/// 998 of RFC 5322 section 2.1.1.
pub const REPORT_LINE_OCTETS: usize = 900;

/// Damaged records that are reported and set aside at start-up.
pub const DAMAGES_REPORTED: usize = 1000;

// The daemon.

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

/// Changes that are committed together.
pub const QUEUE_CHANGES_AT_ONCE: usize = 100;

/// Messages that are claimed in one go.
pub const CLAIMED_AT_ONCE: usize = 100;

// The daemon.

/// Messages that one request changes. Then whoever asked hears how far it has come.
pub const QUEUE_PAGE_CHANGES: usize = 500;
