//! Does the configuration grant what Exchange granted?
//!
//! For each binding of each server, many client addresses are asked about: the edges of every
//! range, one before and one after, and random addresses. Exchange's side is [`crate::model`], our
//! side the table and the policy that the daemon uses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use relay_config::Config;
use relay_connector::id::TooManyConnectorNames;
use relay_connector::{BasicAuth, Connector, ConnectorIds, Permission, Principal, TableMatch};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_policy::{DecisionOrInquiry, Findings, Peer, Rules, mail, rcpt};
use serde::Serialize;

use crate::ImportedName;
use crate::limits::{DIFFERENCES_LISTED, RANDOM_ADDRESSES};
use crate::model::{Expected, Logon, ModelConnector, ModelRange, ServerModel, servers};
use crate::source::{ExportedObjects, ObjectKind};

/// The result of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// Client addresses, over all bindings and servers.
    pub addresses: usize,
    /// Questions that were compared.
    pub questions: usize,
    /// Questions with different answers.
    pub different: usize,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// A question with different answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The server of the export.
    pub server: Option<String>,
    /// The local address and port.
    pub binding: SocketAddr,
    /// The client.
    pub client: IpAddr,
    /// The question.
    pub question: &'static str,
    /// Exchange's answer.
    pub exchange: String,
    /// Our answer.
    pub here: String,
}

/// A recipient's or sender's domain that no organization has as its accepted domain.
const FOREIGN_DOMAIN: &str = "relay-import-verification.net";

/// Compares a configuration with an export, of which it has the names `names`.
///
/// # Errors
/// The configuration has more connectors than ids exist.
pub fn verify(
    exported: &ExportedObjects,
    config: &Config,
    names: &[ImportedName],
    only: Option<&str>,
) -> Result<Verification, TooManyConnectorNames> {
    let rules = config.rules(&mut ConnectorIds::default(), 1)?;
    let authoritative = exported
        .objects
        .iter()
        .filter(|object| object.kind == ObjectKind::AcceptedDomain)
        .filter(|object| {
            object.text("DomainType").is_none_or(|kind| kind.eq_ignore_ascii_case("Authoritative"))
        })
        .find_map(|object| object.text("DomainName"))
        .map(|domain| domain.trim_start_matches("*.").to_owned());
    let mut verification = Verification::default();
    let mut random = fastrand::Rng::with_seed(0);
    for server in servers(exported, only) {
        let asked = Asked {
            rules: &rules,
            names,
            authoritative: authoritative.as_deref(),
            server: &server,
        };
        for binding in bindings(&server, config, names) {
            for client in addresses(&server, config, binding, &mut random) {
                verification.addresses += 1;
                asked.compare(binding, client, &mut verification);
            }
        }
    }
    Ok(verification)
}

struct Asked<'a> {
    rules: &'a Rules,
    names: &'a [ImportedName],
    authoritative: Option<&'a str>,
    server: &'a ServerModel,
}

impl Asked<'_> {
    fn compare(&self, binding: SocketAddr, client: IpAddr, verification: &mut Verification) {
        let local = connected_to(binding, self.server);
        let exchange = self.server.select(local, client);
        let here = match self.rules.table.classify(local, client.into()) {
            TableMatch::Connector { connector, .. } => self.rules.connector(connector),
            TableMatch::NoBinding | TableMatch::NoConnector => None,
        };
        let mut ask = |question: &'static str, exchange: String, here: String| {
            verification.questions += 1;
            if exchange == here {
                return;
            }
            verification.different += 1;
            if verification.differences.len() < DIFFERENCES_LISTED {
                let server = self.server.server.clone();
                let difference = Difference { server, binding, client, question, exchange, here };
                verification.differences.push(difference);
            }
        };
        let expected_name = exchange.map_or("none", |connector| self.written(connector));
        let name = here.map_or("none", |connector| connector.name.as_str());
        ask("connector", expected_name.to_owned(), name.to_owned());
        let (Some(exchange), Some(here)) = (exchange, here) else { return };
        let granted = self.granted(here, exchange.expected.size_limit);
        let expected = &exchange.expected;
        let text = |is: bool| if is { "yes" } else { "no" }.to_owned();
        ask(
            "may relay to any recipient",
            text(expected.any_recipient),
            text(granted.any_recipient),
        );
        ask("accepts any sender", text(expected.any_sender), text(granted.any_sender));
        if self.authoritative.is_some() {
            let (expected, granted) = (expected.authoritative_sender, granted.authoritative_sender);
            ask("accepts an authoritative sender", text(expected), text(granted));
        }
        let size = |limit: Option<u64>| {
            limit.map_or_else(|| "unlimited".to_owned(), |limit| format!("{limit} octets"))
        };
        ask("size limit", size(expected.size_limit), size(granted.size_limit));
        ask("logon of users", format!("{:?}", expected.logon), format!("{:?}", granted.logon));
        let (expected, granted) = (expected.user_any_recipient, granted.user_any_recipient);
        ask("a user may relay to any recipient", text(expected), text(granted));
    }

    fn written<'s>(&'s self, connector: &'s ModelConnector) -> &'s str {
        let found = self
            .names
            .iter()
            .find(|name| name.server == self.server.server && name.exported == connector.name);
        found.map_or("(not imported)", |name| name.written.as_str())
    }

    /// What the policy grants to a client of a connector, before it authenticates and after.
    fn granted(&self, connector: &Arc<Connector>, size_limit: Option<u64>) -> Expected {
        let mut peer = Peer::new(Arc::clone(connector));
        // Rights are compared, not the order in which a client must ask for them.
        peer.tls = true;
        let accepts = |sender: &str, size: Option<u64>| {
            let Ok(sender) = ReversePath::parse(sender) else { return false };
            mail(self.rules, &peer, &sender, size).reply.is_positive()
        };
        let recipient = format!("<someone@{FOREIGN_DOMAIN}>");
        let relays = ForwardPath::parse(&recipient).is_ok_and(|recipient| {
            match rcpt(self.rules, &peer, &recipient, 0, &Findings::default()) {
                DecisionOrInquiry::Decided(decision) => decision.reply.is_positive(),
                DecisionOrInquiry::Needs(_) => false,
            }
        });
        let domain = self.authoritative.unwrap_or(FOREIGN_DOMAIN);
        let user = connector.permissions(Principal::User);
        let logon = match connector.auth_mechanism.basic_auth {
            _ if !user.contains(Permission::Submit) => Logon::Never,
            None => Logon::Never,
            Some(BasicAuth::WithinTls) => Logon::WithinTls,
            Some(BasicAuth::InClear) => Logon::Always,
        };
        Expected {
            any_recipient: accepts("<>", None) && relays,
            any_sender: accepts(&format!("<someone@{FOREIGN_DOMAIN}>"), None),
            authoritative_sender: accepts(&format!("<someone@{domain}>"), None),
            size_limit: self.size_limit(&peer, size_limit),
            logon,
            user_any_recipient: logon != Logon::Never
                && user.contains(Permission::AcceptAnyRecipient),
        }
    }

    /// The limit that MAIL applies: the expected one if one octet more is too many, else what the
    /// connector says.
    fn size_limit(&self, peer: &Peer, expected: Option<u64>) -> Option<u64> {
        let too_large = |size: u64| {
            let reply = mail(self.rules, peer, &ReversePath::Null, Some(size)).reply;
            reply == relay_mail::reply::MESSAGE_TOO_LARGE
        };
        match expected {
            Some(limit) if !too_large(limit) && too_large(limit.saturating_add(1)) => Some(limit),
            _ if too_large(u64::MAX) => Some(peer.connector.limits.max_message_size),
            // A client without Submit has no limit to compare.
            _ if !peer.permissions.contains(Permission::Submit) => expected,
            _ => None,
        }
    }
}

