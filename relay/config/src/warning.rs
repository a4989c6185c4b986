//! The legal but unwise settings of a valid configuration.

use std::net::Ipv4Addr;

use crate::connector::error_location;
use crate::document::{Document, Wrong};
use crate::tls::Tls;
use crate::{Authentication, ConfigProblem};
use relay_connector::range::{Family, number_of};
use relay_connector::table::Idle;
use relay_connector::{
    AccessEntry, Binding, Clients, Connector, Grantee, Permission, PermissionSet, Principal,
    Proxies, Range, Standing, Table,
};
use relay_mail::address_space::is_of_this_site;
use relay_policy::AcceptedDomains;
use relay_users::limits::SCRAM_ITERATIONS;
use relay_users::{User, Users};

/// Notes every warning.
pub(super) fn warn(
    document: &Document<'_>,
    connectors: &[Connector],
    table: &Table,
    accepted_domains: &AcceptedDomains,
    clients: Clients,
    has_guard: bool,
) {
    for connector in connectors.iter().filter(|connector| connector.enabled) {
        families_without_ranges(document, connector, clients);
        if !has_guard {
            budgets_without_guard(document, connector);
        }
        if !connector.refuse {
            trust_in_strangers(document, connector);
            rights_without_principal(document, connector);
            nothing_to_do(document, connector, accepted_domains);
        }
    }
    wildcard_beside_exact(document, connectors, table);
    for &idle in table.idle() {
        range_without_effect(document, connectors, idle);
    }
}

/// Warns of certificates and authorities that no connector uses.
pub(super) fn unused_tls(document: &Document<'_>, tls: &Tls, connectors: &[Connector]) {
    for (name, files) in super::tls::unused_certificates(&tls.certificates, connectors) {
        let mend = "name it in tls_certificate_name of a connector, or remove it";
        let wrong = Wrong::new("no connector shows it", mend);
        document.warn(files.line, &name.to_string(), "", wrong);
    }
    for (place, trusted) in super::tls::unused_authorities(tls, connectors) {
        let mend = match place {
            "[fleet]" => "write ExchangeServer in auth_mechanism of a connector, or remove it",
            _ => "write domain_secure_enabled = true in a connector, or remove it",
        };
        document.warn(trusted.line, place, "", Wrong::new("no connector uses it", mend));
    }
}

/// Warns of open relays: relay rights or full trust for addresses of the Internet.
fn trust_in_strangers(document: &Document<'_>, connector: &Connector) {
    let mut public = connector.remote_ip_ranges.iter().filter(|range| !is_private(range));
    let Some(range) = public.next() else { return };
    let more = match public.count() {
        0 => String::new(),
        more => format!(" (and {more} more public ranges)"),
    };
    let whom = if is_everything(range) {
        format!("{range}{more} is the whole Internet")
    } else {
        format!("{range}{more} is public")
    };
    let problem = match connector.principal() {
        Principal::ExternallySecured => {
            format!("ExternalAuthoritative trusts every client of this connector, and {whom}")
        }
        Principal::Anonymous
            if connector
                .permissions(Principal::Anonymous)
                .contains(Permission::AcceptAnyRecipient) =>
        {
            format!("anonymous may relay to any recipient, and {whom}: an open relay")
        }
        Principal::Anonymous | Principal::Partner | Principal::Server | Principal::User => return,
    };
    let mend = "limit remote_ip_ranges to your own hosts";
    document.warn(
        range.line,
        &error_location(&connector.name),
        "remote_ip_ranges",
        Wrong::new(problem, mend),
    );
}

/// Warns of proxies with public addresses: they could claim any client address.
pub(super) fn trust_in_proxies(document: &Document<'_>, proxies: &Proxies) {
    for (key, ranges) in [
        ("proxy_protocol_from", &proxies.proxy_protocol_from),
        ("xclient_from", &proxies.xclient_from),
    ] {
        if let Some(range) = ranges.iter().find(|range| !is_private(range)) {
            let problem = format!(
                "every client in {range} can claim any address, even that of an externally secured \
                 server, and the range is public"
            );
            let wrong = Wrong::new(problem, "limit it to your own proxies");
            document.warn(range.line, "[proxies]", key, wrong);
        }
    }
}

