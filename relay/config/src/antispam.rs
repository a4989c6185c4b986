//! `[antispam]`, the `antispam` of a connector, and the servers of the checks: `[dns]` and
//! `[rspamd]`.
//!
//! `[antispam]` applies to every connector; a key in a connector's own `antispam` replaces it.

use std::net::{IpAddr, SocketAddr};

use crate::document::{Section, Value, Wrong};
use crate::value::{domain_name, duration, one_of, parsed, text};
use relay_antispam::Endpoint;
use relay_antispam::RspamdSettings;
use relay_connector::{AntiSpam, BlockList, CheckMode};
use relay_dns::limits::DNS_SERVERS;
use relay_mail::path::Domain;

use crate::limits;

/// The settings that connectors inherit.
pub(super) struct Defaults {
    pub antispam: AntiSpam,
    pub has_rspamd: bool,
}

/// Reads `[antispam]`.
pub(super) fn defaults(mut section: Section<'_, '_>, has_rspamd: bool) -> Defaults {
    let nothing = Defaults { antispam: AntiSpam::default(), has_rspamd };
    let antispam = keys(&mut section, &nothing);
    section.finish(|_| None);
    Defaults { antispam, has_rspamd }
}

/// Reads the `antispam` of a connector.
pub(super) fn of_connector(section: &mut Section<'_, '_>, defaults: &Defaults) -> AntiSpam {
    if !section.has_key("antispam") {
        section.known_key("antispam");
        return defaults.antispam.clone();
    }
    let place = format!("{}: antispam", section.place);
    let mut section = section.take_section("antispam", &place);
    let antispam = keys(&mut section, defaults);
    section.finish(|_| None);
    antispam
}

fn keys(section: &mut Section<'_, '_>, defaults: &Defaults) -> AntiSpam {
    let Defaults { antispam: default, has_rspamd } = defaults;
    let spf = section.take("spf", mode).unwrap_or(default.spf);
    let dkim = section.take("dkim", mode).unwrap_or(default.dkim);
    let line = section.line_of("dmarc");
    let dmarc = section.take("dmarc", mode).unwrap_or(default.dmarc);
    if dmarc.is_on() && !(spf.is_on() && dkim.is_on()) {
        let problem = format!("{dmarc} needs spf and dkim, because DMARC uses their results");
        let mend = "write spf = \"Annotate\" and dkim = \"Annotate\", or dmarc = \"Off\"";
        section.refuse(line, "dmarc", Wrong::new(problem, mend));
    }
    let line = section.line_of("rspamd");
    let rspamd = section.take("rspamd", mode).unwrap_or(default.rspamd);
    if rspamd.is_on() && !has_rspamd {
        let wrong = Wrong::new(
            "needs the address of Rspamd",
            "write [rspamd] and url = \"http://127.0.0.1:11333\" below it, or rspamd = \"Off\"",
        );
        section.refuse(line, "rspamd", wrong);
    }
    let block_lists = match section.has_key("block_lists") {
        true => block_lists(section),
        false => {
            section.known_key("block_lists");
            default.block_lists.clone()
        }
    };
    AntiSpam { block_lists, spf, dkim, dmarc, rspamd }
}

fn block_lists(section: &mut Section<'_, '_>) -> Vec<BlockList> {
    let line = section.line_of("block_lists");
    let mut lists: Vec<BlockList> = Vec::new();
    for mut entry in section.take_sections("block_lists") {
        entry.place = format!("{}: block_lists", section.place);
        let zone = entry.require("zone", "write zone = \"zen.example\"", zone);
        let action = entry.require("action", "write action = \"Enforce\"", action);
        entry.finish(|_| None);
        let (Some(zone), Some(action)) = (zone, action) else { continue };
        if lists.iter().any(|list| list.zone == zone) {
            let wrong =
                Wrong::new(format!("{} is listed twice", zone.ascii()), "remove one of them");
            section.refuse(line, "block_lists", wrong);
        } else {
            lists.push(BlockList { zone, action });
        }
    }
    if lists.len() > limits::BLOCK_LISTS {
        let problem = format!("{} are over the limit of {}", lists.len(), limits::BLOCK_LISTS);
        section.refuse(line, "block_lists", Wrong::new(problem, "keep the lists that refuse most"));
    }
    lists
}

fn mode(value: Value<'_>) -> Result<CheckMode, Wrong> {
    one_of(&[
        ("Off", CheckMode::Off),
        ("Annotate", CheckMode::Annotate),
        ("Enforce", CheckMode::Enforce),
    ])(value)
}

/// A list that is not used may be missing.
fn action(value: Value<'_>) -> Result<CheckMode, Wrong> {
    one_of(&[("Annotate", CheckMode::Annotate), ("Enforce", CheckMode::Enforce)])(value)
}

fn zone(value: Value<'_>) -> Result<Domain, Wrong> {
    domain_name(&text(value)?)
}

/// Reads `[dns]`.
pub(super) fn dns(mut section: Section<'_, '_>) -> relay_dns::DnsSettings {
    let line = section.line_of("servers");
    let servers = section.take_list("servers", server);
    if servers.len() > DNS_SERVERS {
        let problem = format!("{} are over the limit of {}", servers.len(), DNS_SERVERS);
        section.refuse(line, "servers", Wrong::new(problem, "keep the nearest ones"));
    }
    let bounds = std::time::Duration::from_secs(1)..=limits::LONGEST_DNS_TIMEOUT;
    let timeout = section.take("timeout", duration(bounds)).unwrap_or(limits::DNS_TIMEOUT);
    section.finish(|_| None);
    relay_dns::DnsSettings { servers, timeout }
}

/// An address; the default port is 53.
fn server(value: Value<'_>) -> Result<SocketAddr, Wrong> {
    let text = text(value)?;
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    address.or_else(|_| text.parse()).map_err(|_| {
        Wrong::new(
            format!("`{text}` is not the address of a name server"),
            "write an address, with or without a port, as in \"192.0.2.53\" or \"[::1]:5353\"",
        )
    })
}

/// Reads `[rspamd]`.
pub(super) fn rspamd(mut section: Section<'_, '_>, is_there: bool) -> Option<RspamdSettings> {
    if !is_there {
        return None;
    }
    let mend = "write url = \"http://127.0.0.1:11333\", or \"unix:/run/rspamd/worker.sock\"";
    let endpoint = section.require(
        "url",
        mend,
        parsed::<Endpoint>(|_| {
            "write http://host:port or unix:/path, as in `http://127.0.0.1:11333`".to_owned()
        }),
    );
    let bounds = std::time::Duration::from_secs(1)..=limits::LONGEST_RSPAMD_TIMEOUT;
    let timeout = section.take("timeout", duration(bounds)).unwrap_or(limits::RSPAMD_TIMEOUT);
    section.finish(|_| None);
    Some(RspamdSettings { endpoint: endpoint?, timeout })
}
