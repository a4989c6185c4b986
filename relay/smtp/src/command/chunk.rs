//! How many octets follow a BDAT line (RFC 3030)?

use crate::command::Verb;
use crate::limits::COMMAND_LINE_OCTETS;

/// The arguments of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command line.
    pub octets: u64,
    /// They are the last of the message.
    pub last: bool,
}

impl Chunk {
    /// `BDAT SP chunk-size [ SP end-marker ]` of RFC 3030 section 2, with exactly one space each
    /// and nothing before the verb: if two servers read the size differently, one of them reads
    /// content as commands. The caller has removed blanks at the end, which do not change the size.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, argument) = line.split_at_checked(Verb::Bdat.name().len())?;
        let argument = argument.strip_prefix(' ')?;
        let (size, last) = match argument.split_once(' ') {
            None => (argument, false),
            Some((size, marker)) if marker.eq_ignore_ascii_case("LAST") => (size, true),
            Some(_) => return None,
        };
        parse_size(Some(size)).map(|octets| Self { octets, last })
    }
}

/// Was this line meant as BDAT, also for a server that drops forbidden octets, or by a client that
/// writes no blank? If such a line is refused, the octets of the chunk follow nevertheless, so no
/// command may follow it. The answer does not depend on how many octets of the line have arrived.
pub fn begins_chunk(line: &[u8]) -> bool {
    let octets = line[..line.len().min(COMMAND_LINE_OCTETS)].iter();
    let seen = octets.filter(|octet| !b"\0\r".contains(octet));
    let verb = seen.skip_while(|octet| octet.is_ascii_whitespace()).take(4);
    verb.map(u8::to_ascii_uppercase).eq(*b"BDAT")
}

/// `size-value` of RFC 1870 section 4: up to 20 digits; a value beyond 64 bits is an error, never
/// another number.
pub(super) fn parse_size(value: Option<&str>) -> Option<u64> {
    let digits = value.filter(|value| value.bytes().all(|octet| octet.is_ascii_digit()))?;
    digits.parse().ok().filter(|_| digits.len() <= 20)
}