fn is_private(range: &Range) -> bool {
    is_of_this_site(range.low(), range.high())
}

fn is_everything(range: &Range) -> bool {
    let low = number_of(range.family().unspecified());
    let high = match range.family() {
        Family::Ipv4 => number_of(Ipv4Addr::BROADCAST.into()),
        Family::Ipv6 => u128::MAX,
    };
    (range.low(), range.high()) == (low, high)
}

/// Warns of rights for a principal that this connector never has, and of entries without effect.
fn rights_without_principal(document: &Document<'_>, connector: &Connector) {
    let warn =
        |key, wrong| document.warn(connector.line, &error_location(&connector.name), key, wrong);
    for group in connector.permission_groups.iter() {
        if group.principals().any(|principal| connector.can_be(principal)) {
            continue;
        }
        let why: Vec<_> = group.principals().map(why_impossible).collect();
        let why = match why.is_empty() {
            true => "no client can be a server of Exchange 2003 here".to_owned(),
            false => why.join(", and "),
        };
        let problem = format!("{group} has no effect: {why}");
        warn("permission_groups", Wrong::new(problem, "remove it"));
    }
    for (key, entries) in [("grants", &connector.grants), ("denies", &connector.denies)] {
        let mut to = entries.iter().map(|entry| entry.to.principal());
        if let Some(principal) = to.find(|&principal| !connector.can_be(principal)) {
            let known: Vec<_> = connector.principals().map(Principal::name).collect();
            let wrong = Wrong::new(
                format!("some have no effect: {}", why_impossible(principal)),
                format!("write them for {}, or remove them", known.join(" or ")),
            );
            warn(key, wrong);
        }
    }
    for entry in &connector.denies {
        let AccessEntry { to, permission } = entry;
        let user = match to {
            Grantee::User(name) => Some(name),
            Grantee::Principal(_) => None,
        };
        let standing = connector.source_of_permission(to.principal(), user, *permission);
        let is_idle = matches!(standing, Standing::Denied { against: None, .. });
        // A user with its own grants may have rights that other users do not have.
        let is_grantee = |grant: &AccessEntry| grant.permission == *permission;
        if connector.can_be(to.principal()) && is_idle && !connector.grants.iter().any(is_grantee) {
            let problem =
                format!("{to} does not have {permission} in any case; the denial has no effect");
            warn("denies", Wrong::new(problem, "remove it"));
        }
        if connector.grants.contains(entry) {
            let problem = format!("{permission} is denied to {to}; the denial overrides the grant");
            warn("grants", Wrong::new(problem, "remove the grant or the denial"));
        }
    }
}

/// Why no client can be this principal, if none can.
fn why_impossible(principal: Principal) -> &'static str {
    match principal {
        Principal::Anonymous => "with ExternalAuthoritative no client is anonymous",
        Principal::ExternallySecured => {
            "without ExternalAuthoritative no client is externally secured"
        }
        Principal::Partner => "without domain_secure_enabled no client is a partner",
        Principal::User => "without BasicAuth no client can authenticate as a user",
        Principal::Server => "without ExchangeServer in auth_mechanism no client is a server",
    }
}

/// The rights of all possible clients, including users with their own grants.
fn rights_of_all(connector: &Connector) -> impl Iterator<Item = PermissionSet> {
    let named = connector.grants.iter().filter_map(|entry| match &entry.to {
        Grantee::User(name) if connector.can_be(Principal::User) => {
            Some(connector.permissions_of(Principal::User, Some(name)))
        }
        _ => None,
    });
    connector.principals().map(|principal| connector.permissions(principal)).chain(named)
}

