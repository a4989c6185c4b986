//! Which servers does a destination have at this moment, in the order in which they are tried?
//!
//! For a smart host these are its addresses; for a domain its mail exchangers, by RFC 5321 section
//! 5.1. Forbidden servers (this host, and addresses that DNS records of strangers must not select)
//! are removed here. [`super::connection`] connects.

use std::net::{IpAddr, SocketAddr};

use crate::DeliverySettings;
use crate::ourselves::{ExchangerRules, is_ours};
use crate::remotes::Key;
use crate::route::Destination;
use relay_dns::limits::LOOKUP_TIMEOUT;
use relay_dns::{Dns, Exchanger, LookupError};
use relay_mail::address_space::is_for_mail;
use relay_mail::outcome::Cause;
use relay_mail::path::{Domain, MailHost};
use relay_mail::reply::Enhanced;
use relay_mail::smart_host::SmartHost;
use tokio::time::timeout;

use crate::limits;

/// A server that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its name for logs, reports and its certificate.
    pub(super) server: SmartHost,
    pub(super) address: SocketAddr,
    /// It recently failed with an extension that it offers.
    pub(super) use_basic_smtp: bool,
}

/// Why there is no server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// There may be one later.
    Temporary(Cause),
    /// There never will be; the recipients fail.
    Permanent(Cause),
    /// This address has as many of our connections as allowed.
    AddressBusy(Key),
}

/// The servers of a destination, in order.
pub(super) async fn candidates(
    destination: &Destination,
    settings: &DeliverySettings,
) -> Result<Vec<Candidate>, Unreachable> {
    match destination {
        Destination::SmartHosts(servers) => of_smart_hosts(&servers.hosts, settings).await,
        Destination::Exchangers { of: MailHost::Address(address), .. } => {
            let server =
                SmartHost { host: MailHost::Address(*address), port: settings.exchangers.port };
            let mut found = Found::default();
            found.add(&server, &[*address], &settings.exchangers);
            found.candidates(&format!("[{address}]"))
        }
        Destination::Exchangers { of: MailHost::Domain(domain), .. } => match &settings.dns {
            Some(dns) => of_domain(domain, dns, &settings.exchangers).await,
            None => Err(now(Enhanced(4, 4, 3), "this host has no name servers to ask")),
        },
        // X.1.2 of RFC 3463: bad destination system address.
        Destination::Nowhere => {
            Err(ever(Enhanced(5, 1, 2), "a recipient without a domain has no mail exchanger"))
        }
        // A directory needs no connection.
        Destination::Maildir(_) => Ok(Vec::new()),
    }
}

async fn of_smart_hosts(
    hosts: &[SmartHost],
    settings: &DeliverySettings,
) -> Result<Vec<Candidate>, Unreachable> {
    let mut candidates = Vec::new();
    let mut failed = Vec::new();
    for server in hosts {
        match addresses_of(server, settings).await {
            Ok(addresses) => {
                candidates.extend(addresses.into_iter().take(limits::ADDRESSES_PER_HOP).map(
                    |address| Candidate { server: server.clone(), address, use_basic_smtp: false },
                ))
            }
            Err(why) => failed.push(why),
        }
    }
    // X.4.3 of RFC 3463: directory server failure. A name that does not exist is an error in the
    // configuration, which an administrator will correct.
    if candidates.is_empty() {
        Err(now(Enhanced(4, 4, 3), failed.join("; ")))
    } else {
        Ok(candidates)
    }
}

/// By the configured name servers; otherwise as every program of this host resolves names.
async fn addresses_of(
    server: &SmartHost,
    settings: &DeliverySettings,
) -> Result<Vec<SocketAddr>, String> {
    let name = match &server.host {
        MailHost::Address(address) => return Ok(vec![SocketAddr::new(*address, server.port)]),
        MailHost::Domain(name) => name.ascii(),
    };
    if let Some(dns) = settings.dns.as_ref().filter(|_| settings.dns_for_smart_hosts) {
        let addresses = dns.addresses(name).await.map_err(|error| error.to_string())?;
        return Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, server.port)).collect());
    }
    let limit = LOOKUP_TIMEOUT;
    match timeout(limit, tokio::net::lookup_host((name, server.port))).await {
        Ok(Ok(found)) => match found.collect::<Vec<_>>() {
            found if found.is_empty() => Err(format!("{name} has no address")),
            found => Ok(found),
        },
        Ok(Err(error)) => Err(format!("cannot look up {name}: {error}")),
        Err(_) => Err(format!("looking up {name} took longer than {} seconds", limit.as_secs())),
    }
}

