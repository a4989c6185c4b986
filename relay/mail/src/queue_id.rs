//! The name of one accepted message: unique over restarts, sorted by arrival, easy to say aloud.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits below the milliseconds: about a million messages in each.
const COUNTER_BITS: u32 = 20;
/// Characters of an id as text: 64 bits, five to a character.
const TEXT_LENGTH: usize = 13;
/// Crockford's base 32: no I, L, O or U, so that an id survives being read over a telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The name of one message, unique as long as logs exist. The 250 to the end of data contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(u64);

/// Why a text is not a queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id has {TEXT_LENGTH} characters of 0-9 and A-Z without U, as in 0D5Z8K3J00001")]
pub struct InvalidQueueId;

impl QueueId {
    /// Octets of the id as text.
    pub const TEXT_OCTETS: usize = TEXT_LENGTH;

    /// The id with this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The first id of a millisecond, counted from 1970.
    pub const fn first_of(milliseconds: u64) -> Self {
        Self(milliseconds << COUNTER_BITS)
    }

    /// The number of the id.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The time from which the id was made, in milliseconds since 1970. Ids never decrease, so this
    /// can be later than the clock was.
    pub const fn milliseconds(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LENGTH];
        for (position, character) in text.iter_mut().rev().enumerate() {
            let digit = (self.0 >> (5 * position)) & 31;
            *character = ALPHABET[digit as usize];
        }
        // The alphabet is ASCII, so this is never the error case.
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Upper or lower case; I and L are read as 1, O as 0, as Crockford specifies.
impl FromStr for QueueId {
    type Err = InvalidQueueId;

    fn from_str(text: &str) -> Result<Self, InvalidQueueId> {
        if text.len() != TEXT_LENGTH {
            return Err(InvalidQueueId);
        }
        let mut number: u64 = 0;
        for character in text.bytes() {
            let canonical = match character.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            };
            let digit = ALPHABET.iter().position(|&c| c == canonical).ok_or(InvalidQueueId)?;
            // Thirteen characters carry 65 bits; the first may therefore only be 0 to F.
            if number >> (u64::BITS - 5) != 0 {
                return Err(InvalidQueueId);
            }
            number = (number << 5) | digit as u64;
        }
        Ok(Self(number))
    }
}

/// Serialized as its text.
impl Serialize for QueueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_back(number: u64) {
            let id = QueueId::from_u64(number);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,20}") {
            if let Ok(id) = text.parse::<QueueId>() {
                prop_assert_eq!(id.to_string().len(), TEXT_LENGTH);
            }
        }
    }

    #[test]
    fn sixty_five_bits_are_refused() {
        assert_eq!("FZZZZZZZZZZZZ".parse(), Ok(QueueId(u64::MAX)));
        assert_eq!("G000000000000".parse::<QueueId>(), Err(InvalidQueueId));
    }

    #[test]
    fn confusable_letters_are_understood() {
        assert_eq!("oooooooooooIl".parse(), Ok(QueueId(33)));
        assert_eq!("000000000000U".parse::<QueueId>(), Err(InvalidQueueId));
    }
}
