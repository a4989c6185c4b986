//! Every reply that we send, as one table: code, enhanced code, text.
//!
//! Texts are Exchange's where a source shows them, since clients search for `5.7.54`. Reply texts
//! are in this file only.

use std::borrow::Cow;
use std::fmt;

use crate::limits::REPLY_LINE_OCTETS;

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// One reply: of ours, or of a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced status code, if the reply has one.
    pub enhanced: Option<Enhanced>,
    /// The text. A line break in it makes a reply of several lines.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply whose text is fixed.
    pub const fn new(code: u16, enhanced: Option<Enhanced>, text: &'static str) -> Self {
        Self { code, enhanced, text: Cow::Borrowed(text) }
    }

    /// The same reply with another text.
    pub fn with_text(&self, text: impl Into<String>) -> Self {
        Self { text: Cow::Owned(text.into()), ..*self }
    }

    /// The same reply, without its enhanced code if the connector disables these codes.
    pub fn with_enhanced_codes(&self, has_codes: bool) -> Self {
        Self { enhanced: self.enhanced.filter(|_| has_codes), ..self.clone() }
    }

    /// Appends the reply in its wire form: a line for each line of the text, the enhanced code on
    /// each (RFC 2034 section 4). A line is cut at [`REPLY_LINE_OCTETS`], and a character that is
    /// not printable ASCII becomes a question mark. So no text, of any origin, can add a line.
    ///
    /// ```
    /// use relay_mail::reply::{Enhanced, Reply};
    ///
    /// let reply = Reply::new(550, Some(Enhanced(5, 7, 54)), "No relaying\r250 accepted\nAsk your provider");
    /// let mut wire = Vec::new();
    /// reply.encode(&mut wire);
    /// // Each line has the code, and a control character is no line end.
    /// let expected = "550-5.7.54 No relaying?250 accepted\r\n550 5.7.54 Ask your provider\r\n";
    /// assert_eq!(wire, expected.as_bytes());
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        let enhanced = self.enhanced.map(|enhanced| format!("{enhanced} ")).unwrap_or_default();
        let mut lines = self.text.lines().peekable();
        let mut line = lines.next().unwrap_or_default();
        loop {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            let start = out.len();
            out.extend(format!("{}{separator}{enhanced}", self.code).bytes());
            let room = (start + REPLY_LINE_OCTETS - 2).saturating_sub(out.len());
            let printable =
                |character| if matches!(character, ' '..='~') { character } else { '?' };
            out.extend(line.chars().take(room).map(|character| printable(character) as u8));
            out.extend(b"\r\n");
            match lines.next() {
                Some(next) => line = next,
                None => return,
            }
        }
    }

    /// 2yz or 3yz.
    pub const fn is_positive(&self) -> bool {
        self.code < 400
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The reply on one line, for logs and `explain`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.lines() {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

macro_rules! replies {
    ($($(#[$meta:meta])* $name:ident = $code:literal $(($class:literal, $subject:literal, $detail:literal))?, $text:literal;)*) => {
        $($(#[$meta])* pub const $name: Reply = Reply::new($code, replies!(@enhanced $($class, $subject, $detail)?), $text);)*
        /// The whole table, by name, for tests and documentation.
        pub const TABLE: &[(&str, Reply)] = &[$((stringify!($name), $name)),*];
    };
    (@enhanced) => { None };
    (@enhanced $class:literal, $subject:literal, $detail:literal) => { Some(Enhanced($class, $subject, $detail)) };
}

replies! {
    /// The greeting; the text is the connector's banner or `<fqdn> ESMTP`.
    GREETING = 220, "ESMTP";
    /// STARTTLS accepted.
    START_TLS = 220 (2, 0, 0), "SMTP server ready";
    /// QUIT.
    CLOSING = 221 (2, 0, 0), "Service closing transmission channel";
    /// HELO or EHLO; the text consists of the host name, the client's address and the keywords.
    HELLO = 250, "Hello";
    /// MAIL accepted.
    SENDER_OK = 250 (2, 1, 0), "Sender OK";
    /// RCPT accepted.
    RECIPIENT_OK = 250 (2, 1, 5), "Recipient OK";
    /// The message is on stable storage; the text carries the queue id.
    QUEUED = 250 (2, 6, 0), "Queued mail for delivery";
    /// BDAT, except the last; the text ends with the octets of the chunk.
    CHUNK_RECEIVED = 250 (2, 6, 0), "CHUNK received OK";
    /// RSET.
    RESETTING = 250 (2, 0, 0), "Resetting";
    /// NOOP.
    NOOP_OK = 250 (2, 0, 0), "OK";
    /// VRFY: RFC 5321 section 3.5.3.
    CANNOT_VERIFY = 252 (2, 1, 5), "Cannot VRFY user";
    /// HELP.
    HELP = 214 (2, 0, 0), "Commands: HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
    /// AUTH has succeeded.
    AUTHENTICATED = 235 (2, 7, 0), "Authentication successful";
    /// AUTH continues; the text is the challenge in base64.
    CHALLENGE = 334, "";
    /// DATA accepted.
    START_MAIL_INPUT = 354, "Start mail input; end with <CRLF>.<CRLF>";

    /// No connector matches, or its sources are refused.
    SERVICE_NOT_AVAILABLE = 421 (4, 3, 2), "Service not available";
    /// `MaxInboundConnection` is reached.
    TOO_MANY_CONNECTIONS = 421 (4, 3, 2), "The maximum number of concurrent server connections has exceeded a limit, closing transmission channel";
    /// `MaxInboundConnectionPerSource` is reached.
    TOO_MANY_CONNECTIONS_PER_SOURCE = 421 (4, 3, 2), "The maximum number of concurrent server connections has exceeded a per-source limit, closing transmission channel";
    /// Back pressure is High.
    SYSTEM_NOT_ACCEPTING = 421 (4, 3, 2), "Insufficient system resources, closing transmission channel";
    /// The daemon is shutting down.
    SHUTTING_DOWN = 421 (4, 3, 2), "Service shutting down, closing transmission channel";
    /// `ConnectionTimeout` is reached.
    CONNECTION_TIMED_OUT = 421 (4, 4, 1), "Connection timed out";
    /// `MessageRateLimit` is exceeded.
    MESSAGE_RATE_EXCEEDED = 421 (4, 4, 2), "Message submission rate for this client has exceeded the configured limit";
    /// `MaxProtocolErrors`, `max_refused_recipients` or `USELESS_OCTETS` is reached.
    TOO_MANY_ERRORS = 421 (4, 7, 0), "Too many errors on this connection, closing transmission channel";
    /// `JUNK_COMMANDS` is reached.
    TOO_MANY_COMMANDS = 421 (4, 7, 0), "Too many commands without a message, closing transmission channel";
    /// `ConnectionInactivityTimeout` is reached.
    INACTIVITY_TIMEOUT = 451 (4, 7, 0), "Timeout waiting for client input";
    /// `RequireTLS` and no TLS.
    TLS_REQUIRED = 451 (5, 7, 3), "STARTTLS is required to send mail";
    /// TLS cannot be started now.
    TLS_NOT_AVAILABLE = 454 (4, 7, 0), "TLS not available due to temporary reason";
    /// A password cannot be compared now.
    AUTHENTICATION_UNAVAILABLE = 454 (4, 7, 0), "Temporary authentication failure";
    /// The message could not be written to stable storage.
    NOT_STORED = 451 (4, 3, 0), "Message could not be stored, try again later";
    /// Disk, queue or memory is short.
    INSUFFICIENT_RESOURCES = 452 (4, 3, 1), "Insufficient system resources";
    /// It is not known whether the recipient exists.
    RECIPIENT_UNVERIFIED = 451 (4, 4, 0), "Recipient could not be verified, try again later";
    /// `MaxRecipientsPerMessage` is reached.
    TOO_MANY_RECIPIENTS = 452 (4, 5, 3), "Too many recipients";

    /// SPF is enforced and its records are not available now (RFC 7372 section 3.2).
    SPF_UNAVAILABLE = 451 (4, 7, 24), "SPF validation error, try again later";
    /// DKIM is enforced and its keys are not available now (RFC 7372 section 3.1).
    DKIM_UNAVAILABLE = 451 (4, 7, 20), "DKIM signatures could not be verified, try again later";
    /// DMARC is enforced and its record is not available now.
    DMARC_UNAVAILABLE = 451 (4, 7, 1), "DMARC policy could not be looked up, try again later";
    /// A block list is enforced and does not answer.
    BLOCK_LIST_UNAVAILABLE = 451 (4, 7, 1), "Client host could not be looked up in a block list, try again later";
    /// Rspamd is enforced and returns no verdict.
    RSPAMD_UNAVAILABLE = 451 (4, 7, 1), "Message could not be checked, try again later";
    /// Rspamd defers the message: the client must try again later.
    RSPAMD_DEFERRED = 451 (4, 7, 1), "Message is not accepted now, try again later";

    /// An unknown verb.
    UNRECOGNIZED_COMMAND = 500 (5, 3, 3), "Unrecognized command";
    /// A command line over the limit.
    LINE_TOO_LONG = 500 (5, 5, 2), "Command line too long";
    /// A line of an AUTH exchange over the limit.
    RESPONSE_TOO_LONG = 500 (5, 5, 6), "Authentication exchange line is too long";
    /// A line that ends with LF alone; the session ends.
    BARE_LF = 500 (5, 5, 2), "Lines must end with CRLF, and this one ends with LF alone, closing transmission channel";
    /// A line of HTTP or another protocol; the session ends.
    OTHER_PROTOCOL = 554 (5, 5, 1), "This is an SMTP server, and the last line is none of SMTP, closing transmission channel";
    /// A command line that holds a bare CR or a NUL, or is not UTF-8.
    INVALID_CHARACTER = 500 (5, 5, 2), "Command line holds a forbidden character";
    /// HELO or EHLO with a bad name.
    INVALID_DOMAIN_NAME = 501 (5, 5, 4), "Invalid domain name";
    /// A malformed argument.
    INVALID_ARGUMENTS = 501 (5, 5, 4), "Invalid arguments";
    /// MAIL with a malformed path.
    INVALID_SENDER = 501 (5, 1, 7), "Invalid address";
    /// `RejectReservedTopLevelRecipientDomains`.
    RESERVED_TOP_LEVEL_DOMAIN = 501 (5, 1, 4), "Recipient address reserved by RFC 2606";
    /// `RejectReservedSecondLevelRecipientDomains`.
    RESERVED_SECOND_LEVEL_DOMAIN = 501 (5, 1, 5), "Recipient address reserved by RFC 2606";
    /// `RejectSingleLabelRecipientDomains`.
    SINGLE_LABEL_DOMAIN = 501 (5, 1, 6), "Recipient addresses in single label domains not accepted";
    /// RCPT with a malformed path.
    INVALID_RECIPIENT = 501 (5, 1, 3), "Invalid address";
    /// A message of an AUTH exchange that is not base64, or not in the mechanism's form.
    INVALID_RESPONSE = 501 (5, 5, 2), "Invalid authentication response";
    /// The client has cancelled an AUTH exchange.
    AUTHENTICATION_CANCELLED = 501 (5, 7, 0), "Authentication cancelled";
    /// MAIL, RCPT or AUTH before HELO or EHLO.
    HELLO_FIRST = 503 (5, 5, 2), "Send hello first";
    /// MAIL while a transaction is open.
    SENDER_ALREADY_SPECIFIED = 503 (5, 5, 2), "Sender already specified";
    /// RCPT before MAIL.
    NEED_MAIL = 503 (5, 5, 2), "Need mail command";
    /// DATA before RCPT.
    NEED_RECIPIENT = 503 (5, 5, 2), "Need rcpt command";
    /// DATA after BODY=BINARYMIME (RFC 3030 section 3).
    BINARYMIME_NEEDS_BDAT = 503 (5, 5, 1), "BODY=BINARYMIME needs BDAT";
    /// AUTH with a mechanism that is not offered to this client now.
    UNRECOGNIZED_AUTHENTICATION = 504 (5, 7, 4), "Unrecognized authentication type";
    /// STARTTLS inside TLS, AUTH after AUTH, or one of them inside a transaction; DATA and BDAT in
    /// one message.
    BAD_SEQUENCE = 503 (5, 5, 1), "Bad sequence of commands";
    /// An unknown parameter of MAIL or RCPT, or an unsupported value.
    UNSUPPORTED_PARAMETER = 555 (5, 5, 4), "Unsupported parameter";
    /// The client is on a block list; the list's name follows.
    BLOCK_LISTED = 554 (5, 7, 1), "Client host is blocked";
    /// The sender's domain does not authorise the client (RFC 7372 section 3.2).
    SPF_FAILED = 550 (5, 7, 23), "SPF validation failed";
    /// No signature is valid (RFC 7372 section 3.1).
    NO_PASSING_DKIM = 550 (5, 7, 20), "No passing DKIM signature found";
    /// The policy of the domain in From rejects the message (RFC 7489 section 10.3); its name
    /// follows.
    DMARC_REJECTED = 550 (5, 7, 1), "Email rejected per DMARC policy";
    /// Rspamd refuses the message.
    RSPAMD_REJECTED = 554 (5, 7, 1), "Spam message rejected";
    /// Wrong credentials, or a user that lacks ms-Exch-SMTP-Submit.
    AUTHENTICATION_UNSUCCESSFUL = 535 (5, 7, 3), "Authentication unsuccessful";
    /// The principal lacks ms-Exch-SMTP-Submit.
    NOT_AUTHENTICATED = 530 (5, 7, 57), "SMTP; Client was not authenticated to send anonymous mail during MAIL FROM";
    /// The principal lacks ms-Exch-SMTP-Accept-Any-Recipient and the domain is not accepted.
    UNABLE_TO_RELAY = 550 (5, 7, 54), "SMTP; Unable to relay recipient in non-accepted domain";
    /// The server that owns the domain does not know the recipient.
    RECIPIENT_NOT_FOUND = 550 (5, 1, 10), "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup";
    /// The principal may not use this sender.
    MAY_NOT_SEND_AS = 550 (5, 7, 60), "SMTP; Client does not have permissions to send as this sender";
    /// The message has a bare CR, a bare LF or a NUL.
    BARE_LINE_ENDING = 550 (5, 6, 0), "Message holds a bare CR, a bare LF or a NUL";
    /// A non-ASCII address without SMTPUTF8 (RFC 6531 section 3.5).
    NEEDS_SMTPUTF8 = 553 (5, 6, 7), "Non-ASCII address without SMTPUTF8";
    /// `MaxMessageSize` is exceeded.
    MESSAGE_TOO_LARGE = 552 (5, 3, 4), "Message size exceeds fixed maximum message size";
    /// `MaxHeaderSize` is exceeded.
    HEADER_TOO_LARGE = 552 (5, 3, 4), "Header size exceeds fixed maximum size";
    /// `MaxHopCount` or `MaxLocalHopCount` is exceeded.
    HOP_COUNT_EXCEEDED = 554 (5, 4, 14), "Hop count exceeded - possible mail loop";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_has_only_the_lines_of_its_text() {
        assert_eq!(encoded(&NOOP_OK), "250 2.0.0 OK\r\n");
        assert_eq!(encoded(&HELLO.with_text("a\nSIZE\nHELP")), "250-a\r\n250-SIZE\r\n250 HELP\r\n");
        assert_eq!(encoded(&HELLO.with_text("")), "250 \r\n");
        assert_eq!(encoded(&NOOP_OK.with_text("a\rb\0é")), "250 2.0.0 a?b??\r\n");
        let long = encoded(&NOOP_OK.with_text("a".repeat(1000)));
        assert_eq!((long.len(), long.lines().count()), (REPLY_LINE_OCTETS, 1));
    }

    #[test]
    fn table_is_consistent() {
        for (name, reply) in TABLE {
            assert!((200..600).contains(&reply.code), "{name}");
            assert!(reply.text.is_ascii() && !reply.text.contains('\n'), "{name}");
            if let Some(Enhanced(class, ..)) = reply.enhanced {
                let digit = u16::from(class);
                // 451 5.7.3 is Exchange's own, observed.
                assert!(digit == reply.code / 100 || *name == "TLS_REQUIRED", "{name}");
            }
        }
    }
}
