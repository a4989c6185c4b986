//! Is a next hop this very host? Decided without a name server.
//!
//! This module decides which addresses belong to this host, and which names: its own, `localhost`,
//! and those to which the hosts file gives its addresses. The callers decide the consequences (no
//! delivery by DNS, a warning for a smart host).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use relay_mail::path::MailHost;
use relay_mail::smart_host::SmartHost;

/// The rules for servers that DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangerRules {
    /// The port of mail exchangers; 25 except in a laboratory.
    pub port: u16,
    /// Allow private, loopback and other addresses that DNS records of strangers must not select;
    /// in a laboratory only.
    pub allow_private_addresses: bool,
    /// The names of this host, in A-labels.
    pub our_names: Vec<String>,
    /// Where this host listens.
    pub our_bindings: Vec<SocketAddr>,
}

/// The binding of this host to which mail for this smart host would return, if there is one.
pub fn own_binding(server: &SmartHost, rules: &ExchangerRules) -> Option<SocketAddr> {
    let binding =
        |address: IpAddr| is_ours(SocketAddr::new(address, server.port), &rules.our_bindings);
    match &server.host {
        MailHost::Address(address) => binding(*address),
        MailHost::Domain(name) => {
            let name = name.ascii().trim_end_matches('.').to_ascii_lowercase();
            let of_port =
                || rules.our_bindings.iter().find(|ours| ours.port() == server.port).copied();
            match is_our_name(&name, &rules.our_names) {
                true => of_port(),
                false => addresses(&name).into_iter().find_map(binding),
            }
        }
    }
}

/// Is it a name of this host? Its addresses do not matter.
fn is_our_name(name: &str, ours: &[String]) -> bool {
    let of_system = || {
        rustix::system::uname().nodename().to_str().is_ok_and(|it| it.eq_ignore_ascii_case(name))
    };
    ours.iter().any(|ours| ours.eq_ignore_ascii_case(name)) || of_system()
}

/// The addresses of a name that this host knows without a name server: `localhost` (RFC 6761
/// section 6.3) and the names of the hosts file.
fn addresses(name: &str) -> Vec<IpAddr> {
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    in_hosts_file(&fs::read_to_string("/etc/hosts").unwrap_or_default(), name)
}

fn in_hosts_file(text: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(line).collect()
}

/// The binding of this host that a connection to this address reaches. A wildcard listens on every
/// address of this host.
pub(super) fn is_ours(address: SocketAddr, bindings: &[SocketAddr]) -> Option<SocketAddr> {
    let address = SocketAddr::new(connected_to(address.ip()), address.port());
    let mut of_port = bindings.iter().filter(|binding| binding.port() == address.port());
    let found = of_port.find(|binding| {
        let is_wildcard = binding.ip().is_unspecified() && binding.is_ipv4() == address.is_ipv4();
        binding.ip() == address.ip() || is_wildcard && is_of_this_host(address.ip())
    });
    found.copied()
}

/// A connection to the unspecified address reaches the loopback address; a mapped address stands
/// for its IPv4 address.
fn connected_to(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Is this an address of this host? If so, the system connects to it from the same address. No
/// packet is sent. An attempt to bind would not tell: with `ip_nonlocal_bind` every address can be
/// bound.
fn is_of_this_host(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        // Any port but 0 does.
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use crate::ourselves::*;

    #[test]
    fn ours_is_where_we_listen() {
        let wildcard = "0.0.0.0:25";
        let exact = "192.0.2.1:25";
        for (address, binding, ours) in [
            ("127.0.0.1:25", wildcard, true),
            ("127.0.0.9:25", wildcard, true),
            ("0.0.0.0:25", wildcard, true),
            ("[::ffff:127.0.0.1]:25", wildcard, true),
            ("127.0.0.1:26", wildcard, false),
            ("192.0.2.77:25", wildcard, false),
            ("[::1]:25", wildcard, false),
            ("[::1]:25", "[::]:25", true),
            ("[::]:25", "[::1]:25", true),
            ("192.0.2.1:25", exact, true),
            ("127.0.0.1:25", exact, false),
        ] {
            let found = is_ours(address.parse().unwrap(), &[binding.parse().unwrap()]);
            assert_eq!(found.is_some(), ours, "{address} with {binding}");
        }
    }

    #[test]
    fn names_that_lead_back_without_a_name_server() {
        let rules = ExchangerRules {
            port: 25,
            allow_private_addresses: false,
            our_names: vec!["edge1.contoso.example".to_owned()],
            our_bindings: vec!["127.0.0.1:25".parse().unwrap(), "192.0.2.1:587".parse().unwrap()],
        };
        let nodename = rustix::system::uname().nodename().to_str().unwrap().to_owned();
        for (server, expected) in [
            ("localhost:25".to_owned(), true),
            ("a.localhost:25".to_owned(), true),
            ("localhost:587".to_owned(), false),
            ("EDGE1.contoso.example:25".to_owned(), true),
            ("edge1.contoso.example:587".to_owned(), true),
            ("edge1.contoso.example:2525".to_owned(), false),
            ("mail.contoso.example:25".to_owned(), false),
            ("127.0.0.1:25".to_owned(), true),
            ("192.0.2.1:587".to_owned(), true),
            (format!("{nodename}:25"), true),
        ] {
            let parsed = server.parse().unwrap();
            assert_eq!(own_binding(&parsed, &rules).is_some(), expected, "{server}");
        }
    }

    #[test]
    fn the_hosts_file_is_read_as_the_system_reads_it() {
        let text = "# 127.0.0.1 commented\n127.0.0.1\tlocalhost  edge # mail\n::1 EDGE\nbad edge\n";
        let found = in_hosts_file(text, "edge");
        assert_eq!(found, [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
        assert!(in_hosts_file(text, "commented").is_empty());
        assert!(in_hosts_file(text, "mail").is_empty());
    }
}