/// Warns of connectors that accept no message.
fn nothing_to_do(
    document: &Document<'_>,
    connector: &Connector,
    accepted_domains: &AcceptedDomains,
) {
    let permissions = rights_of_all(connector)
        .filter(|permissions| permissions.contains(Permission::Submit))
        .fold(PermissionSet::EMPTY, PermissionSet::union);
    if permissions.is_empty() {
        let known: Vec<_> = connector.principals().map(Principal::name).collect();
        let wrong = Wrong::new(
            format!("no client can send: {} lacks ms-Exch-SMTP-Submit", known.join(" and ")),
            "write permission_groups = [\"AnonymousUsers\"], or refuse = true if this is intended",
        );
        document.warn(connector.line, &error_location(&connector.name), "permission_groups", wrong);
    } else if !permissions.contains(Permission::AcceptAnyRecipient) && accepted_domains.is_empty() {
        let wrong = Wrong::new(
            "every recipient is refused: there is no accepted domain and no relay right",
            "write [[accepted_domain]] with the name of your domain",
        );
        document.warn(connector.line, &error_location(&connector.name), "", wrong);
    }
}

/// Warns of users without a connector, and of connectors whose users have no rights.
pub(super) fn of_authentication(
    document: &Document<'_>,
    authentication: Option<&Authentication>,
    connectors: &[Connector],
) {
    let mut offering =
        connectors.iter().filter(|connector| connector.auth_mechanism.basic_auth.is_some());
    if let Some(authentication) = authentication
        && offering.clone().next().is_none()
    {
        let wrong = Wrong::new(
            "has no effect: no connector has BasicAuth",
            "write auth_mechanism = [\"Tls\", \"BasicAuth\", \"BasicAuthRequireTLS\"] on one",
        );
        document.warn(authentication.line, "[authentication]", "", wrong);
    }
    let may_submit = |connector: &Connector| {
        let named = connector.grants.iter().filter_map(|entry| match &entry.to {
            Grantee::User(name) => Some(Some(name)),
            Grantee::Principal(_) => None,
        });
        std::iter::once(None).chain(named).any(|user| {
            connector.permissions_of(Principal::User, user).contains(Permission::Submit)
        })
    };
    while let Some(connector) = offering.find(|connector| !may_submit(connector)) {
        let wrong = Wrong::new(
            "no user can authenticate: they lack ms-Exch-SMTP-Submit",
            "add ExchangeUsers to permission_groups, or remove BasicAuth",
        );
        document.warn(connector.line, &error_location(&connector.name), "permission_groups", wrong);
    }
}

/// Warnings about a users file, at the line that names it.
pub(super) fn of_users(users: &Users, line: u32) -> Vec<ConfigProblem> {
    let mut findings = Vec::new();
    let mut warn = |problem: &str, mend: &str| {
        let (place, key) = ("[authentication]".to_owned(), "users_file".to_owned());
        let (problem, mend) = (problem.to_owned(), mend.to_owned());
        findings.push(ConfigProblem { line, place, key, problem, mend });
    };
    if users.iter().next().is_none() {
        warn("there is no user", "create one with `relay passwd`");
    } else if !users.all_have_scram() {
        warn(
            "some users have no scram, so SCRAM-SHA-256 is not offered",
            "set their passwords again with `relay passwd`",
        );
    }
    let most = SCRAM_ITERATIONS;
    let too_many = |user: &User| user.scram.as_ref().is_some_and(|it| it.iterations.get() > most);
    if let Some(user) = users.iter().find(|user| too_many(user)) {
        warn(
            &format!(
                "user {} has more than {most} iterations of SCRAM: clients that use Cyrus SASL, such \
                 as Postfix, refuse them and cannot log on",
                user.name
            ),
            "set the passwords of such users again with `relay passwd`",
        );
    }
    if !users.have_equal_cost() {
        warn(
            "password hashes differ in cost: the time of a refusal shows which users exist",
            "set the passwords of users with cheaper hashes again with `relay passwd`",
        );
    }
    findings
}

