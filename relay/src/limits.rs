//! The bounds of starting, stopping, logging and the control socket: unit, source and effect of
//! each. Other bounds are in the `limits.rs` of their crates.

use std::time::Duration;

// Users.

/// Longest password that `relay passwd` reads from standard input, in octets.
pub const PASSWORD_OCTETS: u64 = 1024;

// Connections. Our own bounds.

/// How long the daemon waits at its stop for messages that clients are sending. Other clients find
/// no listener in this time, so it is short; a client whose connection is closed sends again.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How often the files of certificates are checked. A change is loaded at the second check that
/// finds it.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

// Recipients. Our own bounds.

const _: () = assert!(
    relay_server::limits::RECIPIENT_QUESTION.as_secs()
        < relay_session::limits::INQUIRY_WAIT.as_secs()
);

// The queue.

const _: () = assert!(
    relay_queue::limits::MESSAGE_IN_MEMORY
        + relay_connector::limits::MAX_HEADER_SIZE as usize
        + relay_session::limits::INPUT_OCTETS
        + relay_server::limits::READ_OCTETS
        + relay_session::limits::OUTPUT_OCTETS
        + 2 * relay_mail::limits::SMALL_WRITE_OCTETS
        + relay_session::limits::PROTOCOL_LOG_OCTETS
        <= 640 * 1024,
    "what a session holds, as relay_queue::limits::MESSAGE_IN_MEMORY says"
);

// The control socket.

/// Longest request in octets. Longer: refused.
pub const CONTROL_REQUEST_OCTETS: u64 = 64 * 1024;
/// Longest answer that the command line reads, in octets.
pub const CONTROL_ANSWER_OCTETS: u64 = 1024 * 1024 * 1024;
/// Octets in a piece of an exported message.
pub const CONTROL_PIECE_OCTETS: usize = 256 * 1024;
/// How long either side waits for the other if a request changes something.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a command waits for an answer if its request changes nothing.
pub const CONTROL_LOOK: Duration = Duration::from_secs(10);
/// How long a control connection may be silent. The client is on this host, and its request is one
/// line.
pub const CONTROL_SILENCE: Duration = Duration::from_secs(2);
/// Control connections at one time. More wait.
pub const CONTROL_CONNECTIONS: usize = 256;
/// Connections to the control socket that may wait for accept: our own, as many as are served.
pub const CONTROL_BACKLOG: i32 = CONTROL_CONNECTIONS as i32;

// The daemon.

/// How often replaced generations are removed from the kernel.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of log lines that wait for the writer. Further lines are lost and counted.
pub const LOG_PENDING_OCTETS: usize = 4 * 1024 * 1024;
/// Octets of one write to the log. Not more than PIPE_BUF, pipe(7): a pipe that is ready accepts
/// them without blocking.
pub const LOG_OUTPUT_OCTETS: usize = 4096;
/// Octets of one log line. A longer line is cut.
pub const LOG_LINE_OCTETS: usize = 64 * 1024;
/// Octets of one line for the journal. `journalctl -o json` shows a message as `null` from 4,096
/// octets on, which include the field's name.
pub const JOURNAL_LINE_OCTETS: usize = 4_000;
/// How long the log's writer waits in one poll for a reader.
pub const LOG_POLL: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the log.
pub const LOG_FLUSH: Duration = Duration::from_secs(1);
/// Descriptors that the daemon needs besides those of listeners: about 40 for the kernel half, the
/// queue and the runtime, and a few for sessions, deliveries and DNS.
pub const DESCRIPTORS_RESERVED: u64 = 128;
/// Threads besides those of the runtime: for the queue, the message tracking log, and some blocking
/// work.
pub const SPARE_THREADS: usize = 6;
/// Longest time of a stop, from the signal on: sessions, a reload under way and delivery. After it
/// the rest is cut off; for the queue that is like a crash.
pub const STOP: Duration = Duration::from_secs(6);
/// How long a stop waits after [`STOP`] for blocked threads, for example on a disk.
pub const BLOCKED_STOP: Duration = Duration::from_secs(2);

// Delivery at the end.

/// How long the end of the daemon waits for delivery: for [`relay_delivery::limits::DELIVERY_CUT`],
/// and then for replies to an end of data and for the disk. An attempt that is still under way then
/// may cause a duplicate. A new daemon cannot listen before, so the time is short.
pub const DELIVERY_STOP: Duration = Duration::from_secs(5);
/// How long the end of the daemon waits after [`DELIVERY_STOP`] for the record of cut attempts.
pub const CUT_RECORD: Duration = Duration::from_millis(500);

const _: () = assert!(relay_delivery::limits::DELIVERY_CUT.as_secs() < DELIVERY_STOP.as_secs());
// Both waits run at the same time.
const _: () = assert!(DRAIN.as_secs() < STOP.as_secs());
const _: () = assert!(DELIVERY_STOP.as_millis() + CUT_RECORD.as_millis() < STOP.as_millis());
const _: () = assert!(
    STOP.as_secs()
        + BLOCKED_STOP.as_secs()
        + relay_tracking::limits::TRACKING_PATIENCE.as_secs()
        + LOG_FLUSH.as_secs()
        < 20,
    "TimeoutStopSec= of deploy/relay.service: systemd kills what has not stopped by then"
);

// The kernel half.

/// How often the guard's interfaces are checked, and addresses of bindings that the host does not
/// have yet. A new interface may be without the guard for this time, which only costs some work.
pub const HOST_LOOK: Duration = Duration::from_secs(1);
/// How often the programs' own log is read. The buffer holds 128 KiB; records beyond it are lost,
/// but a person who debugs sees the next ones.
pub const KERNEL_LOG_INTERVAL: Duration = Duration::from_millis(100);

// The maps hold two whole generations and a few more that are being removed.
const _: () =
    assert!(relay_connector::limits::CONNECTOR_IDS <= relay_common::tables::CONNECTORS_MAX);
const _: () =
    assert!(2 * relay_connector::limits::TABLE_BLOCKS <= relay_common::tables::BLOCKS_MAX as usize);
const _: () =
    assert!(8 * relay_connector::limits::BINDINGS <= relay_common::tables::BINDINGS_MAX as usize);

// Bounds of several crates that depend on each other.

const _: () = assert!(
    relay_antispam::limits::BLOCK_LIST_WAIT.as_secs()
        < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_antispam::limits::SPF_WAIT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_antispam::limits::DKIM_WAIT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs()
        && relay_config::limits::LONGEST_RSPAMD_TIMEOUT.as_secs()
            < relay_session::limits::INQUIRY_WAIT.as_secs(),
    "a check says itself that it had no answer"
);
const _: () = assert!(
    relay_smtp::limits::COMMAND_LINE_OCTETS <= relay_session::limits::INPUT_OCTETS
        && relay_smtp::limits::AUTH_LINE_OCTETS <= relay_session::limits::INPUT_OCTETS
);
const _: () = assert!(
    relay_connector::limits::CONNECTION_INACTIVITY_TIMEOUT.as_secs()
        < relay_connector::limits::CONNECTION_TIMEOUT.as_secs(),
    "Exchange refuses an inactivity timeout that is not below the connection timeout"
);
