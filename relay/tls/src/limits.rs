//! The bounds of certificates: unit, source, and what happens at each.

// Connections. Our own bounds.

/// Host names of a client's certificate that are looked at. A server has few; the rest is ignored.
pub const CERTIFICATE_NAMES: usize = 100;

/// Time before the end of a certificate from which on it is warned of, in seconds.
pub const CERTIFICATE_WARNING: i64 = 30 * 24 * 60 * 60;
