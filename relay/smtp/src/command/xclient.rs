//! XCLIENT, Postfix's extension: a proxy names the client whose session it passes on.
//!
//! Every attribute is checked, and three have an effect: ADDR and PORT are the client's, HELO is
//! its name. NAME, PROTO, LOGIN, DESTADDR and DESTPORT have none: a name gives no right here, a
//! user must authenticate at this host, and the binding is that of the proxy's connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::command::{BLANKS, CommandError, Verb};
use relay_mail::hello::HelloName;
use relay_mail::limits::DOMAIN_OCTETS;

/// The values of XCLIENT; `None` if a value is absent or unavailable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XClient {
    /// ADDR.
    pub address: Option<IpAddr>,
    /// PORT.
    pub port: Option<u16>,
    /// HELO.
    pub hello: Option<HelloName>,
}

impl XClient {
    /// The attributes that EHLO lists.
    pub const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

    /// Reads the attributes.
    pub fn parse(argument: &str) -> Result<Self, CommandError> {
        let wrong = || CommandError::Arguments { verb: Verb::XClient };
        let mut told = Self::default();
        let mut seen: Vec<String> = Vec::new();
        if argument.is_empty() {
            return Err(wrong());
        }
        for attribute in argument.split(BLANKS).filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(wrong)?;
            let name = name.to_ascii_uppercase();
            if seen.contains(&name) {
                return Err(wrong());
            }
            let value = decode(value).ok_or_else(wrong)?;
            let unknown = matches!(&*value.to_ascii_uppercase(), "[UNAVAILABLE]" | "[TEMPUNAVAIL]");
            let is_sound = match &*name {
                // With an unknown address, the proxy's own would stay in force.
                "ADDR" => {
                    told.address = address(&value);
                    told.address.is_some()
                }
                _ if unknown => true,
                "PORT" => {
                    told.port = port(&value);
                    told.port.is_some()
                }
                "HELO" => {
                    told.hello = Some(HelloName::read(&value));
                    !value.is_empty()
                }
                "DESTADDR" => address(&value).is_some(),
                "DESTPORT" => port(&value).is_some(),
                "PROTO" => matches!(&*value.to_ascii_uppercase(), "SMTP" | "ESMTP"),
                "NAME" | "LOGIN" => !value.is_empty() && value.len() <= DOMAIN_OCTETS,
                _ => false,
            };
            if !is_sound {
                return Err(wrong());
            }
            seen.push(name);
        }
        Ok(told)
    }
}

/// Xtext of XCLIENT, which must decode to one printable line.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => octet,
        };
        decoded.push(octet);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains(char::is_control)).then_some(decoded)
}

fn address(text: &str) -> Option<IpAddr> {
    let address = match text.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPV6:") => {
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        }
        _ => IpAddr::V4(text.parse::<Ipv4Addr>().ok()?),
    };
    Some(address)
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use crate::command::xclient::*;

    #[test]
    fn attributes() {
        let told = XClient::parse(
            "NAME=mail.example ADDR=192.0.2.7 PORT=4711 HELO=client.example PROTO=ESMTP \
             LOGIN=administrator DESTADDR=IPV6:2001:db8::1 DESTPORT=25",
        );
        let expected = XClient {
            address: "192.0.2.7".parse().ok(),
            port: Some(4711),
            hello: Some(HelloName::read("client.example")),
        };
        assert_eq!(told, Ok(expected));
        let v6 = XClient::parse("addr=ipv6:2001:db8::7").unwrap();
        assert_eq!(v6.address, "2001:db8::7".parse().ok());
        let mapped = XClient::parse("ADDR=IPV6:::ffff:192.0.2.7").unwrap();
        assert_eq!(mapped.address, "::ffff:192.0.2.7".parse().ok(), "as stated");
        let encoded = XClient::parse("HELO=a+2Eb NAME=[UNAVAILABLE]").unwrap();
        assert_eq!(encoded.hello.unwrap().as_str(), "a.b");
    }

    #[test]
    fn invalid_attributes_are_refused() {
        for argument in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=[UNAVAILABLE]",
            "ADDR=2001:db8::7",
            "ADDR=192.0.2.7 ADDR=192.0.2.8",
            "ADDR=192.0.2.07x",
            "PORT=65536",
            "PORT=+1",
            "PROTO=HTTP",
            "HELO=a+0D+0Ab",
            "HELO=a+2",
            "NAME=a+0Ab",
            "LOGIN=",
            "REVERSE_NAME=a",
        ] {
            let wrong = CommandError::Arguments { verb: Verb::XClient };
            assert_eq!(XClient::parse(argument), Err(wrong), "{argument:?}");
        }
    }
}
