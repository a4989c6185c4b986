//! Local addresses and ports that connectors listen on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::range::Family;

/// A local address and port, of one family: `[::]:25` is every IPv6 address and no IPv4 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding(SocketAddr);

/// Why a text is not a binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// Neither `192.0.2.1:25` nor `[2001:db8::1]:25`.
    #[error("`{0}` is not an address and a port")]
    Malformed(String),
    /// Port 0 means "any free port" to the system, and no client can connect to it.
    #[error("`{0}` has no port that a client could connect to")]
    PortZero(String),
    /// `%eth0`: names of interfaces are not part of the address that the kernel compares.
    #[error("`{0}` has a zone id")]
    ZoneId(String),
    /// `[fe80::1]:25`: the interface is not known.
    #[error("`{0}` is a link-local address, and each interface may have it")]
    LinkLocal(String),
    /// `224.0.0.1:25`, `255.255.255.255:25`: no connection can be made to it.
    #[error("`{0}` is the address of a group of hosts")]
    Group(String),
}

impl Binding {
    /// The address and port.
    pub const fn address(self) -> SocketAddr {
        self.0
    }

    /// The family of all its connections.
    pub const fn family(self) -> Family {
        match self.0 {
            SocketAddr::V4(_) => Family::Ipv4,
            SocketAddr::V6(_) => Family::Ipv6,
        }
    }

    /// Every local address of the family?
    pub fn is_wildcard(self) -> bool {
        self.0.ip().is_unspecified()
    }

    /// The same port on every address of the same family.
    pub fn wildcard(self) -> Self {
        Self(SocketAddr::new(self.family().unspecified(), self.0.port()))
    }

    /// The binding of a connection's local address: IPv4 stays IPv4 even on a dual-stack socket;
    /// flow label and scope are ignored.
    pub fn of_connection(local: SocketAddr) -> Self {
        Self(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Binding {
    type Err = BindingError;

    /// An IPv4 address may be written as IPv6, and is read as IPv4.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('%') {
            return Err(BindingError::ZoneId(text.to_owned()));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| BindingError::Malformed(text.to_owned()))?;
        if address.port() == 0 {
            return Err(BindingError::PortZero(text.to_owned()));
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        match address.ip() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                Err(BindingError::LinkLocal(text.to_owned()))
            }
            IpAddr::V4(ip) if ip.is_broadcast() => Err(BindingError::Group(text.to_owned())),
            ip if ip.is_multicast() => Err(BindingError::Group(text.to_owned())),
            _ => Ok(Self(address)),
        }
    }
}

impl BindingError {
    /// The remedy.
    pub fn mend(&self) -> String {
        match self {
            Self::Malformed(_) => {
                "write address and port, as in `0.0.0.0:25`, `192.0.2.1:25` or `[::]:25`".to_owned()
            }
            Self::PortZero(_) => "name the port, usually 25".to_owned(),
            Self::ZoneId(_) | Self::LinkLocal(_) => {
                "write `[::]` and the port, and choose the clients by remote_ip_ranges, which \
                 may hold `fe80::/10`"
                    .to_owned()
            }
            Self::Group(_) => "write an address of this host".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::binding::*;

    #[test]
    fn a_binding_is_an_address_and_a_port_of_one_family() {
        for text in ["0.0.0.0:25", "[::]:25", "192.0.2.1:2525", "[2001:db8::1]:25"] {
            let binding: Binding = text.parse().unwrap();
            assert_eq!(binding.to_string(), text);
        }
        let mapped: Binding = "[::ffff:10.0.0.1]:25".parse().unwrap();
        assert_eq!(mapped.to_string(), "10.0.0.1:25");
        for (text, problem, mend) in [
            ("0.0.0.0", "not an address and a port", "`0.0.0.0:25`"),
            ("mail:25", "not an address and a port", "`0.0.0.0:25`"),
            ("10.0.0.1:0", "no port", "25"),
            ("[fe80::1%eth0]:25", "zone id", "`[::]` and the port"),
            ("[fe80::1]:25", "link-local", "`[::]` and the port"),
            ("[ff02::1]:25", "a group", "of this host"),
            ("224.0.0.1:25", "a group", "of this host"),
            ("255.255.255.255:25", "a group", "of this host"),
            ("[::ffff:255.255.255.255]:25", "a group", "of this host"),
        ] {
            let error = text.parse::<Binding>().unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert!(error.mend().contains(mend), "{}", error.mend());
        }
    }

    #[test]
    fn an_ipv4_connection_on_a_dual_stack_socket_has_an_ipv4_binding() {
        let local = "[::ffff:192.0.2.1]:25".parse().unwrap();
        assert_eq!(Binding::of_connection(local).to_string(), "192.0.2.1:25");
    }
}
