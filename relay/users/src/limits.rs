//! The bounds of users and their secrets: unit, source, and effect of each.

// Users.

/// Memory of a new password hash in KiB. Together with [`PASSWORD_PASSES`], OWASP's recommendation
/// for Argon2id: 19 MiB, 2 passes, 1 lane.
pub const PASSWORD_MEMORY_KIBIBYTES: u32 = 19 * 1024;

/// Passes over this memory.
pub const PASSWORD_PASSES: u32 = 2;

/// Most memory in KiB of a hash, with up to `relay_server::limits::PASSWORD_CHECKS` at once. Beyond
/// it the users file is refused.
pub const PASSWORD_MEMORY_MOST: u32 = 256 * 1024;

/// Octets of a new salt. RFC 9106 section 3.1 recommends 16.
pub const SALT_OCTETS: usize = 16;

/// Iterations of new SCRAM credentials. RFC 7677 section 4 demands at least 4096; more iterations
/// make guessing more expensive. Cyrus SASL, which Postfix and many clients use, refuses more than
/// this and then uses no other mechanism.
pub const SCRAM_ITERATIONS: u32 = 65_536;

/// Fewest iterations that are accepted. RFC 7677 section 4.
pub const SCRAM_ITERATIONS_LEAST: u32 = 4096;

/// Most accepted iterations: about a second of a client's time. More than [`SCRAM_ITERATIONS`]
/// cause a warning.
pub const SCRAM_ITERATIONS_MOST: u32 = 10_000_000;

/// Longest salt of SCRAM credentials in octets: a challenge must fit a reply line.
pub const SCRAM_SALT_MOST: usize = 64;

/// Octets of the users file's secret, at least.
pub const SECRET_OCTETS: usize = 32;
