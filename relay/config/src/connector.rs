//! `[[connector]]`: keys, defaults, and the combinations that Exchange refuses.
//!
//! A connector with refused keys is still built, with defaults for these keys: the text is refused
//! as a whole, but one run shows its other errors too.

mod conflict;
mod encryption;
mod extensions;
mod limits;
mod rights;

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::antispam;
use crate::document::{Section, Value, Wrong, describe};
use crate::limits::{BUDGET_TOKENS, CONNECTOR_NAME_CHARACTERS};
use crate::mapped::MappedAddresses;
use crate::tls::Tls;
use crate::value::{boolean, host_name, number, one_of, text};
use relay_connector::binding::BindingError;
use relay_connector::range::RangeError;
use relay_connector::{Binding, Connector, ConnectorTls, ProtocolLoggingLevel, Range, SynBudget};
use relay_mail::limits::REPLY_LINE_OCTETS;
use toml::de::DeValue;

pub(super) use conflict::refuse as refuse_conflict;

/// The name of a connector in findings.
pub(super) fn error_location(name: &str) -> String {
    format!("connector \"{name}\"")
}

/// The parts of the configuration that connectors need.
#[derive(Clone, Copy)]
pub(super) struct ConnectorContext<'n> {
    /// `hostname`.
    pub name: &'n str,
    /// `[tls]` and its related tables.
    pub tls: &'n Tls,
    /// Does `[authentication]` exist?
    pub has_users: bool,
    /// `[antispam]`.
    pub antispam: &'n antispam::Defaults,
}

/// Reads every connector.
pub(super) fn read(sections: Vec<Section<'_, '_>>, host: ConnectorContext<'_>) -> Vec<Connector> {
    let mut lines: HashMap<String, u32> = HashMap::new();
    let mut connectors = Vec::with_capacity(sections.len());
    for mut section in sections {
        let mend = "write name = \"Default Frontend\", or another name";
        let name = section.require("name", mend, name);
        if let Some(name) = &name {
            section.place = error_location(name);
            if let Some(earlier) = lines.insert(name.to_lowercase(), section.line) {
                let problem = format!("is the name of another connector (line {earlier})");
                let mend = "give one of them another name";
                section.refuse(section.line, "name", Wrong::new(problem, mend));
            }
        }
        connectors.push(connector(&mut section, name.unwrap_or_default(), host));
        refuse_plain_beside_implicit(&section, &connectors);
        section.finish(elsewhere);
    }
    connectors
}

/// All connectors of one binding must begin with TLS, or none: a client knows the binding, but not
/// its connector.
fn refuse_plain_beside_implicit(section: &Section<'_, '_>, connectors: &[Connector]) {
    let Some((last, earlier)) = connectors.split_last() else { return };
    for earlier in earlier.iter().filter(|earlier| earlier.enabled && last.enabled) {
        let differs = |binding: &&Binding| {
            earlier.bindings.contains(binding)
                && earlier.encryption.is_implicit_on(**binding)
                    != last.encryption.is_implicit_on(**binding)
        };
        if let Some(binding) = last.bindings.iter().find(differs) {
            let problem = format!(
                "{binding} begins with TLS in one of two connectors, this and {} (line {}), and without TLS in \
                 the other",
                error_location(&earlier.name),
                earlier.line
            );
            let mend = "write it in implicit_tls_bindings of both, or in bindings of both";
            section.refuse(section.line, "implicit_tls_bindings", Wrong::new(problem, mend));
        }
    }
}

fn connector(section: &mut Section<'_, '_>, name: String, host: ConnectorContext<'_>) -> Connector {
    let line = section.line;
    let comment = section.take("comment", text).unwrap_or_default();
    let enabled = section.take("enabled", boolean).unwrap_or(true);
    let encryption_lines = encryption::Lines::of(section);
    let encryption = encryption::read(section, host.tls);
    let bindings = bindings(section, &encryption);
    let remote_ip_ranges = ranges(section);
    let permission_groups = rights::permission_groups(section);
    let has_certificate = encryption.certificate.is_some();
    let auth_mechanism =
        rights::auth_mechanism(section, permission_groups, has_certificate, host.has_users);
    let grants = rights::access_entries(section, "grants");
    let denies = rights::access_entries(section, "denies");
    let require_tls =
        encryption::check(section, &encryption, auth_mechanism, encryption_lines, host.tls);
    let refuse = section.take("refuse", boolean).unwrap_or(false);
    let syn_budget = budget(section, "syn_budget");
    let syn_budget_per_source = budget(section, "syn_budget_per_source");
    let banner = section.take("banner", banner);
    let fqdn = section.take("fqdn", host_name);
    let fqdn = fqdn.map_or_else(|| host.name.to_owned(), |fqdn| fqdn.ascii().to_owned());
    let require_ehlo_domain = section.take("require_ehlo_domain", boolean).unwrap_or(false);
    let extensions = extensions::read(section);
    let reject_recipient_domains = limits::reject_recipient_domains(section);
    let antispam = antispam::of_connector(section, host.antispam);
    let limits = limits::read(section);
    let levels =
        one_of(&[("None", ProtocolLoggingLevel::None), ("Verbose", ProtocolLoggingLevel::Verbose)]);
    let protocol_logging_level = section.take("protocol_logging_level", levels).unwrap_or_default();
    Connector {
        name,
        line,
        comment,
        enabled,
        bindings,
        remote_ip_ranges,
        auth_mechanism,
        permission_groups,
        grants,
        denies,
        encryption,
        require_tls,
        refuse,
        syn_budget,
        syn_budget_per_source,
        banner,
        fqdn,
        require_ehlo_domain,
        extensions,
        reject_recipient_domains,
        antispam,
        limits,
        protocol_logging_level,
    }
}