/// Warns of a binding without a range of its family.
fn families_without_ranges(document: &Document<'_>, connector: &Connector, clients: Clients) {
    if clients == Clients::OfBothFamilies && !connector.remote_ip_ranges.is_empty() {
        return;
    }
    for binding in &connector.bindings {
        let family = binding.family();
        if !connector.remote_ip_ranges.iter().any(|range| range.family() == family) {
            let (name, everybody) = match family {
                Family::Ipv4 => ("IPv4", "0.0.0.0/0"),
                Family::Ipv6 => ("IPv6", "::/0"),
            };
            let wrong = Wrong::new(
                format!("{binding} serves no client: no range is {name}"),
                format!("remove the binding, or add a range, for all clients \"{everybody}\""),
            );
            document.warn(connector.line, &error_location(&connector.name), "bindings", wrong);
        }
    }
}

/// Warns of budgets without a guard: only the guard counts SYNs.
fn budgets_without_guard(document: &Document<'_>, connector: &Connector) {
    for (key, budget) in [
        ("syn_budget", connector.syn_budget),
        ("syn_budget_per_source", connector.syn_budget_per_source),
    ] {
        if budget.is_some() {
            let wrong = Wrong::new(
                "has no effect: no guard counts SYNs",
                "name interfaces in [classifier], with mode auto or kernel",
            );
            document.warn(connector.line, &error_location(&connector.name), key, wrong);
        }
    }
}

/// Warns of an exact binding that takes over connections to its address from a wildcard.
fn wildcard_beside_exact(document: &Document<'_>, connectors: &[Connector], table: &Table) {
    let bindings = table.bindings();
    for exact in bindings.iter().filter(|binding| !binding.is_wildcard()) {
        let wildcard = exact.wildcard();
        let (Some(exact_owner), Some(wildcard_owner)) =
            (owner(connectors, *exact), owner(connectors, wildcard))
        else {
            continue;
        };
        let problem = format!(
            "{exact} gets every connection to that address instead of {wildcard} of {}, also from \
             addresses that only the latter serves",
            error_location(&wildcard_owner.name)
        );
        let mend = "bind both to the same address, unless this is intended";
        let name = error_location(&exact_owner.name);
        document.warn(exact_owner.line, &name, "bindings", Wrong::new(problem, mend));
    }
}

fn owner(connectors: &[Connector], binding: Binding) -> Option<&Connector> {
    connectors.iter().find(|connector| connector.enabled && connector.bindings.contains(&binding))
}

fn range_without_effect(document: &Document<'_>, connectors: &[Connector], idle: Idle) {
    let at = match idle {
        Idle::Shadowed { range, .. } => range,
        Idle::Redundant { inner, .. } => inner,
        Idle::WithoutBinding { range, .. } => range,
    };
    let connector = &connectors[at.connector];
    let Some(range) = connector.range(at.range) else { return };
    let (problem, mend) = match idle {
        Idle::Shadowed { binding, .. } => (
            format!("smaller ranges cover every address of {range} on {binding}"),
            "remove it, or one of the smaller ranges",
        ),
        Idle::Redundant { outer, .. } => {
            let outer = connector.range(outer.range).map(ToString::to_string).unwrap_or_default();
            (
                format!("{range} lies inside {outer} of the same connector"),
                "remove it, unless you need separate counters",
            )
        }
        Idle::WithoutBinding { more, .. } => {
            let (family, wildcard) = match range.family() {
                Family::Ipv4 => ("IPv4", "0.0.0.0"),
                Family::Ipv6 => ("IPv6", "[::]"),
            };
            let more = match more {
                0 => String::new(),
                more => format!(" (or of {more} more ranges)"),
            };
            let port = connector.bindings.first().map_or(25, |binding| binding.address().port());
            (
                format!("no client has an address of {range}{more}: no binding is {family}"),
                &*format!("remove it, or add \"{wildcard}:{port}\" to bindings"),
            )
        }
    };
    let name = error_location(&connector.name);
    document.warn(range.line, &name, "remote_ip_ranges", Wrong::new(problem, mend));
}
