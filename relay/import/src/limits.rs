//! The bounds of an import and its verification: unit, source, and effect of each.

/// Random addresses of one verification, for each binding, beside the edges of ranges. Our own:
/// many more than a typical export has ranges, and less than a second of work.
pub const RANDOM_ADDRESSES: usize = 4096;

/// Differences that a verification lists. Further ones are counted only. Our own.
pub const DIFFERENCES_LISTED: usize = 100;

/// Largest file of an export in octets. Our own: an export of a hundred connectors with all
/// bookkeeping has a few megabytes. A larger file is not read.
pub const EXPORT_OCTETS: u64 = 64 * 1024 * 1024;