/// The mail exchangers of a domain, or the domain itself if it has no MX record.
async fn of_domain(
    domain: &Domain,
    dns: &Dns,
    rules: &ExchangerRules,
) -> Result<Vec<Candidate>, Unreachable> {
    let name = domain.ascii();
    let (groups, is_implicit) = match dns.exchangers(name).await {
        Ok(exchangers) => (in_order(exchangers), false),
        // RFC 5321 section 5.1: the domain is its own exchanger then.
        Err(LookupError::NoRecords { .. }) => (vec![vec![name.to_owned()]], true),
        Err(LookupError::NoDomain(_)) => {
            let text = format!("the domain {name} does not exist");
            // X.1.2 of RFC 3463: bad destination system address.
            return Err(ever(Enhanced(5, 1, 2), text));
        }
        Err(error) => return Err(now(Enhanced(4, 4, 3), error.to_string())),
    };
    if groups.is_empty() {
        // RFC 7505 section 4.1.
        let text = format!("the domain {name} accepts no mail (null MX)");
        return Err(ever(Enhanced(5, 1, 10), text));
    }
    let mut found = Found::default();
    let mut asked = 0;
    for group in groups {
        let mut of_group = found.clone();
        for host in group {
            // Hosts after enough addresses are not looked up.
            if asked == limits::EXCHANGERS_PER_DOMAIN || of_group.is_enough() {
                break;
            }
            asked += 1;
            if rules.our_names.contains(&host) && !is_implicit {
                of_group.is_ours = true;
            } else if let Ok(name) = Domain::parse(&host) {
                let server = SmartHost { host: MailHost::Domain(name), port: rules.port };
                match dns.addresses(&host).await {
                    Ok(addresses) => of_group.add(&server, &addresses, rules),
                    Err(error) => of_group.failed(error),
                }
            }
        }
        if of_group.is_ours {
            // RFC 5321 section 5.1: a mail exchanger with our preference or a worse one would send
            // the message back to us.
            found.is_ours = true;
            break;
        }
        found = of_group;
    }
    found.candidates(name)
}

/// The hosts by preference, equal ones in random order (RFC 5321 section 5.1). Nothing for a null
/// MX; a root among other hosts is ignored.
fn in_order(mut exchangers: Vec<Exchanger>) -> Vec<Vec<String>> {
    fastrand::shuffle(&mut exchangers);
    exchangers.retain(|exchanger| !exchanger.host.is_empty());
    // Stable, so that equals stay shuffled.
    exchangers.sort_by_key(|exchanger| exchanger.preference);
    let of_equals = exchangers.chunk_by(|one, other| one.preference == other.preference);
    of_equals.map(|group| group.iter().map(|exchanger| exchanger.host.clone()).collect()).collect()
}

/// The servers found for a domain so far.
#[derive(Clone, Debug, Default)]
struct Found {
    candidates: Vec<Candidate>,
    /// We are among the exchangers.
    is_ours: bool,
    /// An address that may not be delivered to.
    forbidden: Option<IpAddr>,
    /// A look-up that may succeed later.
    unavailable: Option<LookupError>,
}

impl Found {
    fn add(&mut self, server: &SmartHost, addresses: &[IpAddr], rules: &ExchangerRules) {
        for &address in addresses {
            let socket = SocketAddr::new(address.to_canonical(), server.port);
            if is_ours(socket, &rules.our_bindings).is_some() {
                self.is_ours = true;
            } else if !rules.allow_private_addresses && !is_for_mail(socket.ip()) {
                self.forbidden = Some(address);
            } else if !self.is_enough() {
                let server = server.clone();
                self.candidates.push(Candidate { server, address: socket, use_basic_smtp: false });
            }
        }
    }

