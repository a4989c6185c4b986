//! From a configuration to the rules that sessions ask.

use std::sync::Arc;

use relay_connector::ConnectorIds;
use relay_connector::id::TooManyConnectorNames;
use relay_mail::domain_pattern::DomainPattern;
use relay_policy::Rules;

use super::{Config, Trusted};

impl Config {
    /// The rules of this configuration, numbered `generation`. Names keep the ids that they have in
    /// `ids`.
    ///
    /// # Errors
    /// More connector names were used since the start than there are ids; `ids` is unchanged.
    pub fn rules(
        &self,
        ids: &mut ConnectorIds,
        generation: u32,
    ) -> Result<Arc<Rules>, TooManyConnectorNames> {
        let connectors = self.connectors();
        let ids = ids.assign(connectors.iter().map(|connector| connector.name.as_str()))?;
        let table = self.table().with_ids(&ids);
        let host_names = connectors
            .iter()
            .map(|connector| connector.fqdn.to_ascii_lowercase())
            .chain([self.hostname.ascii().to_owned()])
            .collect();
        let connectors = ids.into_iter().zip(connectors.iter().cloned().map(Arc::new)).collect();
        Ok(Arc::new(Rules {
            generation,
            hostname: self.hostname.clone(),
            postmaster: self.postmaster(),
            accepted_domains: self.accepted_domains.clone(),
            partner_domains: names(self.tls.partners.as_ref()),
            fleet_names: names(self.tls.fleet.as_ref()),
            proxies: self.proxies.clone(),
            table,
            users: Arc::clone(&self.users),
            digest: self.digest,
            connectors,
            host_names,
        }))
    }
}

fn names(trusted: Option<&Trusted>) -> Vec<DomainPattern> {
    trusted.map(|trusted| trusted.names.clone()).unwrap_or_default()
}
