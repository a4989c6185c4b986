//! The bounds of the message tracking log: unit, source, and effect of each.

use std::time::Duration;

/// Octets of one file of the log: the default of `max_file_size`, as in Exchange.
pub const TRACKING_FILE_OCTETS: u64 = 10 * 1024 * 1024;

/// Octets of all its files: the default of `max_directory_size`, as in Exchange.
pub const TRACKING_DIRECTORY_OCTETS: u64 = 1000 * 1024 * 1024;

/// Minimum of `max_file_size`, in octets: about a hundred messages.
pub const TRACKING_FILE_LEAST: u64 = 64 * 1024;

/// Longest time for which a file is written, so that the files of quiet hosts expire too; and how
/// often old files are removed.
pub const TRACKING_FILE_TIME: Duration = Duration::from_secs(60 * 60);

/// Octets of memory of events that wait for the log, counted as `tracking::Event::octets` counts
/// them: about a second of the highest load of a core. Further events are dropped and counted.
pub const TRACKING_PENDING_OCTETS: usize = 16 * 1024 * 1024;

/// How long the writer collects events, so that it wakes a few times a second and not for each
/// event.
pub const TRACKING_GATHER: Duration = Duration::from_millis(20);

/// Octets of one write.
pub const TRACKING_WRITE_OCTETS: usize = 256 * 1024;

/// How often the log is tried again after an error.
pub const TRACKING_RETRY: Duration = Duration::from_secs(1);

/// How long the end of the daemon, and a trace, wait for the writer, in case its disk does not
/// answer.
pub const TRACKING_PATIENCE: Duration = Duration::from_secs(2);

/// Decisions with an entry of their own in a line; further recipients share one.
pub const TRACKED_ALONE: usize = 16;

/// Octets of addresses and decisions in a line of the log. Enough for a message to 200 recipients
/// with addresses of usual length.
pub const TRACKED_LINE_OCTETS: usize = 12 * 1024;

/// Octets of one text in a line, for example a reply of a next hop. Enough for an address (RFC 5321
/// section 4.5.3.1, and local parts of 255 octets).
pub const TRACKED_TEXT_OCTETS: usize = 1024;

/// [`TRACKED_LINE_OCTETS`] for a source that has used up its share of the log.
pub const TRACKED_SHORT_OCTETS: usize = 384;

/// [`TRACKED_TEXT_OCTETS`] for the same.
pub const TRACKED_SHORT_TEXT_OCTETS: usize = 96;

/// Attempts of one message with full lines. The lines of later attempts are short.
pub const TRACKED_SHORT_ATTEMPTS: u32 = 8;

/// The part of the log's directory that one source may fill with full lines in
/// [`TRACKING_SOURCE_TIME`]: a hundredth, 10 MB by default.
pub const TRACKING_SOURCE_SHARE: u64 = 100;

/// The time in which a source may use up [`TRACKING_SOURCE_SHARE`].
pub const TRACKING_SOURCE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Sources whose share of the log is counted. A forgotten source has its full share again.
pub const TRACKING_SOURCES: usize = 16 * 1024;

/// Messages that are known to have short lines. Later lines of a forgotten message are full.
pub const TRACKING_SHORT_MESSAGES: usize = 64 * 1024;

/// The part of the log's directory that refusals may fill: an eighth, 125 MB by default.
pub const TRACKING_REFUSALS_SHARE: u64 = 8;

/// How often the log has the number of refusals without a record of their own.
pub const TRACKING_SUMMARY: Duration = Duration::from_secs(60);

/// Messages that `relay trace` shows of a search: the newest.
pub const TRACE_MESSAGES: usize = 100;

/// Refusals of each kind that `relay trace` shows: the newest.
pub const TRACE_REFUSALS: usize = 200;

/// Octets of one read of a searched file.
pub const TRACKING_READ_OCTETS: usize = 256 * 1024;

/// Octets at the end of a file in which the last line is searched. Enough for two lines of the
/// longest kind.
pub const TRACKING_TAIL_OCTETS: u64 = 64 * 1024;

/// Octets of a searched line. The daemon writes no longer lines; longer ones are skipped.
pub const TRACKING_LINE_OCTETS: usize = 4 * 1024 * 1024;
