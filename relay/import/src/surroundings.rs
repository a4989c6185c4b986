//! What becomes of accepted domains, send connectors and the transport configuration?

use relay_mail::domain_pattern::DomainPattern;
use relay_mail::path::ForwardPath;
use relay_mail::smart_host::SmartHost;

use crate::report::{Danger, DangerLevel, Fate, ObjectReport, PropertyReport};
use crate::source::{ExportedObject, ObjectKind};

/// An accepted domain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DomainEntry {
    pub name: String,
    pub kind: String,
}

/// An address space of a send connector.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RouteEntry {
    /// `*` for all mail.
    pub domain: String,
    pub cost: u32,
    /// None: mail exchangers.
    pub smart_hosts: Vec<String>,
    pub require_tls: bool,
    pub connector: String,
}

/// The objects beside receive connectors.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub domains: Vec<DomainEntry>,
    pub routes: Vec<RouteEntry>,
    pub postmaster: Option<String>,
    pub partners: Vec<String>,
    pub reports: Vec<ObjectReport>,
}

/// A property that was used, with the key that has it now.
type Used = (&'static str, Fate, String);

/// Reads every object that is no receive connector.
pub(crate) fn read(objects: &[ExportedObject], dangers: &mut Vec<Danger>) -> Surroundings {
    let mut all = Surroundings::default();
    for object in objects {
        match object.kind {
            ObjectKind::ReceiveConnector => {}
            ObjectKind::AcceptedDomain => all.domain(object, dangers),
            ObjectKind::SendConnector => all.send_connector(object, dangers),
            ObjectKind::TransportConfig => all.transport(object, dangers),
        }
    }
    all.keep_cheapest_routes(dangers);
    all
}

impl Surroundings {
    fn domain(&mut self, object: &ExportedObject, dangers: &mut Vec<Danger>) {
        let domain = object.text("DomainName").unwrap_or_else(|| object.name());
        let includes_subdomains = object.is_true("MatchSubDomains") && !domain.starts_with('*');
        let name = if includes_subdomains { format!("*.{domain}") } else { domain.to_owned() };
        let kind = object.text("DomainType").unwrap_or("Authoritative");
        let mut used: Vec<Used> = Vec::new();
        if name == "*" || name.parse::<DomainPattern>().is_err() {
            let why = "is no domain here; `*` would be an open relay for every client";
            dangers.push(Danger {
                level: DangerLevel::Danger,
                place: format!("accepted domain \"{domain}\""),
                problem: format!("`{domain}` {why}; it is not taken over"),
                mend: "name your domains one by one".to_owned(),
            });
            used.push((
                "DomainName",
                Fate::Reference,
                "not taken over; see the dangers".to_owned(),
            ));
            self.report("accepted domain", object, "", &used);
            return;
        }
        used.push(("DomainName", Fate::TakenOver, "name".to_owned()));
        used.push(("DomainType", Fate::TakenOver, "type".to_owned()));
        let note = if includes_subdomains { "`*.` before the name" } else { "the name has it" };
        used.push(("MatchSubDomains", Fate::TakenOver, note.to_owned()));
        used.push((
            "AddressBookEnabled",
            Fate::Reference,
            "recipients are known from recipients_file or recipient_lookup here".to_owned(),
        ));
        if !self.domains.iter().any(|it| it.name.eq_ignore_ascii_case(&name)) {
            self.domains.push(DomainEntry { name: name.clone(), kind: kind.to_owned() });
        }
        self.report("accepted domain", object, &format!("accepted domain \"{name}\""), &used);
    }

    fn send_connector(&mut self, object: &ExportedObject, dangers: &mut Vec<Danger>) {
        let mut used: Vec<Used> = Vec::new();
        if object.text("Enabled").is_some_and(|text| text.eq_ignore_ascii_case("false")) {
            used.push(("Enabled", Fate::Changed, "a disabled connector is no route".to_owned()));
            self.report("send connector", object, "", &used);
            return;
        }
        let port = object.text("Port").and_then(|text| text.parse().ok()).unwrap_or(25);
        let by_dns = object.is_true("DNSRoutingEnabled");
        let hosts = match by_dns {
            true => Vec::new(),
            false => smart_hosts(object, port, dangers),
        };
        let spaces = object.values("AddressSpaces").iter();
        let spaces: Vec<_> = spaces.filter_map(|text| address_space(text)).collect();
        let require_tls = object.is_true("RequireTLS");
        for (domain, cost) in &spaces {
            let is_domain = domain == "*" || domain.parse::<DomainPattern>().is_ok();
            if !is_domain || (hosts.is_empty() && !by_dns) {
                dangers.push(Danger {
                    level: DangerLevel::ToDo,
                    place: format!("send connector \"{}\"", object.name()),
                    problem: format!("its address space {domain} is not taken over"),
                    mend: "write a [[route]] for it".to_owned(),
                });
                continue;
            }
            self.routes.push(RouteEntry {
                domain: domain.clone(),
                cost: *cost,
                smart_hosts: hosts.clone(),
                require_tls,
                connector: object.name().to_owned(),
            });
        }
        used.push(("AddressSpaces", Fate::Changed, "routes; `*` is [delivery]".to_owned()));
        used.push(("SmartHosts", Fate::TakenOver, "smart_hosts".to_owned()));
        used.push(("Port", Fate::TakenOver, "the port of smart_hosts".to_owned()));
        used.push((
            "DNSRoutingEnabled",
            Fate::TakenOver,
            "without smart hosts, the domain's mail exchangers".to_owned(),
        ));
        used.push(("RequireTLS", Fate::TakenOver, "tls".to_owned()));
        used.push(("Enabled", Fate::TakenOver, "written".to_owned()));
        self.report("send connector", object, "routes", &used);
    }

    fn transport(&mut self, object: &ExportedObject, dangers: &mut Vec<Danger>) {
        let mut used: Vec<Used> = Vec::new();
        if let Some(address) = object.text("ExternalPostmasterAddress") {
            let is_mailbox = matches!(
                ForwardPath::parse(&format!("<{address}>")),
                Ok(ForwardPath::Mailbox(mailbox)) if mailbox.domain().is_some()
            );
            if is_mailbox {
                self.postmaster = Some(address.to_owned());
                let note = "postmaster: the recipient of mail for <postmaster>";
                used.push(("ExternalPostmasterAddress", Fate::Changed, note.to_owned()));
            }
        }
        let partners = object.values("TLSReceiveDomainSecureList").iter();
        self.partners.extend(
            partners
                .filter(|name| name.parse::<DomainPattern>().is_ok())
                .map(|it| it.trim().to_owned()),
        );
        let note = "[partners] tls_receive_domain_secure_list".to_owned();
        used.push(("TLSReceiveDomainSecureList", Fate::TakenOver, note));
        for property in ["MaxReceiveSize", "MaxSendSize", "MaxRecipientEnvelopeLimit"] {
            let Some(text) = object.text(property) else { continue };
            let note = "a limit of the organization; connectors have their own limits here";
            used.push((property, Fate::Reference, note.to_owned()));
            if !text.eq_ignore_ascii_case("unlimited") {
                dangers.push(Danger {
                    level: DangerLevel::Note,
                    place: "transport configuration".to_owned(),
                    problem: format!("{property} is {text} for the whole organization"),
                    mend: "write lower limits into the connectors if the relay must refuse such \
                           messages itself; servers behind it still do"
                        .to_owned(),
                });
            }
        }
        self.report("transport configuration", object, "", &used);
    }

    /// Of two routes for one domain, Exchange uses the one with the lower cost, and the other one
    /// only if the first is not available.
    fn keep_cheapest_routes(&mut self, dangers: &mut Vec<Danger>) {
        self.routes.sort_by_key(|route| route.cost);
        let mut seen: Vec<RouteEntry> = Vec::new();
        for route in self.routes.drain(..) {
            let domain = &route.domain;
            match seen.iter().find(|it| it.domain.eq_ignore_ascii_case(domain)) {
                Some(first) => dangers.push(Danger {
                    level: DangerLevel::ToDo,
                    place: format!("send connector \"{}\"", route.connector),
                    problem: format!(
                        "its route for {domain} (cost {}) is left out: connector \"{}\" has cost {}",
                        route.cost, first.connector, first.cost
                    ),
                    mend: "add its smart hosts to the end of smart_hosts as a fallback".to_owned(),
                }),
                None => seen.push(route),
            }
        }
        self.routes = seen;
    }

    /// Each property once: those that were used, and all others for reference.
    fn report(
        &mut self,
        kind: &'static str,
        object: &ExportedObject,
        written_as: &str,
        used: &[Used],
    ) {
        let properties = object.properties.iter().map(|property| {
            let is = |it: &&Used| it.0.eq_ignore_ascii_case(&property.name);
            let (fate, note) = match used.iter().find(is) {
                Some((_, fate, note)) => (*fate, note.clone()),
                None if property.values.is_empty() => (Fate::Meaningless, "not set".to_owned()),
                None => (Fate::Meaningless, "has no key here".to_owned()),
            };
            let value = property.values.join(", ");
            PropertyReport { property: property.name.clone(), value, fate, note }
        });
        self.reports.push(ObjectReport {
            object: kind,
            name: object.name().to_owned(),
            server: None,
            written_as: written_as.to_owned(),
            properties: properties.collect(),
            rights: Vec::new(),
        });
    }
}

/// Smart hosts: `mail.contoso.com`, `[10.0.0.1]`.
fn smart_hosts(object: &ExportedObject, port: u16, dangers: &mut Vec<Danger>) -> Vec<String> {
    let given = object.values("SmartHosts").iter().flat_map(|value| value.split([',', ';']));
    let mut hosts = Vec::new();
    for text in given.map(str::trim).filter(|text| !text.is_empty()) {
        let bare = text.trim_matches(['[', ']']);
        let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
        let host = format!("{host}:{port}");
        if host.parse::<SmartHost>().is_ok() {
            hosts.push(host);
        } else {
            dangers.push(Danger {
                level: DangerLevel::ToDo,
                place: format!("send connector \"{}\"", object.name()),
                problem: format!("its smart host `{text}` is not taken over"),
                mend: "write it as host:port in smart_hosts".to_owned(),
            });
        }
    }
    hosts
}

/// `SMTP:*.contoso.com;1` or `*;1`: a domain and a cost. Other address types are not of SMTP.
fn address_space(text: &str) -> Option<(String, u32)> {
    let text = text.trim();
    let text = match text.split_once(':') {
        Some((kind, rest)) if kind.eq_ignore_ascii_case("smtp") => rest,
        Some(_) => return None,
        None => text,
    };
    let (domain, cost) = text.split_once(';').unwrap_or((text, "1"));
    Some((domain.trim().to_owned(), cost.trim().parse().ok()?))
}
