//! Recognizes lines of other protocols, after which no line is a command.
//!
//! A browser, or a server that fetches URLs for others, may connect from an address that a
//! connector trusts. An attacker who chooses its request puts an SMTP transaction into the body.
//! The lines before that body reveal it: a request line, a header field, the verb of another
//! protocol. This module recognizes such lines; [`crate::line`] recognizes first octets without a
//! whole line. The session ends at such a line, in any state.
//!
//! Postfix does the same for CONNECT, GET, POST, for lines that do not begin with a letter and for
//! header fields (`smtpd_forbidden_commands`).

/// Verbs that do not belong to SMTP. An HTTP request usually has a version; some old clients and
/// proxies omit it.
const VERBS: &[(&str, &str)] = &[
    ("CONNECT", "HTTP"),
    ("COPY", "HTTP"),
    ("DELETE", "HTTP"),
    ("GET", "HTTP"),
    ("HEAD", "HTTP"),
    ("LOCK", "HTTP"),
    ("MKCOL", "HTTP"),
    ("MOVE", "HTTP"),
    ("OPTIONS", "HTTP"),
    ("PATCH", "HTTP"),
    ("POST", "HTTP"),
    // The connection preface of HTTP/2 (RFC 9113 section 3.4).
    ("PRI", "HTTP"),
    ("PROPFIND", "HTTP"),
    ("PROPPATCH", "HTTP"),
    ("PUT", "HTTP"),
    ("TRACE", "HTTP"),
    ("UNLOCK", "HTTP"),
    ("DESCRIBE", "RTSP"),
    ("INVITE", "SIP"),
    ("REGISTER", "SIP"),
    // curl sends it for dict:// URLs, before a word that an attacker chose.
    ("CLIENT", "DICT"),
    ("PASS", "FTP or POP3"),
    ("USER", "FTP or POP3"),
    ("NICK", "IRC"),
    ("CONFIG", "Redis"),
    ("EVAL", "Redis"),
    ("FLUSHALL", "Redis"),
    ("SLAVEOF", "Redis"),
];

/// Protocols whose request lines end with their name and a version.
const VERSIONED: &[&str] = &["HTTP/", "RTSP/", "SIP/", "ICAP/"];

/// The protocol of this line, for the log. `None`: it may be a command, or an error in one.
pub fn other_protocol(line: &[u8]) -> Option<&'static str> {
    let mut words = line.split(|octet| b" \t".contains(octet)).filter(|word| !word.is_empty());
    let first = words.next()?;
    let named = VERBS.iter().find(|(verb, _)| first.eq_ignore_ascii_case(verb.as_bytes()));
    if let Some((_, protocol)) = named {
        return Some(protocol);
    }
    if is_field_name(first) {
        return Some("a message or HTTP, by its header field");
    }
    let last = words.next_back()?;
    let version = VERSIONED.iter().find(|name| {
        let start = last.split_at_checked(name.len());
        start.is_some_and(|(start, version)| {
            start.eq_ignore_ascii_case(name.as_bytes())
                && version.first().is_some_and(u8::is_ascii_digit)
        })
    });
    version.map(|name| name.trim_end_matches('/'))
}

/// Is the first word the name of a header field with its colon? No verb has a colon.
fn is_field_name(word: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', word) else { return false };
    let name = &word[..colon];
    !name.is_empty()
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet))
}

#[cfg(test)]
mod tests {
    use crate::foreign::*;

    #[test]
    fn lines_of_other_protocols() {
        for line in [
            "POST / HTTP/1.1",
            "get /",
            "PRI * HTTP/2.0",
            "  TRACE\t/ HTTP/1.1",
            "EHLO / HTTP/1.1",
            "MAIL /x HTTP/1.1 ",
            "FOO sip:x@y SIP/2.0",
            "OPTIONS rtsp://x RTSP/1.0",
            "Host: relay.example:25",
            "Referer:http://x/",
            "X-Forwarded-For: 1",
            "content-type:",
            "USER anonymous",
            "CLIENT libcurl 8.0",
        ] {
            assert!(other_protocol(line.as_bytes()).is_some(), "{line}");
        }
    }

    #[test]
    fn lines_that_may_be_meant_for_us() {
        for line in [
            "",
            "EHLO [IPv6:2001:db8::1]",
            "EHLO HTTP",
            "HELO HTTP/",
            "MAIL FROM:<a@b.example>",
            "RCPT TO : <a@b.example>",
            "MAIL  FROM:<HTTP/1.1@b.example>",
            "NOOP Host: x",
            "AUTH PLAIN AGEAYg==",
            "USERS",
            "GETS",
            "FOO",
            ":",
        ] {
            assert_eq!(other_protocol(line.as_bytes()), None, "{line}");
        }
    }
}
