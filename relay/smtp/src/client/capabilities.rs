//! The extensions of a next hop in its reply to EHLO (RFC 5321 section 4.1.1.1).

/// The extensions that we make use of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// SIZE (RFC 1870).
    pub size: Option<SizeLimit>,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954).
    pub auth: Mechanisms,
}

/// The meaning of SIZE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLimit {
    /// The parameter is understood; no maximum is named.
    Unknown,
    /// No message above this many octets.
    Octets(u64),
}

/// The mechanisms that a next hop offers and that we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN (RFC 4616).
    pub plain: bool,
    /// LOGIN, which no RFC describes and most servers offer.
    pub login: bool,
    /// XOAUTH2.
    pub xoauth2: bool,
}

impl Mechanisms {
    /// Reads the mechanisms after AUTH in the reply to EHLO.
    fn add<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            match word.to_ascii_uppercase().as_str() {
                "PLAIN" => self.plain = true,
                "LOGIN" => self.login = true,
                "XOAUTH2" => self.xoauth2 = true,
                _ => {}
            }
        }
    }
}

impl Capabilities {
    /// Reads the text of a 250 to EHLO. Unknown or malformed keywords are ignored: a next hop that
    /// offers too little is only used with fewer extensions.
    pub fn parse(text: &str) -> Self {
        let mut capabilities = Self::default();
        // The first line is the next hop's name and its greeting.
        for line in text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            // Before RFC 2554 it was `AUTH=` and the first mechanism; some servers list both.
            if let Some(("AUTH", first)) = keyword.to_ascii_uppercase().split_once('=') {
                capabilities.auth.add(std::iter::once(first).chain(words));
                continue;
            }
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => capabilities.pipelining = true,
                "8BITMIME" => capabilities.eight_bit_mime = true,
                "CHUNKING" => capabilities.chunking = true,
                "BINARYMIME" => capabilities.binary_mime = true,
                "DSN" => capabilities.dsn = true,
                "SMTPUTF8" => capabilities.smtputf8 = true,
                "STARTTLS" => capabilities.starttls = true,
                "AUTH" => capabilities.auth.add(words),
                "SIZE" => {
                    let octets = words.next().and_then(|word| word.parse().ok());
                    // RFC 1870 section 4: zero means that no maximum is in force.
                    capabilities.size = Some(match octets {
                        None | Some(0) => SizeLimit::Unknown,
                        Some(octets) => SizeLimit::Octets(octets),
                    });
                }
                _ => {}
            }
        }
        capabilities
    }

    /// May a message be sent by BDAT? Chunks follow each other without a pause, which needs
    /// PIPELINING.
    pub fn takes_chunks(&self) -> bool {
        self.chunking && self.pipelining
    }
}

#[cfg(test)]
mod tests {
    use crate::client::capabilities::*;

    #[test]
    fn keywords_in_any_case_and_order() {
        let text = "mx greets you\nsize 1000\nPipelining\n8bitmime\nX-ODD thing\nSMTPUTF8\n\
                    Dsn\nChunking\nBINARYMIME\nStartTLS\nAUTH login CRAM-MD5 Plain\n";
        let expected = Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            chunking: true,
            binary_mime: true,
            dsn: true,
            smtputf8: true,
            size: Some(SizeLimit::Octets(1000)),
            starttls: true,
            auth: Mechanisms { plain: true, login: true, xoauth2: false },
        };
        assert_eq!(Capabilities::parse(text), expected);
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Capabilities::parse("PIPELINING\n"), Capabilities::default());
    }

    #[test]
    fn mechanisms_in_the_old_spelling_and_in_both() {
        for (lines, plain, login) in [
            ("AUTH=PLAIN LOGIN", true, true),
            ("auth=login", false, true),
            ("AUTH PLAIN\nAUTH=LOGIN", true, true),
            ("AUTH=", false, false),
        ] {
            let expected = Mechanisms { plain, login, xoauth2: false };
            assert_eq!(Capabilities::parse(&format!("mx\n{lines}\n")).auth, expected, "{lines}");
        }
    }

    #[test]
    fn sizes_that_say_nothing() {
        for line in ["SIZE", "SIZE 0", "SIZE many", "SIZE 99999999999999999999999"] {
            let size = Capabilities::parse(&format!("mx\n{line}")).size;
            assert_eq!(size, Some(SizeLimit::Unknown), "{line}");
        }
    }
}
