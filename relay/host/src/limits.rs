//! The bounds of this crate: unit, source, and what happens at each.

use std::time::Duration;

// Recipients. Our own bounds.

/// How often a full table is searched for entries whose time is over. Each look is at all of them.
pub const FADING_SWEEP: Duration = Duration::from_secs(1);
