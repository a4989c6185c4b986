//! A stream as an input contains its own cuts.

/// The octet between two pieces. It does not occur in UTF-8, and for each parser of a stream it
/// would be an ordinary octet.
pub const CUT: u8 = 0xff;

/// The pieces of an input, in order; empty ones are pieces too.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|&octet| octet == CUT)
}

/// The input without its cuts.
pub fn whole(input: &[u8]) -> Vec<u8> {
    input.iter().copied().filter(|&octet| octet != CUT).collect()
}
