//! What is the next hop of a message? The table of routes, and the rule for choosing one. Pure.
//!
//! The route that is most specific for the recipient's domain wins; among equally specific routes,
//! the one that is most specific for the sender. So the order in the file does not matter.
//! [`super::reach`] finds the current servers of a destination.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Security, TlsMode};
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::path::{ForwardPath, MailHost, Mailbox, ReversePath};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::smart_host::SmartHost;

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The line of its header.
    pub line: u32,
    /// `recipient_domains`; only [`RecipientPattern::Any`] if the key is absent.
    pub recipients: Vec<RecipientPattern>,
    /// `senders`; only [`SenderPattern::Any`] if the key is absent.
    pub senders: Vec<SenderPattern>,
    /// Where it leads.
    pub next_hop: NextHop,
}

/// Which recipients a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecipientPattern {
    /// `*`, address literals and a bare `postmaster` included.
    Any,
    /// `contoso.example`, or `*.contoso.example`, which includes `contoso.example` itself.
    Domain(DomainPattern),
}

/// Which senders a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SenderPattern {
    /// Everybody, the null sender included.
    Any,
    /// A domain, as in [`RecipientPattern::Domain`].
    Domain(DomainPattern),
    /// One address, in lower case and A-labels: sender addresses are compared without regard to
    /// case.
    Address(String),
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// `smart_hosts`: the first that can be used.
    SmartHosts(Arc<SmartHosts>),
    /// The mail exchangers of the recipient's domain.
    Exchangers {
        /// How connections are secured.
        security: Arc<Security>,
    },
    /// `maildir`: a directory of this host.
    Maildir(PathBuf),
}

/// Servers that are configured as a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SmartHosts {
    /// In the order in which they are tried. Never empty.
    pub hosts: Vec<SmartHost>,
    /// `protocol`: the protocol of the next hop.
    pub protocol: DeliveryProtocol,
    /// How connections are secured.
    pub security: Security,
}

/// One next hop, with its own connections, concurrency and back-off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// These servers, in order.
    SmartHosts(Arc<SmartHosts>),
    /// The mail exchangers of a domain, or the host of an address literal.
    Exchangers {
        /// The part after the `@`.
        of: MailHost,
        /// How connections are secured.
        security: Arc<Security>,
    },
    /// A directory of this host.
    Maildir(PathBuf),
    /// A recipient without a domain, when only its domain could select the next hop.
    Nowhere,
}

/// All routes of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    routes: Vec<Route>,
    by_recipient: HashMap<RecipientPattern, Vec<(SenderPattern, usize)>>,
    /// `[delivery]`, for mail without a route.
    otherwise: NextHop,
}

impl Routes {
    /// The table. Of routes with the same patterns the first one is used; the configuration refuses
    /// them.
    pub fn new(routes: Vec<Route>, otherwise: NextHop) -> Self {
        let mut by_recipient: HashMap<_, Vec<_>> = HashMap::new();
        for (number, route) in routes.iter().enumerate() {
            for recipient in &route.recipients {
                let of_recipient: &mut Vec<_> = by_recipient.entry(recipient.clone()).or_default();
                of_recipient.extend(route.senders.iter().map(|sender| (sender.clone(), number)));
            }
        }
        Self { routes, by_recipient, otherwise }
    }

    /// The route of a message for one recipient; none if `[delivery]` applies.
    pub fn route(&self, sender: &ReversePath, recipient: &ForwardPath) -> Option<&Route> {
        let domain = match recipient {
            ForwardPath::Mailbox(mailbox) => mailbox.domain().map(|domain| domain.ascii()),
            ForwardPath::Postmaster => None,
        };
        let patterns =
            domain.into_iter().flat_map(DomainPattern::all_covering).map(RecipientPattern::Domain);
        patterns.chain([RecipientPattern::Any]).find_map(|pattern| {
            let routes = self.by_recipient.get(&pattern)?;
            let fits = routes.iter().filter_map(|(pattern, number)| {
                specificity(pattern, sender).map(|specificity| (specificity, *number))
            });
            // Of equals the first.
            let (_, number) =
                fits.max_by_key(|&(specificity, number)| (specificity, usize::MAX - number))?;
            self.routes.get(number)
        })
    }

