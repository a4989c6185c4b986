//! Why is a line no command of ours, and which reply does the client get?

use relay_mail::path::AddressError;
use relay_mail::reply::{self, Reply};

use crate::command::Verb;

/// Why a line is no command of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An argument after a command without arguments, or none after one that needs it.
    #[error("{verb} has the wrong arguments")]
    Arguments {
        /// The verb.
        verb: Verb,
    },
    /// BDAT without a valid size: the end of its octets is not known.
    #[error("BDAT does not say how many octets follow")]
    ChunkSize,
    /// A message of an AUTH exchange that is not in base64.
    #[error("the response is not in base64")]
    Base64,
    /// A message of an AUTH exchange that is invalid for its mechanism.
    #[error("{0}")]
    Sasl(&'static str),
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A parameter with a malformed or repeated keyword, or a malformed value.
    #[error("the parameter {keyword} is malformed or repeated")]
    Parameter {
        /// The verb.
        verb: Verb,
        /// The parameter's keyword.
        keyword: String,
    },
    /// RCPT with a malformed path.
    #[error("the recipient is invalid: {0}")]
    Recipient(AddressError),
    /// MAIL with a malformed path.
    #[error("the sender is invalid: {0}")]
    Sender(AddressError),
    /// A parameter, or a value of one, that we do not offer.
    #[error("the parameter {parameter} is not supported")]
    UnsupportedParameter {
        /// The verb.
        verb: Verb,
        /// The keyword, with its value if the value is not supported.
        parameter: String,
    },
    /// A verb that we do not know.
    #[error("the verb is not known")]
    Verb,
}

impl CommandError {
    /// The verb at the beginning of the line, for logs; `?` if it is not known.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Arguments { verb } => *verb,
            Self::Base64 | Self::Sasl(_) => Verb::Auth,
            Self::ChunkSize => Verb::Bdat,
            Self::NotUtf8 | Self::Verb => Verb::Unknown,
            Self::Sender(_) => Verb::Mail,
            Self::Recipient(_) => Verb::Rcpt,
            Self::Parameter { verb, .. } | Self::UnsupportedParameter { verb, .. } => *verb,
        }
    }

    /// The reply to the client.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Arguments { .. } | Self::ChunkSize | Self::Parameter { .. } => {
                reply::INVALID_ARGUMENTS
            }
            Self::Base64 | Self::Sasl(_) => reply::INVALID_RESPONSE,
            Self::NotUtf8 => reply::INVALID_CHARACTER,
            Self::Recipient(_) => reply::INVALID_RECIPIENT,
            Self::Sender(_) => reply::INVALID_SENDER,
            Self::UnsupportedParameter { .. } => reply::UNSUPPORTED_PARAMETER,
            Self::Verb => reply::UNRECOGNIZED_COMMAND,
        }
    }
}
