//! One loaded configuration in the form that sessions use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::AcceptedDomains;
use relay_connector::{Connector, ConnectorId, Proxies, Table};
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::dsn::Addressee;
use relay_mail::path::{Domain, ForwardPath, Mailbox};
use relay_users::Users;

/// All settings that decisions depend on. A session keeps the rules it began with.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The number of this loaded configuration. The caller assigns it and never reuses one.
    pub generation: u32,
    /// `hostname`: the name under which results of our checks are written.
    pub hostname: Domain,
    /// `[[accepted_domain]]`.
    pub accepted_domains: AcceptedDomains,
    /// The recipient of mail for `<postmaster>` without a domain: `postmaster`, or the postmaster
    /// of the first authoritative domain. Without either such a recipient is refused.
    pub postmaster: Option<Mailbox>,
    /// `[partners] tls_receive_domain_secure_list`.
    pub partner_domains: Vec<DomainPattern>,
    /// `[fleet] names`.
    pub fleet_names: Vec<DomainPattern>,
    /// `[proxies]`.
    pub proxies: Proxies,
    /// Which connector a connection belongs to.
    pub table: Table,
    /// The users who may authenticate.
    pub users: Arc<Users>,
    /// The digest of the configuration.
    pub digest: [u8; 32],
    /// The connectors by their ids.
    pub connectors: BTreeMap<ConnectorId, Arc<Connector>>,
    /// The names of this host, in lower case.
    pub host_names: BTreeSet<String>,
}

impl Rules {
    /// An accepted recipient, with the address to which its mail is sent.
    pub fn addressed(&self, recipient: Addressee) -> Addressee {
        match (&recipient.path, &self.postmaster) {
            (ForwardPath::Postmaster, Some(mailbox)) => {
                Addressee { path: ForwardPath::Mailbox(mailbox.clone()), ..recipient }
            }
            _ => recipient,
        }
    }

    /// The connector that an id names in this generation.
    pub fn connector(&self, id: ConnectorId) -> Option<&Arc<Connector>> {
        self.connectors.get(&id)
    }

    /// Is this, in lower case, `hostname` or the `fqdn` of a connector?
    pub fn is_our_name(&self, name: &str) -> bool {
        self.host_names.contains(name)
    }

    /// Every connector with its id, in the order of ids.
    pub fn connectors(&self) -> impl Iterator<Item = (ConnectorId, &Arc<Connector>)> {
        self.connectors.iter().map(|(&id, connector)| (id, connector))
    }
}