    /// The destination of a message for one recipient.
    pub fn destination(&self, sender: &ReversePath, recipient: &ForwardPath) -> Destination {
        let route = self.route(sender, recipient);
        match route.map_or(&self.otherwise, |route| &route.next_hop) {
            NextHop::SmartHosts(servers) => Destination::SmartHosts(Arc::clone(servers)),
            NextHop::Exchangers { security } => match recipient {
                ForwardPath::Mailbox(mailbox) => Destination::Exchangers {
                    of: mailbox.host().clone(),
                    security: Arc::clone(security),
                },
                ForwardPath::Postmaster => Destination::Nowhere,
            },
            NextHop::Maildir(path) => Destination::Maildir(path.clone()),
        }
    }

    /// Every `[[route]]`, in the order of the file.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The next hop of mail without a route.
    pub fn default_next_hop(&self) -> &NextHop {
        &self.otherwise
    }

    /// Every next hop, `[delivery]` last.
    pub fn next_hops(&self) -> impl Iterator<Item = &NextHop> {
        self.routes.iter().map(|route| &route.next_hop).chain([&self.otherwise])
    }
}

/// How well a pattern fits a sender: more is more specific.
fn specificity(pattern: &SenderPattern, sender: &ReversePath) -> Option<usize> {
    let mailbox = match sender {
        ReversePath::Mailbox(mailbox) => Some(mailbox),
        ReversePath::Null => None,
    };
    match pattern {
        SenderPattern::Any => Some(0),
        SenderPattern::Domain(pattern) => {
            let domain = mailbox?.domain()?.ascii();
            // The patterns begin with the most specific, so the first one counts most.
            let place =
                DomainPattern::all_covering(domain).position(|of_domain| of_domain == *pattern)?;
            Some(usize::from(u16::MAX).saturating_sub(place))
        }
        SenderPattern::Address(address) => (folded(mailbox?) == *address).then_some(usize::MAX),
    }
}

/// An address as [`SenderPattern::Address`] has it.
pub fn folded(mailbox: &Mailbox) -> String {
    let local_part = mailbox.local_part().to_lowercase();
    match mailbox.host() {
        MailHost::Domain(domain) => format!("{local_part}@{}", domain.ascii()),
        host @ MailHost::Address(_) => format!("{local_part}@{host}"),
    }
}

impl NextHop {
    /// How connections are secured, where there are any.
    pub fn security(&self) -> Option<&Security> {
        match self {
            Self::SmartHosts(servers) => Some(&servers.security),
            Self::Exchangers { security } => Some(security),
            Self::Maildir(_) => None,
        }
    }
}

impl Destination {
    /// The protocol of the destination.
    pub fn protocol(&self) -> DeliveryProtocol {
        match self {
            Self::SmartHosts(servers) => servers.protocol,
            Self::Exchangers { .. } | Self::Maildir(_) | Self::Nowhere => DeliveryProtocol::Smtp,
        }
    }

    /// The security of connections. A directory has none, and neither has a missing next hop.
    pub fn security(&self) -> &Security {
        static UNUSED: Security = Security {
            tls: TlsMode::Opportunistic,
            implicit_tls: false,
            ca_file: None,
            auth: None,
            send_organization_headers: false,
        };
        match self {
            Self::SmartHosts(servers) => &servers.security,
            Self::Exchangers { security, .. } => security,
            Self::Maildir(_) | Self::Nowhere => &UNUSED,
        }
    }
}

/// The name in logs: `mail.contoso.example:25`, `MX of fabrikam.example`, `maildir /var/mail/x`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmartHosts(servers) => {
                for (number, host) in servers.hosts.iter().enumerate() {
                    write!(f, "{}{host}", if number > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Self::Exchangers { of: MailHost::Domain(domain), .. } => write!(f, "MX of {domain}"),
            Self::Exchangers { of: MailHost::Address(address), .. } => write!(f, "[{address}]"),
            Self::Maildir(path) => write!(f, "maildir {}", path.display()),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

/// As it is configured.
impl fmt::Display for RecipientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Domain(pattern) => pattern.fmt(f),
        }
    }
}

