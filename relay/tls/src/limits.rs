//! The bounds of certificates: unit, source, and effect of each.

// Connections. Our own bounds.

/// Host names of a client's certificate that are read. A server has few; the rest is ignored.
pub const CERTIFICATE_NAMES: usize = 100;

/// Time before the expiry of a certificate from which on a warning is logged, in seconds.
pub const CERTIFICATE_WARNING: i64 = 30 * 24 * 60 * 60;
