//! The verbs of the commands that we know, and the names for records without a verb.

use std::fmt;

macro_rules! verbs {
    ($($(#[$meta:meta])* $verb:ident = $name:literal,)*) => {
        /// The verb of a command; or the event of a reply, if no command was read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb {
            $($(#[$meta])* $verb,)*
        }

        impl Verb {
            /// Every verb and every event, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$verb,)*];

            /// The name in commands, in logs and in message tracking.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$verb => $name,)*
                }
            }
        }
    };
}

verbs! {
    /// The end of data, for DATA and for BDAT.
    EndOfData = ".",
    /// A line that is no command of ours.
    Unknown = "?",
    /// AUTH, and the responses of its exchange.
    Auth = "AUTH",
    /// BDAT.
    Bdat = "BDAT",
    /// The connection itself: the reply is the greeting, or replaces it.
    Connect = "CONNECT",
    /// DATA.
    Data = "DATA",
    /// EHLO.
    Ehlo = "EHLO",
    /// HELO.
    Helo = "HELO",
    /// HELP.
    Help = "HELP",
    /// MAIL.
    Mail = "MAIL",
    /// NOOP.
    Noop = "NOOP",
    /// QUIT.
    Quit = "QUIT",
    /// RCPT.
    Rcpt = "RCPT",
    /// RSET.
    Rset = "RSET",
    /// STARTTLS.
    StartTls = "STARTTLS",
    /// VRFY.
    Vrfy = "VRFY",
    /// XCLIENT.
    XClient = "XCLIENT",
}

impl Verb {
    /// The verb of a command line, in any case (RFC 5321 section 2.4); [`Verb::Unknown`] for every
    /// other word.
    pub fn of_word(word: &str) -> Self {
        let is_word = |verb: &&Self| verb.is_command() && verb.name().eq_ignore_ascii_case(word);
        Self::ALL.iter().find(is_word).copied().unwrap_or(Self::Unknown)
    }

    /// Can a client send it as a command? Not the connection, the end of data and unknown lines.
    pub const fn is_command(self) -> bool {
        !matches!(self, Self::Connect | Self::EndOfData | Self::Unknown)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_its_verb_in_any_case() {
        for &verb in Verb::ALL {
            let expected = if verb.is_command() { verb } else { Verb::Unknown };
            assert_eq!(Verb::of_word(verb.name()), expected);
            assert_eq!(Verb::of_word(&verb.name().to_ascii_lowercase()), expected);
        }
        assert_eq!(Verb::of_word("MAI"), Verb::Unknown);
        assert_eq!(Verb::of_word(""), Verb::Unknown);
    }
}