    fn failed(&mut self, error: LookupError) {
        if matches!(error, LookupError::Unavailable { .. }) {
            self.unavailable = Some(error);
        }
    }

    fn is_enough(&self) -> bool {
        self.candidates.len() >= limits::ADDRESSES_PER_HOP
    }

    fn candidates(self, name: &str) -> Result<Vec<Candidate>, Unreachable> {
        if !self.candidates.is_empty() {
            return Ok(self.candidates);
        }
        if let Some(error) = self.unavailable {
            return Err(now(Enhanced(4, 4, 3), error.to_string()));
        }
        if self.is_ours {
            // X.4.6 of RFC 3463: routing loop detected.
            let text = format!("mail for {name} would come back to this host");
            return Err(ever(Enhanced(5, 4, 6), text));
        }
        if let Some(address) = self.forbidden {
            let text =
                format!("mail for {name} would go to {address}, which is not a public address");
            // X.4.4 of RFC 3463: unable to route.
            return Err(ever(Enhanced(5, 4, 4), text));
        }
        Err(ever(Enhanced(5, 4, 4), format!("no mail exchanger of {name} has an address")))
    }
}

fn now(status: Enhanced, text: impl Into<String>) -> Unreachable {
    Unreachable::Temporary(Cause::Local { status, text: text.into() })
}

fn ever(status: Enhanced, text: impl Into<String>) -> Unreachable {
    Unreachable::Permanent(Cause::Local { status, text: text.into() })
}

#[cfg(test)]
mod tests {
    use crate::reach::*;

    fn exchanger(preference: u16, host: &str) -> Exchanger {
        Exchanger { preference, host: host.to_owned() }
    }

    #[test]
    fn by_preference_and_equals_in_any_order() {
        let all = ["a", "b", "c"].map(|host| exchanger(10, host));
        let mut first_ones = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut list = all.to_vec();
            list.extend([exchanger(20, "last"), exchanger(5, "first")]);
            let groups = in_order(list);
            assert_eq!(
                (groups[0].as_slice(), groups[2].as_slice()),
                (&["first".to_owned()][..], &["last".to_owned()][..])
            );
            assert_eq!(groups[1].len(), 3);
            first_ones.insert(groups[1][0].clone());
        }
        assert_eq!(first_ones.len(), 3, "each is first at some time");
    }

    #[tokio::test]
    async fn an_error_of_one_name_server_does_not_hide_a_smart_host_or_an_exchanger() {
        use crate::{ClientHandshakes, NextHop, Routes};
        use relay_dns::testing::{Scripted, failures, servers, zone};

        for failure in failures() {
            let said = failure.clone();
            let bad = Scripted::start(move |_, _| said.clone()).await;
            let good = Scripted::start(zone).await;
            let routes = Routes::new(Vec::new(), NextHop::Maildir("unused".into()));
            let settings = DeliverySettings {
                dns: Some(servers(&[bad.address, good.address])),
                dns_for_smart_hosts: true,
                ..DeliverySettings::new(routes, ClientHandshakes::load([]).unwrap(), "edge")
            };
            let host = "mx.good.example:25".parse().unwrap();
            let found = of_smart_hosts(&[host], &settings).await;
            assert_eq!(found.map(|all| all.len()), Ok(1), "{failure:?}");
            let domain = Domain::parse("good.example").unwrap();
            let dns = settings.dns.as_ref().unwrap();
            // The zone has addresses for documentation.
            let rules = ExchangerRules { allow_private_addresses: true, ..settings.exchangers };
            let found = of_domain(&domain, dns, &rules).await;
            assert_eq!(found.map(|all| all.len()), Ok(1), "{failure:?}");
        }
    }

    #[test]
    fn a_null_mx_leaves_no_host_and_a_root_among_others_is_ignored() {
        assert!(in_order(vec![exchanger(0, "")]).is_empty());
        assert_eq!(in_order(vec![exchanger(0, ""), exchanger(10, "mx")]), [["mx".to_owned()]]);
    }
}
