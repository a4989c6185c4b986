//! A server by name or address, and its port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::path::{Domain, MailHost};

/// A server as in the configuration: `mail.contoso.example:25`, `192.0.2.1:25` or
/// `[2001:db8::1]:25`. A mail exchanger that DNS names is also of this type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SmartHost {
    /// Its host.
    pub host: MailHost,
    /// Its port.
    pub port: u16,
}

/// Why a text is not a smart host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSmartHost {
    /// No colon and port.
    #[error("a smart host is written host:port, as in mail.contoso.example:25")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Neither a domain name nor an address.
    #[error("the host is neither a domain name nor an address; write IPv6 in brackets")]
    Host,
}

impl SmartHost {
    /// Its host.
    pub fn host(&self) -> &MailHost {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for SmartHost {
    type Err = InvalidSmartHost;

    fn from_str(text: &str) -> Result<Self, InvalidSmartHost> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidSmartHost::NoPort)?;
        // u16 would also accept a plus sign.
        let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| digits && port != 0);
        let port = port.ok_or(InvalidSmartHost::Port)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match in_brackets {
            Some(address) => address.parse().ok().map(|v6| MailHost::Address(IpAddr::V6(v6))),
            None => match host.parse() {
                Ok(v4) => Some(MailHost::Address(IpAddr::V4(v4))),
                Err(_) => Domain::parse(host).ok().map(MailHost::Domain),
            },
        };
        Ok(Self { host: host.ok_or(InvalidSmartHost::Host)?, port })
    }
}

impl fmt::Display for SmartHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            MailHost::Domain(name) => write!(f, "{name}:{}", self.port),
            MailHost::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smart_host_is_written_as_it_is_read() {
        for text in ["mail.contoso.example:25", "192.0.2.1:2525", "[2001:db8::1]:25", "localhost:1"]
        {
            assert_eq!(text.parse::<SmartHost>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_smart_hosts_are_refused() {
        for (text, error) in [
            ("mail.contoso.example", InvalidSmartHost::NoPort),
            ("mail.contoso.example:", InvalidSmartHost::Port),
            ("mail.contoso.example:0", InvalidSmartHost::Port),
            ("mail.contoso.example:+25", InvalidSmartHost::Port),
            ("mail.contoso.example:65536", InvalidSmartHost::Port),
            ("2001:db8::1:25", InvalidSmartHost::Host),
            ("[192.0.2.1]:25", InvalidSmartHost::Host),
            ("mail contoso:25", InvalidSmartHost::Host),
            (":25", InvalidSmartHost::Host),
        ] {
            assert_eq!(text.parse::<SmartHost>(), Err(error), "{text}");
        }
    }
}
