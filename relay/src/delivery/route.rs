//! Where does a message go next? For now: to the smart host, whatever its recipients.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::limits;
use crate::queue::Entry;
use crate::smtp::path::Domain;

/// A next hop as it is written in the configuration: `mail.contoso.example:25`,
/// `192.0.2.1:25` or `[2001:db8::1]:25`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SmartHost {
    host: HopHost,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HopHost {
    Name(Domain),
    Address(IpAddr),
}

/// Why a text is no smart host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSmartHost {
    /// No colon and port.
    #[error("a smart host is written host:port, as in mail.contoso.example:25")]
    NoPort,
    /// A port that is no number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Neither a domain name nor an address.
    #[error("the host is neither a domain name nor an address; IPv6 stands in brackets")]
    Host,
}

/// Why a next hop has no address.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The resolver said so.
    #[error("cannot look up {host}: {source}")]
    Resolver {
        /// The name.
        host: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("looking up {host} took longer than {} seconds", limit.as_secs())]
    Timeout {
        /// The name.
        host: String,
        /// [`limits::LOOKUP_TIMEOUT`].
        limit: Duration,
    },
    /// The answer was empty.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
}

/// The next hop of a message. The one place that a table of routes, MX lookup and a local mailbox
/// will change.
pub fn route<'a>(_entry: &Entry, smart_host: &'a SmartHost) -> &'a SmartHost {
    smart_host
}

impl SmartHost {
    /// The addresses to try, in order.
    ///
    /// # Errors
    /// [`LookupError`]; the attempt is deferred.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, LookupError> {
        let name = match &self.host {
            HopHost::Address(address) => return Ok(vec![SocketAddr::new(*address, self.port)]),
            HopHost::Name(name) => name,
        };
        let host = || name.as_str().to_owned();
        let limit = limits::LOOKUP_TIMEOUT;
        let lookup = tokio::net::lookup_host((name.ascii(), self.port));
        let found = tokio::time::timeout(limit, lookup).await;
        let found = found.map_err(|_| LookupError::Timeout { host: host(), limit })?;
        let found = found.map_err(|source| LookupError::Resolver { host: host(), source })?;
        let addresses: Vec<_> = found.take(limits::ADDRESSES_PER_HOP).collect();
        if addresses.is_empty() {
            Err(LookupError::NoAddress { host: host() })
        } else {
            Ok(addresses)
        }
    }
}

impl FromStr for SmartHost {
    type Err = InvalidSmartHost;

    fn from_str(text: &str) -> Result<Self, InvalidSmartHost> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidSmartHost::NoPort)?;
        // u16 would also take a plus sign.
        let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| digits && port != 0);
        let port = port.ok_or(InvalidSmartHost::Port)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match in_brackets {
            Some(address) => address.parse().ok().map(|v6| HopHost::Address(IpAddr::V6(v6))),
            None => match host.parse() {
                Ok(v4) => Some(HopHost::Address(IpAddr::V4(v4))),
                Err(_) => Domain::parse(host).ok().map(HopHost::Name),
            },
        };
        Ok(Self { host: host.ok_or(InvalidSmartHost::Host)?, port })
    }
}

impl fmt::Display for SmartHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HopHost::Name(name) => write!(f, "{name}:{}", self.port),
            HopHost::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for text in ["mail.contoso.example:25", "192.0.2.1:2525", "[2001:db8::1]:25", "localhost:1"]
        {
            assert_eq!(text.parse::<SmartHost>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_smart_host() {
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

    #[tokio::test]
    async fn addresses_need_no_resolver() {
        let hop: SmartHost = "[::1]:25".parse().unwrap();
        assert_eq!(hop.addresses().await.unwrap(), ["[::1]:25".parse().unwrap()]);
    }
}
