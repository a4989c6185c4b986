//! Properties whose value depends on other properties, or has another form here.

use relay_mail::path::Domain;

use super::notation::certificate_name;
use super::{Mapped, groups};
use crate::report::{Danger, DangerLevel, Fate, PropertyFate, row};
use crate::source::ExportedObject;

impl Mapped {
    pub(super) fn binding_row(&mut self) -> PropertyFate {
        for binding in &self.bindings {
            let is_wildcard = binding.starts_with("0.0.0.0:") || binding.starts_with("[::]:");
            if !is_wildcard {
                let problem = format!("listens on {binding}, an address of the old server");
                let mend = "give the address to this host, or write another one in bindings";
                let danger = Danger::of_connector(DangerLevel::ToDo, &self.name, problem, mend);
                self.dangers.push(danger);
            }
        }
        row(Fate::TakenOver, "bindings")
    }

    pub(super) fn range_row(&self, object: &ExportedObject) -> PropertyFate {
        let given = object.values("RemoteIPRanges");
        if given.len() != self.ranges.len() {
            return row(Fate::Changed, "ranges that are not valid were left out; see the dangers");
        }
        let is_same =
            given.iter().zip(&self.ranges).all(|(text, range)| text.trim() == range.text());
        if is_same {
            row(Fate::TakenOver, "remote_ip_ranges")
        } else {
            row(Fate::Changed, "remote_ip_ranges, with the same addresses in another notation")
        }
    }

    pub(super) fn group_row(&self, object: &ExportedObject, note: &str) -> PropertyFate {
        let words = object.words("PermissionGroups");
        let (groups, _) = groups(object);
        let left_out: Vec<_> = groups
            .iter()
            .filter(|group| !self.is_effective(**group))
            .map(|group| group.name())
            .collect();
        let mut notes = Vec::new();
        if !note.is_empty() {
            notes.push(note.to_owned());
        }
        if !left_out.is_empty() {
            let list = left_out.join(", ");
            notes.push(format!("{list} left out: no client of this connector can have it here"));
        }
        if words.iter().any(|word| word.eq_ignore_ascii_case("Custom")) {
            notes.push("Custom left out: single rights are grants and denies here".to_owned());
        }
        match notes.is_empty() {
            true => row(Fate::TakenOver, "permission_groups"),
            false => row(Fate::Changed, notes.join("; ")),
        }
    }

    pub(super) fn require_tls(&mut self, text: &str) -> PropertyFate {
        if !text.eq_ignore_ascii_case("true") {
            return row(Fate::TakenOver, "the default here too");
        }
        self.keys.push(("require_tls", true.into()));
        row(Fate::TakenOver, "require_tls")
    }

    pub(super) fn tls_certificate_name(&mut self, text: &str) -> PropertyFate {
        if !self.mechanism.words.contains(&"Tls") {
            return row(Fate::Reference, "has no effect without Tls in AuthMechanism");
        }
        let subject = text.split("<S>").last().unwrap_or(text).trim().to_owned();
        let name = certificate_name(&subject);
        self.keys.push(("tls_certificate_name", name.clone().into()));
        self.certificate = Some((name.clone(), subject));
        row(Fate::Changed, format!("tls_certificate_name = \"{name}\", whose files you export"))
    }

    pub(super) fn domain_secure(&mut self, text: &str) -> PropertyFate {
        if !text.eq_ignore_ascii_case("true") {
            return row(Fate::TakenOver, "the default here too");
        }
        if self.mechanism.domain_secure {
            self.keys.push(("domain_secure_enabled", true.into()));
            return row(Fate::TakenOver, "domain_secure_enabled");
        }
        let why = "left out: TLSReceiveDomainSecureList names no partner, or Tls is off";
        row(Fate::Changed, why)
    }

    pub(super) fn banner(&mut self, text: &str) -> PropertyFate {
        self.keys.push(("banner", text.into()));
        row(Fate::TakenOver, "banner")
    }

    /// The name of the old server itself is no setting: this host has its own name.
    pub(super) fn fqdn(&mut self, text: &str) -> PropertyFate {
        let first = text.split('.').next().unwrap_or_default();
        if self.server.as_deref().is_some_and(|server| server.eq_ignore_ascii_case(first)) {
            return row(Fate::Changed, "hostname: it was the old server's own name");
        }
        if !Domain::parse(text).is_ok_and(|domain| domain.is_host_name()) {
            return row(Fate::Reference, "is not a host name");
        }
        self.keys.push(("fqdn", text.into()));
        row(Fate::TakenOver, "fqdn")
    }

    pub(super) fn message_rate_source(
        &mut self,
        object: &ExportedObject,
        text: &str,
    ) -> PropertyFate {
        let limit = object.text("MessageRateLimit").unwrap_or("unlimited");
        if limit.eq_ignore_ascii_case("unlimited") {
            return row(Fate::TakenOver, "not written: MessageRateLimit is unlimited");
        }
        if !text.eq_ignore_ascii_case("IPAddress") {
            self.keys.push(("message_rate_source", text.into()));
        }
        row(Fate::TakenOver, "message_rate_source")
    }

    pub(super) fn percentage(&mut self, object: &ExportedObject, text: &str) -> PropertyFate {
        const KEY: &str = "max_inbound_connection_percentage_per_source";
        let most = object.text("MaxInboundConnection").unwrap_or_default();
        if most.eq_ignore_ascii_case("unlimited") {
            return row(Fate::TakenOver, "not written: MaxInboundConnection is unlimited");
        }
        let default = relay_connector::limits::MAX_INBOUND_CONNECTION_PERCENTAGE_PER_SOURCE;
        match text.parse::<u32>() {
            Ok(value) if value == default => row(Fate::TakenOver, "the default here too"),
            Ok(value) => {
                self.keys.push((KEY, i64::from(value).into()));
                row(Fate::TakenOver, KEY)
            }
            Err(_) => row(Fate::Reference, "is not a number"),
        }
    }
}
