//! Between which addresses does a connection run, and which of them is the client's?
//!
//! An IPv4 client of a dual-stack socket appears as an IPv6 address (RFC 4291 section 2.5.5.2). It
//! is the same client, so its address is written as IPv4 from here on: the types enforce it, and
//! ranges, limits, the checks, logs and message tracking need not convert it again.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

/// The address of a client. Never an IPv4 address written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl FromStr for ClientAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The addresses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    proxy: Option<SocketAddr>,
}

impl Connection {
    /// A connection that was accepted at `local` from `remote`.
    pub fn accepted(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local: canonical(local), remote: canonical(remote), proxy: None }
    }

    /// The same connection, for the client at `remote` whose address the proxy states. After an
    /// earlier proxy, the other end of the connection does not change.
    #[must_use]
    pub fn through_proxy(self, remote: SocketAddr) -> Self {
        let proxy = Some(self.proxy.unwrap_or(self.remote));
        Self { remote: canonical(remote), proxy, ..self }
    }

    /// The local address and port.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The client's address and port: of the other end, or as the proxy states them.
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The client's address.
    pub const fn client(&self) -> ClientAddress {
        ClientAddress(self.remote.ip())
    }

    /// The other end of the connection, if it is a proxy that stated the client's address.
    pub const fn proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }
}

/// The address and port of a connection as all parts of the daemon write it: IPv4 as IPv4. An IPv6
/// address keeps its scope.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V4(v4), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_client_is_one_on_every_way() {
        let expected: ClientAddress = "192.0.2.7".parse().unwrap();
        assert_eq!("::ffff:192.0.2.7".parse(), Ok(expected));
        let dual_stack = Connection::accepted(
            socket("[::ffff:198.51.100.1]:25"),
            socket("[::ffff:192.0.2.7]:4711"),
        );
        assert_eq!(dual_stack.client(), expected);
        assert_eq!(dual_stack.remote(), socket("192.0.2.7:4711"));
        assert_eq!(dual_stack.local(), socket("198.51.100.1:25"));
        let stated = dual_stack.through_proxy(socket("[::ffff:192.0.2.7]:1"));
        assert_eq!(stated.client(), expected);
    }

    #[test]
    fn the_proxy_is_the_other_end_of_the_connection() {
        let direct = Connection::accepted(socket("192.0.2.1:25"), socket("192.0.2.9:1000"));
        assert_eq!(direct.proxy(), None);
        let first = direct.through_proxy(socket("198.51.100.1:2000"));
        let second = first.through_proxy(socket("198.51.100.2:3000"));
        assert_eq!(second.remote(), socket("198.51.100.2:3000"));
        assert_eq!(second.proxy(), Some(socket("192.0.2.9:1000")));
    }

    #[test]
    fn a_link_local_client_keeps_its_scope() {
        let scoped = socket("[fe80::1%3]:25");
        assert_eq!(Connection::accepted(scoped, scoped).remote(), scoped);
    }
}
