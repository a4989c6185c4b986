//! What is dangerous about the connectors together: open relays, overlaps, shared ports.

use std::net::{IpAddr, Ipv6Addr};

use relay_connector::Range;
use relay_mail::address_space::is_of_this_site;

use crate::connector::Trust;
use crate::merge::Merged;
use crate::report::{Danger, DangerLevel};

/// Notes the dangers of the enabled connectors.
pub(crate) fn find(connectors: &[Merged], dangers: &mut Vec<Danger>) {
    let enabled: Vec<_> = connectors.iter().filter(|it| it.members[0].enabled).collect();
    for connector in &enabled {
        open_relay(connector, dangers);
    }
    for (index, one) in enabled.iter().enumerate() {
        for other in &enabled[index + 1..] {
            if shares_binding(one, other) {
                ranges_of_two(one, other, dangers);
            }
            exact_beside_wildcard(one, other, dangers);
        }
        overlaps_in_one(one, dangers);
    }
    shared_ports(&enabled, dangers);
}

fn open_relay(connector: &Merged, dangers: &mut Vec<Danger>) {
    let mapped = &connector.members[0];
    let whom = match mapped.trust {
        Trust::No => return,
        Trust::AnonymousRelay => "anonymous clients may send to any recipient",
        Trust::ExternallySecured => "every client is externally secured and may do everything",
    };
    let Some(range) = mapped.ranges.iter().find(|range| is_public(range)) else { return };
    let extent = if is_everything(range) { "is the whole Internet" } else { "is public" };
    dangers.push(Danger::of_connector(
        DangerLevel::Danger,
        &connector.name,
        format!("{whom}, and {range} {extent}: an open relay"),
        "limit remote_ip_ranges to your own hosts, or remove the right and give the hosts a \
         connector of their own",
    ));
}

fn is_everything(range: &Range) -> bool {
    range.blocks().take(2).map(|block| block.bits).eq([match range.family() {
        relay_connector::range::Family::Ipv4 => 96,
        relay_connector::range::Family::Ipv6 => 0,
    }])
}

fn is_public(range: &Range) -> bool {
    !is_of_this_site(range.low(), range.high())
}

fn ranges_of_two(one: &Merged, other: &Merged, dangers: &mut Vec<Danger>) {
    for a in &one.members[0].ranges {
        for b in other.members[0].ranges.iter().filter(|b| a.family() == b.family()) {
            let (low, high) = (a.low().max(b.low()), a.high().min(b.high()));
            if low > high {
                continue;
            }
            let place = &other.name;
            if (a.low(), a.high()) == (b.low(), b.high()) {
                dangers.push(Danger::of_connector(
                    DangerLevel::Danger,
                    place,
                    format!("{b} is also a range of connector \"{}\"", one.name),
                    "remove it from one of them; or import one server with --server",
                ));
            } else if a.low() <= b.low() && b.high() <= a.high() {
                shadow((other, b), (one, a), dangers);
            } else if b.low() <= a.low() && a.high() <= b.high() {
                shadow((one, a), (other, b), dangers);
            } else {
                dangers.push(Danger::of_connector(
                    DangerLevel::Danger,
                    place,
                    format!(
                        "{b} overlaps {a} of connector \"{}\", and neither contains the other",
                        one.name
                    ),
                    format!("remove {} from one of them", between(low, high)),
                ));
            }
        }
    }
}

/// The smaller range wins, which is meant against a connector for all clients.
fn shadow(inner: (&Merged, &Range), outer: (&Merged, &Range), dangers: &mut Vec<Danger>) {
    if is_everything(outer.1) {
        return;
    }
    dangers.push(Danger::of_connector(
        DangerLevel::Note,
        &outer.0.name,
        format!(
            "connector \"{}\" gets the clients in {} of the range {}: the smaller range wins",
            inner.0.name, inner.1, outer.1
        ),
        "nothing if this is meant",
    ));
}

fn overlaps_in_one(connector: &Merged, dangers: &mut Vec<Danger>) {
    let ranges = &connector.members[0].ranges;
    for (index, a) in ranges.iter().enumerate() {
        for b in ranges[index + 1..].iter().filter(|b| a.family() == b.family()) {
            let is_apart = a.high() < b.low() || b.high() < a.low();
            let is_nested = a.low() <= b.low() && b.high() <= a.high()
                || b.low() <= a.low() && a.high() <= b.high();
            let is_same = (a.low(), a.high()) == (b.low(), b.high());
            if is_apart || is_nested && !is_same {
                continue;
            }
            let mend = if is_same {
                format!("remove {b}")
            } else {
                let whole = between(a.low().min(b.low()), a.high().max(b.high()));
                format!("write {whole} instead of both")
            };
            dangers.push(Danger::of_connector(
                DangerLevel::Danger,
                &connector.name,
                format!("the ranges {a} and {b} of one connector overlap"),
                mend,
            ));
        }
    }
}

fn between(low: u128, high: u128) -> String {
    let (low, high) = (address(low), address(high));
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn address(number: u128) -> IpAddr {
    Ipv6Addr::from_bits(number).to_canonical()
}

fn shares_binding(one: &Merged, other: &Merged) -> bool {
    one.members[0].bindings.iter().any(|binding| other.members[0].bindings.contains(binding))
}

fn parts(binding: &str) -> Option<(&str, &str)> {
    binding.trim().rsplit_once(':')
}

/// Exchange's documentation does not say which one wins; here the exact binding does.
fn exact_beside_wildcard(one: &Merged, other: &Merged, dangers: &mut Vec<Danger>) {
    for (exact, wildcard) in [(one, other), (other, one)] {
        for binding in &exact.members[0].bindings {
            let Some((address, port)) = parts(binding) else { continue };
            let any = if address.starts_with('[') { "[::]" } else { "0.0.0.0" };
            let all = format!("{any}:{port}");
            if address != any && wildcard.members[0].bindings.contains(&all) {
                dangers.push(Danger::of_connector(
                    DangerLevel::Note,
                    &exact.name,
                    format!(
                        "listens on {binding} beside {all} of connector \"{}\": here its clients \
                         never fall back to the other connector",
                        wildcard.name
                    ),
                    "use one form of binding on a port, or add ranges for all clients here",
                ));
            }
        }
    }
}

fn shared_ports(connectors: &[&Merged], dangers: &mut Vec<Danger>) {
    let mut bindings: Vec<_> =
        connectors.iter().flat_map(|connector| &connector.members[0].bindings).collect();
    bindings.sort();
    bindings.dedup();
    for binding in bindings {
        let on: Vec<_> = connectors
            .iter()
            .filter(|connector| connector.members[0].bindings.contains(binding))
            .map(|connector| format!("\"{}\"", connector.name))
            .collect();
        if on.len() > 1 {
            dangers.push(Danger {
                level: DangerLevel::Note,
                place: format!("binding {binding}"),
                problem: format!("is shared by the connectors {}", on.join(", ")),
                mend: "nothing: the smallest range that contains the client selects the connector"
                    .to_owned(),
            });
        }
    }
}