/// As it is configured.
impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Domain(pattern) => pattern.fmt(f),
            Self::Address(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::route::*;

    fn domain(text: &str) -> DomainPattern {
        text.parse().unwrap()
    }

    /// A route that leads into a Maildir of its name.
    fn route(name: &str, recipients: &[&str], senders: &[&str]) -> Route {
        let recipient = |text: &&str| match *text {
            "*" => RecipientPattern::Any,
            text => RecipientPattern::Domain(domain(text)),
        };
        let sender = |text: &&str| match *text {
            "*" => SenderPattern::Any,
            text if text.contains('@') => SenderPattern::Address(text.to_owned()),
            text => SenderPattern::Domain(domain(text)),
        };
        Route {
            line: 1,
            recipients: recipients.iter().map(recipient).collect(),
            senders: senders.iter().map(sender).collect(),
            next_hop: NextHop::Maildir(name.into()),
        }
    }

    fn goes_to(routes: &Routes, sender: &str, recipient: &str) -> String {
        let sender = ReversePath::parse(&format!("<{sender}>")).unwrap();
        let recipient = ForwardPath::parse(&format!("<{recipient}>")).unwrap();
        routes.destination(&sender, &recipient).to_string()
    }

    #[test]
    fn the_most_specific_route_wins_in_any_order() {
        let all = [
            route("any", &["*"], &["*"]),
            route("wild", &["*.fabrikam.example"], &["*"]),
            route("wilder", &["*.example"], &["*"]),
            route("exact", &["fabrikam.example", "other.example"], &["*"]),
            route("sender", &["*"], &["scanner@contoso.example"]),
            route("sender domain", &["*"], &["contoso.example"]),
            route("sender and domain", &["fabrikam.example"], &["*.contoso.example"]),
        ];
        let otherwise = NextHop::Exchangers { security: Arc::default() };
        for reversed in [false, true] {
            let mut list = all.to_vec();
            if reversed {
                list.reverse();
            }
            let routes = Routes::new(list, otherwise.clone());
            for (sender, recipient, expected) in [
                ("a@x.org", "b@fabrikam.example", "exact"),
                ("a@x.org", "b@mail.fabrikam.example", "wild"),
                ("a@x.org", "b@other.example", "exact"),
                ("a@x.org", "b@third.example", "wilder"),
                ("a@x.org", "b@notfabrikam.example", "wilder"),
                ("a@x.org", "b@x.org", "any"),
                ("a@x.org", "b@[192.0.2.1]", "any"),
                ("a@x.org", "postmaster", "any"),
                ("", "b@x.org", "any"),
                ("Scanner@Contoso.Example", "b@x.org", "sender"),
                ("b@contoso.example", "b@x.org", "sender domain"),
                ("b@mail.contoso.example", "b@x.org", "any"),
                // The recipient's domain counts before the sender.
                ("scanner@contoso.example", "b@third.example", "wilder"),
                ("scanner@contoso.example", "b@fabrikam.example", "sender and domain"),
                ("b@mail.contoso.example", "b@fabrikam.example", "sender and domain"),
            ] {
                let found = goes_to(&routes, sender, recipient);
                assert_eq!(found, format!("maildir {expected}"), "{sender} to {recipient}");
            }
        }
    }

    #[test]
    fn without_a_route_the_recipients_domain_says() {
        let security = Arc::default();
        let routes = Routes::new(Vec::new(), NextHop::Exchangers { security });
        assert_eq!(goes_to(&routes, "a@x.org", "b@Fabrikam.example"), "MX of fabrikam.example");
        assert_eq!(goes_to(&routes, "a@x.org", "b@[192.0.2.1]"), "[192.0.2.1]");
        assert_eq!(goes_to(&routes, "a@x.org", "postmaster"), "nowhere");
    }

    #[test]
    fn domains_are_compared_by_a_labels() {
        let list = vec![route("idn", &["xn--bcher-kva.example"], &["*"])];
        let routes = Routes::new(list, NextHop::Maildir("otherwise".into()));
        assert_eq!(goes_to(&routes, "a@x.org", "b@b\u{fc}cher.example"), "maildir idn");
    }
}
