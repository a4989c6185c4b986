//! Our own trace field (RFC 5321 section 4.4).

use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use relay_connector::ClientAddress;
use relay_connector::Principal;
use relay_mail::hello::HelloName;
use relay_mail::path::MailHost;
use relay_mail::queue_id::QueueId;
use relay_mail::tls::TlsInfo;
use time::OffsetDateTime;

/// The contents of the field.
#[derive(Clone, Debug)]
pub struct ReceivedField<'x> {
    /// The client's name, which is not verified. If it gave none, its address replaces the name, as
    /// in RFC 5321 section 4.4 for clients without a domain.
    pub hello: &'x HelloName,
    /// Where it connects from.
    pub client: ClientAddress,
    /// The connector's `fqdn`.
    pub by: &'x str,
    /// The address it connected to.
    pub local: IpAddr,
    /// How the message was handed over.
    pub protocol: WithKeyword,
    /// The message's name in the queue.
    pub id: QueueId,
    /// The connector's name.
    pub connector: &'x str,
    /// The principal of the client.
    pub principal: Principal,
    /// The encryption, if any.
    pub tls: Option<&'x TlsInfo>,
    /// When the message began.
    pub at: SystemTime,
}

/// The `with` keywords that IANA registered for us: RFC 3848 and RFC 6531 section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithKeyword {
    /// HELO. There is no keyword for HELO within TLS; the comment shows the encryption.
    Smtp,
    /// EHLO.
    Esmtp,
    /// EHLO, and the client has authenticated.
    Esmtpa,
    /// EHLO within TLS.
    Esmtps,
    /// EHLO within TLS, and the client has authenticated.
    Esmtpsa,
    /// SMTPUTF8 was requested.
    Utf8Smtp,
    /// SMTPUTF8 was requested by a client that has authenticated.
    Utf8Smtpa,
    /// SMTPUTF8 was requested within TLS.
    Utf8Smtps,
    /// SMTPUTF8 was requested within TLS by a client that has authenticated.
    Utf8Smtpsa,
}

impl WithKeyword {
    /// The keyword.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
            Self::Esmtpa => "ESMTPA",
            Self::Esmtps => "ESMTPS",
            Self::Esmtpsa => "ESMTPSA",
            Self::Utf8Smtp => "UTF8SMTP",
            Self::Utf8Smtpa => "UTF8SMTPA",
            Self::Utf8Smtps => "UTF8SMTPS",
            Self::Utf8Smtpsa => "UTF8SMTPSA",
        }
    }
}

impl ReceivedField<'_> {
    /// The field with its CRLF: one clause per line, each far below the 998 octets of RFC 5322
    /// section 2.1.1, and below its 78 unless a name is very long.
    pub fn to_field(&self) -> Bytes {
        let Self { hello, by, id, principal, .. } = self;
        let client = MailHost::Address(self.client.ip());
        let hello = match hello.is_missing() {
            true => client.to_string(),
            false => hello.to_string(),
        };
        let local = MailHost::Address(self.local);
        let protocol = self.protocol.keyword();
        let connector = comment_text(self.connector);
        let tls = self.tls.map(|tls| format!(";\r\n\t {tls}")).unwrap_or_default();
        let date = date_time(self.at);
        Bytes::from(format!(
            "Received: from {hello} ({client})\r\n\
             \tby {by} ({local})\r\n\
             \twith {protocol} id {id}\r\n\
             \t(connector \"{connector}\", {principal}{tls});\r\n\
             \t{date}\r\n",
        ))
    }
}

/// A configured name as `ctext` of RFC 5322 section 3.2.2: it can end neither the comment nor the
/// line. A character beyond ASCII would need SMTPUTF8 on every later host, and becomes a question
/// mark.
fn comment_text(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '(' | ')' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text
}

/// `date-time` of RFC 5322 section 3.3, in UTC.
fn date_time(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    format!(
        "{:.3}, {:02} {month:.3} {} {:02}:{:02}:{:02} +0000",
        weekday,
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second(),
    )
}

/// A field as we write it, for the tests of its readers.
#[cfg(test)]
pub(super) fn example(by: &str) -> Bytes {
    let client = ClientAddress::from(IpAddr::from([10, 38, 97, 3]));
    let hello = &HelloName::read("by");
    let (protocol, id, connector) = (WithKeyword::Esmtp, QueueId::from_u64(1), "by other;");
    let (local, principal, at) = (client.ip(), Principal::Anonymous, SystemTime::UNIX_EPOCH);
    ReceivedField { hello, client, by, local, protocol, id, connector, principal, tls: None, at }
        .to_field()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use crate::received::*;

    fn field(connector: &str, tls: Option<&TlsInfo>) -> String {
        let received = ReceivedField {
            hello: &HelloName::read("scanner-3"),
            client: "::ffff:10.38.97.3".parse().unwrap(),
            by: "edge1.contoso.example",
            local: "2001:db8::25".parse().unwrap(),
            protocol: if tls.is_some() { WithKeyword::Esmtps } else { WithKeyword::Esmtp },
            id: QueueId::from_u64(1),
            connector,
            principal: Principal::Anonymous,
            tls,
            at: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        };
        String::from_utf8(received.to_field().to_vec()).unwrap()
    }

    #[test]
    fn names_connector_queue_id_and_tls() {
        assert_eq!(
            field("Scanners", None),
            "Received: from scanner-3 ([10.38.97.3])\r\n\
             \tby edge1.contoso.example ([IPv6:2001:db8::25])\r\n\
             \twith ESMTP id 0000000000001\r\n\
             \t(connector \"Scanners\", anonymous);\r\n\
             \tSun, 09 Sep 2001 01:46:40 +0000\r\n"
        );
        let tls = TlsInfo::new("TLS1.3", "TLS_AES_256_GCM_SHA384");
        let field = field("Scanners", Some(&tls));
        assert!(field.contains("with ESMTPS id "));
        assert!(field.contains("anonymous;\r\n\t TLS1.3 TLS_AES_256_GCM_SHA384);\r\n"));
    }

    #[test]
    fn a_name_cannot_leave_its_comment() {
        let field = field("a)\r\nX-Injected: (\\é\0", None);
        assert!(field.contains("(connector \"a\\)??X-Injected: \\(\\\\??\", anonymous);"));
        assert_eq!(field.lines().count(), 5);
    }

    #[test]
    fn other_parsers_read_it() {
        let tls = TlsInfo::new("TLS1.3", "TLS_AES_256_GCM_SHA384");
        for (field, protocol) in [(field("x", None), "ESMTP"), (field("x", Some(&tls)), "ESMTPS")] {
            let message = mail_parser::MessageParser::new().parse_headers(&field).unwrap();
            let received = message.received().unwrap();
            assert_eq!(received.from_ip, Some("10.38.97.3".parse().unwrap()), "{received:?}");
            assert_eq!(received.id(), Some("0000000000001"));
            assert_eq!(
                received.with().map(|with| format!("{with:?}").to_uppercase()),
                Some(protocol.to_owned())
            );
            assert_eq!(received.date.map(|date| date.to_timestamp()), Some(1_000_000_000));
        }
    }
}
