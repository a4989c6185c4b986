//! The name of a user.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::USER_NAME_OCTETS;

/// The name of a user: prepared with SASLprep (RFC 4013), as RFC 4616 and RFC 5802 require for
/// comparisons, and in lower case, as Exchange compares names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

/// Why a text is not a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// The prepared name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name has a character that SASLprep prohibits.
    #[error("the name has a character that is not allowed")]
    Prohibited,
    /// It is longer than [`USER_NAME_OCTETS`].
    #[error("the name is longer than {USER_NAME_OCTETS} octets")]
    TooLong,
}

impl UserName {
    /// The name, folded.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > USER_NAME_OCTETS {
            return Err(UserNameError::TooLong);
        }
        let prepared = stringprep::saslprep(text).map_err(|_| UserNameError::Prohibited)?;
        let folded = prepared.trim().to_lowercase();
        match folded.len() {
            0 => Err(UserNameError::Empty),
            octets if octets > USER_NAME_OCTETS => Err(UserNameError::TooLong),
            _ => Ok(Self(folded.into())),
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::user_name::*;

    fn name(text: &str) -> Result<String, UserNameError> {
        text.parse().map(|name: UserName| name.to_string())
    }

    #[test]
    fn names_are_compared_in_prepared_form() {
        assert_eq!(name("Alice"), Ok("alice".to_owned()));
        assert_eq!(name("JOS\u{c9}"), name("jose\u{301}"), "composed and decomposed");
        assert_eq!(name("I\u{ad}X"), Ok("ix".to_owned()), "RFC 4013 section 3, the soft hyphen");
        assert_eq!(name("\u{2168}"), Ok("ix".to_owned()), "RFC 4013 section 3, Roman nine");
        assert_eq!(name("scan@contoso.example"), Ok("scan@contoso.example".to_owned()));
    }

    #[test]
    fn invalid_names_are_refused() {
        assert_eq!(name(""), Err(UserNameError::Empty));
        assert_eq!(name("\u{ad} "), Err(UserNameError::Empty));
        assert_eq!(name("a\0b"), Err(UserNameError::Prohibited));
        assert_eq!(name("a\r\nb"), Err(UserNameError::Prohibited));
        assert_eq!(name("\u{627}1"), Err(UserNameError::Prohibited), "RFC 4013 section 3, bidi");
        assert_eq!(name(&"a".repeat(USER_NAME_OCTETS + 1)), Err(UserNameError::TooLong));
        assert!(name(&"a".repeat(USER_NAME_OCTETS)).is_ok());
    }
}
