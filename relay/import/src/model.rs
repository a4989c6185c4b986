//! What would Exchange decide? Selection by section 1 of docs/exchange-semantics.md, rights by
//! section 3, from the export alone.
//!
//! The model shares no code with the mapping, so that a mistake of the mapping is a difference: it
//! has its own tables of rights, its own parsers of ranges and sizes, and compares address by
//! address instead of with a table.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::source::{AccessKind, AccessRow, ExportedObject, ExportedObjects, ObjectKind};

/// The enabled connectors of one server that clients can reach.
pub(crate) struct ServerModel {
    pub server: Option<String>,
    pub connectors: Vec<ModelConnector>,
}

/// One connector in the model.
pub(crate) struct ModelConnector {
    pub name: String,
    pub bindings: Vec<SocketAddr>,
    pub ranges: Vec<ModelRange>,
    pub expected: Expected,
}

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelRange {
    pub is_v4: bool,
    pub low: u128,
    pub high: u128,
}

/// What Exchange would do for a client of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The client may send to any recipient without authentication.
    pub any_recipient: bool,
    /// … as any sender outside of the accepted domains.
    pub any_sender: bool,
    /// … as a sender of an authoritative domain.
    pub authoritative_sender: bool,
    /// Octets of a message; `None`: not limited.
    pub size_limit: Option<u64>,
    pub logon: Logon,
    /// A user that authenticated may send to any recipient.
    pub user_any_recipient: bool,
}

/// When can a user authenticate with a password?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logon {
    Never,
    WithinTls,
    Always,
}

const SUBMIT: &str = "ms-exch-smtp-submit";
const ANY_RECIPIENT: &str = "ms-exch-smtp-accept-any-recipient";
const ANY_SENDER: &str = "ms-exch-smtp-accept-any-sender";
const AUTHORITATIVE: &str = "ms-exch-smtp-accept-authoritative-domain-sender";
const NO_SIZE_LIMIT: &str = "ms-exch-bypass-message-size-limit";

/// `MaxMessageSize` of a connector without the property: 36 MB.
const DEFAULT_SIZE: u64 = 37_748_736;

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Anonymous,
    ExternallySecured,
    User,
}

/// The models of all servers in an export.
pub(crate) fn servers(exported: &ExportedObjects, only: Option<&str>) -> Vec<ServerModel> {
    let connectors: Vec<_> = exported
        .objects
        .iter()
        .filter(|object| object.kind == ObjectKind::ReceiveConnector)
        .filter(|object| match (only, object.server()) {
            (Some(only), server) => server.is_some_and(|it| it.eq_ignore_ascii_case(only)),
            (None, _) => true,
        })
        .collect();
    let mut names: Vec<_> = connectors.iter().map(|it| it.server().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    let of_server = |server: Option<String>| {
        let own: Vec<_> = connectors.iter().filter(|it| it.server() == server.as_deref()).collect();
        // Section 1.5: clients face the front end, if the server has one.
        let role = |it: &ExportedObject, role: &str| {
            it.text("TransportRole").is_some_and(|text| text.eq_ignore_ascii_case(role))
        };
        let has_frontend = own.iter().any(|it| role(it, "FrontendTransport"));
        let connectors = own
            .iter()
            .filter(|it| !it.text("Enabled").is_some_and(|text| text.eq_ignore_ascii_case("false")))
            .filter(|it| !(has_frontend && role(it, "HubTransport")))
            .map(|it| ModelConnector::new(it, &exported.access))
            .collect();
        ServerModel { server, connectors }
    };
    names.into_iter().map(of_server).collect()
}

impl ServerModel {
    /// Section 1.2: the binding first, then the smallest range that contains the client.
    pub(crate) fn select(&self, local: SocketAddr, client: IpAddr) -> Option<&ModelConnector> {
        let any = match local {
            SocketAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port()),
            SocketAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), local.port()),
        };
        let has = |binding: SocketAddr| {
            self.connectors.iter().any(move |it| it.bindings.contains(&binding))
        };
        let binding = if has(local) { local } else { any };
        let on_binding = self.connectors.iter().filter(|it| it.bindings.contains(&binding));
        let sized = on_binding.filter_map(|it| {
            let containing = it.ranges.iter().filter(|range| range.contains(client));
            Some((containing.map(|range| range.high - range.low).min()?, it))
        });
        sized.min_by_key(|(size, _)| *size).map(|(_, connector)| connector)
    }
}

impl ModelRange {
    fn contains(&self, client: IpAddr) -> bool {
        let (is_v4, number) = number(client);
        self.is_v4 == is_v4 && self.low <= number && number <= self.high
    }
}

/// The family of an address and its number: 32 bits or 128 bits.
pub(crate) fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u32::from(address).into()),
        IpAddr::V6(address) => (false, address.into()),
    }
}