/// The bindings of the server, and those of the connectors that it became.
fn bindings(server: &ServerModel, config: &Config, names: &[ImportedName]) -> BTreeSet<SocketAddr> {
    let is_of_server = |connector: &&Connector| {
        names.iter().any(|name| name.server == server.server && name.written == connector.name)
    };
    let of_config = config.connectors().iter().filter(|connector| connector.enabled);
    let of_config = of_config.filter(is_of_server).flat_map(|connector| &connector.bindings);
    let of_model = server.connectors.iter().flat_map(|connector| &connector.bindings).copied();
    of_model.chain(of_config.map(|binding| binding.address())).collect()
}

/// A local address of a connection to the binding that belongs to no other binding.
fn connected_to(binding: SocketAddr, server: &ServerModel) -> SocketAddr {
    if !binding.ip().is_unspecified() {
        return binding;
    }
    let taken = |address: SocketAddr| {
        server.connectors.iter().any(|connector| connector.bindings.contains(&address))
    };
    let mut last = 1_u8;
    loop {
        let ip: IpAddr = match binding {
            SocketAddr::V4(_) => Ipv4Addr::new(192, 0, 2, last).into(),
            SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        };
        let address = SocketAddr::new(ip, binding.port());
        if last == u8::MAX || !taken(address) {
            return address;
        }
        last += 1;
    }
}

/// The clients to ask about: the edges of all ranges of the binding's family, and random addresses
/// in ranges and anywhere.
fn addresses(
    server: &ServerModel,
    config: &Config,
    binding: SocketAddr,
    random: &mut fastrand::Rng,
) -> BTreeSet<IpAddr> {
    let is_v4 = binding.is_ipv4();
    let of_model = server.connectors.iter().flat_map(|connector| &connector.ranges);
    let of_model = of_model.filter(|range| range.is_v4 == is_v4).copied();
    let of_config = config.connectors().iter().flat_map(|it| &it.remote_ip_ranges);
    let of_config = of_config.map(|range| from_config(range.low(), range.high()));
    let ranges: Vec<_> = of_model.chain(of_config.filter(|range| range.is_v4 == is_v4)).collect();
    let most = if is_v4 { u32::MAX.into() } else { u128::MAX };
    let mut numbers = BTreeSet::new();
    for range in &ranges {
        numbers.extend([
            range.low.saturating_sub(1),
            range.low,
            range.high,
            range.high.saturating_add(1).min(most),
        ]);
    }
    for _ in 0..RANDOM_ADDRESSES {
        let range = random.choice(&ranges).filter(|_| random.bool());
        let (low, high) = range.map_or((0, most), |range| (range.low, range.high));
        numbers.insert(random.u128(low..=high));
    }
    let address = |number: u128| -> IpAddr {
        match u32::try_from(number) {
            Ok(number) if is_v4 => Ipv4Addr::from(number).into(),
            _ => Ipv6Addr::from(number).into(),
        }
    };
    // An IPv6 socket never shows these: they are IPv4 clients.
    let is_mapped = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    numbers.into_iter().map(address).filter(|ip| !is_mapped(ip)).collect()
}

/// A range of the configuration, whose IPv4 addresses are v4-mapped numbers.
fn from_config(low: u128, high: u128) -> ModelRange {
    let four = |number: u128| Ipv6Addr::from_bits(number).to_ipv4_mapped();
    match (four(low), four(high)) {
        (Some(low), Some(high)) => {
            let number = |ip: Ipv4Addr| u128::from(u32::from(ip));
            ModelRange { is_v4: true, low: number(low), high: number(high) }
        }
        _ => ModelRange { is_v4: false, low, high },
    }
}