fn name(value: Value<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    let most = CONNECTOR_NAME_CHARACTERS;
    if name.trim().is_empty() || name.chars().count() > most {
        return Err(Wrong::new(
            "is empty or too long",
            format!("write a name of 1 to {most} characters"),
        ));
    }
    Ok(name)
}

/// The bindings of the connector, with or without implicit TLS.
fn bindings(section: &mut Section<'_, '_>, encryption: &ConnectorTls) -> Vec<Binding> {
    let line = section.line_of("bindings");
    let implicit = &encryption.implicit_bindings;
    let mut mapped = MappedAddresses::default();
    let mut bindings: Vec<Binding> = if implicit.is_empty() {
        section.require_list(
            "bindings",
            "write bindings = [\"0.0.0.0:25\", \"[::]:25\"], or an address of this host",
            |value| mapped.read(value, BindingError::mend),
        )
    } else {
        section.take_list("bindings", |value| mapped.read(value, BindingError::mend))
    };
    mapped.warn(section, "bindings");
    for (index, binding) in bindings.iter().enumerate() {
        if bindings[..index].contains(binding) {
            let wrong = Wrong::new(format!("{binding} is listed twice"), "remove one of them");
            section.refuse(line, "bindings", wrong);
        }
        if implicit.contains(binding) {
            let problem = format!("{binding} is also one of implicit_tls_bindings");
            section.refuse(line, "bindings", Wrong::new(problem, "remove it from one of them"));
        }
    }
    bindings.extend(implicit);
    bindings
}

fn ranges(section: &mut Section<'_, '_>) -> Vec<Range> {
    let mend = "write remote_ip_ranges = [\"10.38.97.0/24\"]; \
                for all clients [\"0.0.0.0/0\", \"::/0\"]";
    let mut mapped = MappedAddresses::default();
    let ranges = section.require_list("remote_ip_ranges", mend, |value| range(value, &mut mapped));
    mapped.warn(section, "remote_ip_ranges");
    ranges
}

/// One range, with its line.
pub(super) fn range(value: Value<'_>, mapped: &mut MappedAddresses) -> Result<Range, Wrong> {
    let line = value.line;
    let mut range: Range = mapped.read(value, RangeError::mend)?;
    range.line = line;
    Ok(range)
}

/// Exchange requires the code at the beginning, so that the banner is the complete reply.
fn banner(value: Value<'_>) -> Result<String, Wrong> {
    let banner = text(value)?;
    let mend = "write 220, a space and the greeting, as in \"220 edge1.contoso.example ready\"";
    // The reply line is the banner and CRLF.
    if banner.len() + 2 > REPLY_LINE_OCTETS || !banner.is_ascii() {
        let most = REPLY_LINE_OCTETS - 2;
        let problem = format!("is longer than {most} octets, or not ASCII");
        return Err(Wrong::new(problem, mend));
    }
    match banner.strip_prefix("220 ").map(str::trim) {
        Some(greeting) if !greeting.is_empty() => Ok(greeting.to_owned()),
        _ => Err(Wrong::new("does not begin with 220", mend)),
    }
}

fn budget(section: &mut Section<'_, '_>, key: &'static str) -> Option<SynBudget> {
    let is_there = section.has_key(key);
    let place = format!("{}: {key}", section.place);
    let mut budget = section.take_section(key, &place);
    if !is_there {
        return None;
    }
    let rate = budget.require("rate", "write rate = \"200/s\"", rate);
    let burst = budget
        .require("burst", "write burst = 400", |value| nonzero(number(1..=BUDGET_TOKENS)(value)?));
    budget.finish(|_| None);
    Some(SynBudget { rate: rate?, burst: burst? })
}

/// `"200/s"`.
fn rate(value: Value<'_>) -> Result<NonZeroU32, Wrong> {
    let most = BUDGET_TOKENS;
    let mend = format!("write SYNs a second, as in \"200/s\", from 1/s to {most}/s");
    let DeValue::String(text) = &value.value else {
        return Err(Wrong::new(format!("expected a rate, found {}", describe(&value.value)), mend));
    };
    text.strip_suffix("/s")
        .and_then(|number| number.trim().parse().ok())
        .filter(|rate: &NonZeroU32| rate.get() <= most)
        .ok_or_else(|| Wrong::new(format!("`{text}` is not a rate"), mend))
}

fn nonzero(number: u32) -> Result<NonZeroU32, Wrong> {
    NonZeroU32::new(number).ok_or_else(|| Wrong::new("is zero", "write 1 or more"))
}

/// Parameters of Set-ReceiveConnector that this version does not support. They are refused by name,
/// so that an administrator who imports a configuration does not believe that they have an effect.
const NOT_SUPPORTED: &[&str] = &[
    "advertise_client_settings",
    "default_domain",
    "enable_auth_gssapi",
    "extended_protection_policy",
    "long_addresses_enabled",
    "max_acknowledgement_delay",
    "orar_enabled",
    "service_discovery_fqdn",
    "suppress_x_anonymous_tls",
    "tls_domain_capabilities",
    "transport_role",
    "usage",
];

fn elsewhere(key: &str) -> Option<Wrong> {
    match key {
        "bare_linefeed_rejection_enabled" => {
            Some(Wrong::new("is not configurable: bare line feeds are always refused", "remove it"))
        }
        _ => NOT_SUPPORTED.contains(&key).then(|| {
            Wrong::new("is a parameter of Exchange that this version does not support", "remove it")
        }),
    }
}
