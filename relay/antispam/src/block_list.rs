//! Is a client on a DNS block list (RFC 5782)?

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::limits::BLOCK_LIST_WAIT;
use relay_dns::Dns;
use relay_mail::path::Domain;
use relay_message::finding::{ListFinding, ListVerdict};
use tokio::time::timeout;

/// Asks one list.
pub(super) async fn ask(dns: &Dns, zone: &Domain, client: IpAddr) -> ListFinding {
    let name = name(client, zone);
    let verdict = match timeout(BLOCK_LIST_WAIT, dns.first_ipv4(&name)).await {
        Err(_) => ListVerdict::Unavailable("no answer in time".to_owned()),
        Ok(Ok(address)) => address.map_or(ListVerdict::Clear, verdict),
        Ok(Err(error)) => ListVerdict::Unavailable(error.to_string()),
    };
    ListFinding { zone: zone.clone(), verdict }
}

/// RFC 5782 section 2.1 allows only answers in 127.0.0.0/8; a zone with a new owner may return
/// other answers for every name. Lists refuse a query with an answer in 127.255.255.0/24.
fn verdict(answer: Ipv4Addr) -> ListVerdict {
    match answer.octets() {
        [127, 255, 255, _] => {
            ListVerdict::Unavailable(format!("the list answered {answer}, which refuses the query"))
        }
        [127, ..] => ListVerdict::Listed(answer),
        _ => {
            ListVerdict::Unavailable(format!("the list answered {answer}, which is not a listing"))
        }
    }
}

/// The octets of an IPv4 address, or the nibbles of an IPv6 address, in reverse order, below the
/// zone.
fn name(client: IpAddr, zone: &Domain) -> String {
    let mut name = String::new();
    // Writing to a String cannot fail.
    let _ = match client {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            write!(name, "{d}.{c}.{b}.{a}.")
        }
        IpAddr::V6(address) => address
            .octets()
            .iter()
            .rev()
            .try_for_each(|octet| write!(name, "{:x}.{:x}.", octet & 15, octet >> 4)),
    };
    name + zone.ascii()
}

#[cfg(test)]
mod tests {
    use crate::block_list::*;

    #[test]
    fn names_are_those_of_rfc_5782() {
        let zone = Domain::parse("bad.example.com").unwrap();
        assert_eq!(name("192.0.2.99".parse().unwrap(), &zone), "99.2.0.192.bad.example.com");
        assert_eq!(
            name("2001:db8:1:2:3:4:567:89ab".parse().unwrap(), &zone),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com"
        );
    }

    #[test]
    fn only_listings_are_listings() {
        let listed = Ipv4Addr::new(127, 0, 0, 2);
        assert_eq!(verdict(listed), ListVerdict::Listed(listed));
        for refusal in [Ipv4Addr::new(127, 255, 255, 254), Ipv4Addr::new(192, 0, 2, 1)] {
            assert!(matches!(verdict(refusal), ListVerdict::Unavailable(_)), "{refusal}");
        }
    }
}