impl ModelConnector {
    fn new(object: &ExportedObject, access: &[AccessRow]) -> Self {
        let words = |key| -> Vec<String> {
            object.words(key).into_iter().map(str::to_ascii_lowercase).collect()
        };
        let (auth, groups) = (words("AuthMechanism"), words("PermissionGroups"));
        let has_auth = |word: &str| auth.iter().any(|it| it == word);
        let rows: Vec<_> = access.iter().filter(|row| object.is_named(&row.connector)).collect();
        let first = match has_auth("externalauthoritative") {
            true => Who::ExternallySecured,
            false => Who::Anonymous,
        };
        let client = rights(first, &groups, &rows);
        let user = rights(Who::User, &groups, &rows);
        let may = |rights: &BTreeSet<String>, right: &str| {
            rights.contains(SUBMIT) && rights.contains(right)
        };
        let logon = match (has_auth("basicauth"), has_auth("basicauthrequiretls")) {
            // Section 3.3: without Submit, AUTH fails even with the right password.
            _ if !user.contains(SUBMIT) => Logon::Never,
            (false, _) => Logon::Never,
            (true, true) => Logon::WithinTls,
            (true, false) => Logon::Always,
        };
        let size = object.text("MaxMessageSize").and_then(octets).unwrap_or(DEFAULT_SIZE);
        Self {
            name: object.name().to_owned(),
            bindings: object
                .values("Bindings")
                .iter()
                .filter_map(|it| it.trim().parse().ok())
                .collect(),
            ranges: object.values("RemoteIPRanges").iter().filter_map(|it| range(it)).collect(),
            expected: Expected {
                any_recipient: may(&client, ANY_RECIPIENT),
                any_sender: may(&client, ANY_SENDER),
                authoritative_sender: may(&client, AUTHORITATIVE),
                size_limit: (!client.contains(NO_SIZE_LIMIT)).then_some(size),
                logon,
                user_any_recipient: logon != Logon::Never && may(&user, ANY_RECIPIENT),
            },
        }
    }
}

/// Section 3.1, the rows that the questions need; then the access list, in which a denial wins.
fn rights(who: Who, groups: &[String], rows: &[&AccessRow]) -> BTreeSet<String> {
    let has = |one: &str, other: &str| groups.iter().any(|group| group == one || group == other);
    let of_group: &[&str] = match who {
        Who::Anonymous if has("anonymoususers", "anonymous") => {
            &[SUBMIT, ANY_SENDER, AUTHORITATIVE]
        }
        Who::User if has("exchangeusers", "") => &[SUBMIT, ANY_RECIPIENT],
        Who::ExternallySecured if has("exchangeservers", "") => {
            &[SUBMIT, ANY_RECIPIENT, ANY_SENDER, AUTHORITATIVE, NO_SIZE_LIMIT]
        }
        Who::Anonymous | Who::User | Who::ExternallySecured => &[],
    };
    let mut rights: BTreeSet<String> = of_group.iter().map(|&right| right.to_owned()).collect();
    let of = |kind: AccessKind| rows.iter().filter(move |row| row.kind == kind);
    for row in of(AccessKind::Allow).filter(|row| is(who, &row.account)) {
        rights.extend(row.rights.iter().map(|right| right.trim().to_ascii_lowercase()));
    }
    for row in of(AccessKind::Deny).filter(|row| is(who, &row.account) || is_everyone(&row.account))
    {
        for right in &row.rights {
            rights.remove(&right.trim().to_ascii_lowercase());
        }
    }
    rights
}

fn short(account: &str) -> String {
    account.rsplit('\\').next().unwrap_or_default().trim().to_lowercase()
}

fn is(who: Who, account: &str) -> bool {
    let name = short(account);
    match who {
        Who::Anonymous => {
            name == "s-1-5-7"
                || name == "anonymous logon"
                || account.to_lowercase().starts_with("nt") && name.contains("anonym")
        }
        Who::User => name == "s-1-5-11" || name == "authenticated users",
        Who::ExternallySecured => name == "externally secured servers",
    }
}

fn is_everyone(account: &str) -> bool {
    ["everyone", "s-1-1-0", "jeder", "tout le monde", "todos", "iedereen"]
        .contains(&short(account).as_str())
}

/// Section 1.1: one address, low-high, a prefix whose host bits may be set, or a mask.
fn range(text: &str) -> Option<ModelRange> {
    let address = |text: &str| -> Option<IpAddr> { text.trim().split('%').next()?.parse().ok() };
    if let Some((low, high)) = text.split_once('-') {
        let ((is_v4, low), (ends_v4, high)) = (number(address(low)?), number(address(high)?));
        return (is_v4 == ends_v4 && low <= high).then_some(ModelRange { is_v4, low, high });
    }
    let (start, bits) = if let Some((start, bits)) = text.split_once('/') {
        (start, Some(bits.trim().parse::<u32>().ok()?))
    } else if let Some((start, mask)) = text.split_once('(') {
        let mask: Ipv4Addr = mask.trim().strip_suffix(')')?.trim().parse().ok()?;
        (start, Some(u32::from(mask).count_ones()))
    } else {
        (text, None)
    };
    let (is_v4, start) = number(address(start)?);
    if bits.is_none() && start == 0 {
        return None;
    }
    let width = if is_v4 { 32 } else { 128 };
    let free = width - bits.unwrap_or(width).min(width);
    let size = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    Some(ModelRange { is_v4, low: start & !size, high: start | size })
}

/// The exact count in parentheses, or a number with a unit.
fn octets(text: &str) -> Option<u64> {
    let digits = |text: &str| -> Option<u64> {
        text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    if let Some((_, exact)) = text.split_once('(') {
        return digits(exact);
    }
    let number = digits(text)?;
    let unit = text.trim().trim_start_matches(|c: char| c.is_ascii_digit()).trim();
    match unit.to_ascii_uppercase().as_str() {
        "UNLIMITED" => None,
        "KB" => number.checked_mul(1024),
        "MB" => number.checked_mul(1024 * 1024),
        "GB" => number.checked_mul(1024 * 1024 * 1024),
        _ => Some(number),
    }
}
