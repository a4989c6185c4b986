//! One loaded configuration in the form that sessions ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use relay_connector::id::TooManyConnectorNames;
use relay_connector::{Connector, ConnectorId, ConnectorIds, Proxies, Table};
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::dsn::Addressee;
use relay_mail::path::{Domain, ForwardPath, Mailbox};
use relay_users::Users;

use super::AcceptedDomains;
use crate::config::{Config, Trusted};

/// Everything that decisions depend on. A session keeps the rules that it began with.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which loaded configuration this is. Numbered by the caller, never reused.
    pub generation: u32,
    /// `hostname`: the name that results of our checks are written under.
    pub hostname: Domain,
    /// `[[accepted_domain]]`.
    pub accepted_domains: AcceptedDomains,
    /// Where mail for `<postmaster>` without a domain goes: `postmaster`, or that of the first
    /// authoritative domain. Without either such a recipient is refused.
    pub postmaster: Option<Mailbox>,
    /// `[partners] tls_receive_domain_secure_list`.
    pub partner_domains: Vec<DomainPattern>,
    /// `[fleet] names`.
    pub fleet_names: Vec<DomainPattern>,
    /// `[proxies]`.
    pub proxies: Proxies,
    /// Which connector a connection belongs to.
    pub table: Table,
    /// Who may authenticate.
    pub users: Arc<Users>,
    /// [`Config::digest`].
    pub digest: [u8; 32],
    connectors: BTreeMap<ConnectorId, Arc<Connector>>,
    /// What this host calls itself, in lower case.
    host_names: BTreeSet<String>,
}

impl Rules {
    /// The rules of a configuration, numbered `generation`. Names keep the ids they have in `ids`.
    ///
    /// # Errors
    /// More connector names were used since the start than there are ids; `ids` is unchanged.
    pub fn build(
        config: &Config,
        ids: &mut ConnectorIds,
        generation: u32,
    ) -> Result<Arc<Self>, TooManyConnectorNames> {
        let connectors = config.connectors();
        let ids = ids.assign(connectors.iter().map(|connector| connector.name.as_str()))?;
        let table = config.table().with_ids(&ids);
        let host_names = connectors
            .iter()
            .map(|connector| connector.fqdn.to_ascii_lowercase())
            .chain([config.hostname.ascii().to_owned()])
            .collect();
        let connectors = ids.into_iter().zip(connectors.iter().cloned().map(Arc::new)).collect();
        Ok(Arc::new(Self {
            generation,
            hostname: config.hostname.clone(),
            postmaster: config.postmaster(),
            accepted_domains: config.accepted_domains.clone(),
            partner_domains: names(config.tls.partners.as_ref()),
            fleet_names: names(config.tls.fleet.as_ref()),
            proxies: config.proxies.clone(),
            table,
            users: Arc::clone(&config.users),
            digest: config.digest,
            connectors,
            host_names,
        }))
    }

    /// A recipient that was accepted, with the address that its mail goes to.
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

fn names(trusted: Option<&Trusted>) -> Vec<DomainPattern> {
    trusted.map(|trusted| trusted.names.clone()).unwrap_or_default()
}
