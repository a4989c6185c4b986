//! Converts a configuration to the rules of sessions and the settings of checks.

use std::sync::Arc;

use crate::{Config, Trusted};
use relay_antispam::CheckSettings;
use relay_connector::ConnectorIds;
use relay_connector::id::TooManyConnectorNames;
use relay_mail::domain_pattern::DomainPattern;
use relay_policy::Rules;

impl Config {
    /// The rules of this configuration, with the number `generation`. Names keep their ids in
    /// `ids`.
    ///
    /// # Errors
    /// More connector names were used since the start than ids exist; `ids` is unchanged.
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

impl Config {
    /// The settings for checks of foreign mail.
    pub fn checks(&self) -> CheckSettings {
        let needs_dns = self.connectors().iter().any(|connector| connector.antispam.needs_dns());
        CheckSettings {
            hostname: self.hostname.ascii().to_owned(),
            dns: needs_dns.then(|| self.dns.clone()),
            rspamd: self.rspamd.clone(),
        }
    }
}

fn names(trusted: Option<&Trusted>) -> Vec<DomainPattern> {
    trusted.map(|trusted| trusted.names.clone()).unwrap_or_default()
}
