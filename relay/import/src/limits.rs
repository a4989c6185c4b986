//! The bounds of an import and its verification: unit, source, and effect of each.

/// Random addresses of one verification, for each binding, beside the edges of ranges. Our own:
/// many more than a typical export has ranges, and less than a second of work.
pub const RANDOM_ADDRESSES: usize = 4096;

/// Differences that a verification lists. Further ones are counted only. Our own.
pub const DIFFERENCES_LISTED: usize = 100;

/// Largest file of an export in octets. Our own: an export of a hundred connectors with all
/// bookkeeping has a few megabytes. A larger file is not read.
pub const EXPORT_OCTETS: u64 = 64 * 1024 * 1024;

/// Levels of objects within objects that a value of Clixml may have. Our own: Export-Clixml writes two
/// levels unless it is told otherwise, and a range in a list is one. `Ref` could make circles.
pub const CLIXML_DEPTH: usize = 16;

/// Elements of values that are read from a file of Clixml, each counted as often as `Ref` names it.
/// Our own: more than an export of [`EXPORT_OCTETS`] has.
pub const CLIXML_ELEMENTS: usize = 4_000_000;
