//! The bounds of this crate: unit, source, and effect of each.

use std::time::Duration;

// Recipients. Our own bounds.

/// How often expired entries of a full table are removed. Each sweep visits all entries.
pub const FADING_SWEEP: Duration = Duration::from_secs(1);
