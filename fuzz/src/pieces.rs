//! An input that is a stream says itself where it is cut.

/// Stands between two pieces. No UTF-8 holds it, and to every reader of a stream it would be an
/// octet like any other.
pub const CUT: u8 = 0xff;

/// The pieces of an input, in order; empty ones are pieces too.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|&octet| octet == CUT)
}

/// The input without its cuts.
pub fn whole(input: &[u8]) -> Vec<u8> {
    input.iter().copied().filter(|&octet| octet != CUT).collect()
}
