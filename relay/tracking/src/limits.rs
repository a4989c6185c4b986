//! The bounds of the message tracking log: unit, source, and what happens at each.

use std::time::Duration;

/// Octets of a file of the log, the default of `max_file_size` as in Exchange.
pub const TRACKING_FILE_OCTETS: u64 = 10 * 1024 * 1024;

/// Octets of all its files, the default of `max_directory_size` as in Exchange.
pub const TRACKING_DIRECTORY_OCTETS: u64 = 1000 * 1024 * 1024;

/// The least of `max_file_size`, in octets: a hundred messages or so.
pub const TRACKING_FILE_LEAST: u64 = 64 * 1024;

/// How long a file is written to at most, so that age counts for the events of quiet hosts too; and
/// how often old files are looked for.
pub const TRACKING_FILE_TIME: Duration = Duration::from_secs(60 * 60);

/// Octets of memory that events on their way to the log take, counted as
/// `tracking::Event::octets` has it: about a second of the most that the daemon accepts on
/// a core. Events beyond it are dropped and counted.
pub const TRACKING_PENDING_OCTETS: usize = 16 * 1024 * 1024;

/// How long the log's writer lets events gather, so that it is woken a few times a second and not by
/// each of them.
pub const TRACKING_GATHER: Duration = Duration::from_millis(20);

/// Octets of lines that are written at once.
pub const TRACKING_WRITE_OCTETS: usize = 256 * 1024;

/// After a failure: how often the log is tried again.
pub const TRACKING_RETRY: Duration = Duration::from_secs(1);

/// How long the end of the daemon, and a trace, wait for the log's writer, in case its disk hangs.
pub const TRACKING_PATIENCE: Duration = Duration::from_secs(2);

/// Decisions that have a place of their own in a line; recipients beyond share one.
pub const TRACKED_ALONE: usize = 16;

/// Octets of addresses and decisions in a line of the log. A message to 200 recipients with addresses
/// of usual length fits.
pub const TRACKED_LINE_OCTETS: usize = 12 * 1024;

/// Octets of one text in a line, a reply of a next hop for example. An address fits (RFC 5321
/// section 4.5.3.1, and local parts of 255 octets).
pub const TRACKED_TEXT_OCTETS: usize = 1024;

/// [`TRACKED_LINE_OCTETS`] for a source that has used up its share of the log.
pub const TRACKED_SHORT_OCTETS: usize = 384;

/// [`TRACKED_TEXT_OCTETS`] for the same.
pub const TRACKED_SHORT_TEXT_OCTETS: usize = 96;

/// Attempts of one message that are recorded whole. The lines of later ones are short.
pub const TRACKED_SHORT_ATTEMPTS: u32 = 8;

/// The part of the log's directory that one source fills with whole lines in
/// [`TRACKING_SOURCE_TIME`]: a hundredth, 10 MB by default.
pub const TRACKING_SOURCE_SHARE: u64 = 100;

/// The time in which a source may use up [`TRACKING_SOURCE_SHARE`].
pub const TRACKING_SOURCE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Sources whose share of the log is counted. One that is forgotten has its whole share again.
pub const TRACKING_SOURCES: usize = 16 * 1024;

/// Messages that are known to have short lines. Later lines of one that is forgotten are whole.
pub const TRACKING_SHORT_MESSAGES: usize = 64 * 1024;

/// The part of the log's directory that refusals fill at most: an eighth, 125 MB by default.
pub const TRACKING_REFUSALS_SHARE: u64 = 8;

/// How often the log says how many refusals it does not have one by one.
pub const TRACKING_SUMMARY: Duration = Duration::from_secs(60);

/// Messages that `relay trace` shows of a search, the newest ones.
pub const TRACE_MESSAGES: usize = 100;

/// Refusals that it shows of each kind, the newest ones.
pub const TRACE_REFUSALS: usize = 200;

/// Octets that are read at once of a file that is searched.
pub const TRACKING_READ_OCTETS: usize = 256 * 1024;

/// Octets at the end of a file in which its last line is looked for. Two lines of the longest kind
/// fit.
pub const TRACKING_TAIL_OCTETS: u64 = 64 * 1024;

/// Octets of a line that is searched. Nobody writes longer ones; one is passed over.
pub const TRACKING_LINE_OCTETS: usize = 4 * 1024 * 1024;
