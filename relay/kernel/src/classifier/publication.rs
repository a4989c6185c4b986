//! The part of a generation that the kernel needs.

use crate::Publication;
use relay_common::budget::TokenBudget;
use relay_common::tables::ConnectorEntry;
use relay_connector::{self, Connector};
use relay_policy::Rules;

/// The publication of these rules.
pub fn of(rules: &Rules) -> Publication {
    let enabled = || rules.connectors().filter(|(_, connector)| connector.enabled);
    Publication {
        generation: rules.generation,
        bindings: rules.table.bindings().to_vec(),
        blocks: rules.table.blocks().collect(),
        guarded: enabled()
            .map(|(id, connector)| (id, guarded(connector)))
            .filter(|(_, entry)| *entry != ConnectorEntry::default())
            .collect(),
        connectors: enabled().count() as u32,
        ranges: enabled().map(|(_, connector)| connector.remote_ip_ranges.len() as u32).sum(),
        digest: rules.digest,
    }
}

/// The settings of a connector for the guard.
pub fn guarded(connector: &Connector) -> ConnectorEntry {
    ConnectorEntry {
        refuse: connector.refuse.into(),
        budget: budget(connector.syn_budget),
        budget_per_source: budget(connector.syn_budget_per_source),
    }
}

fn budget(budget: Option<relay_connector::SynBudget>) -> TokenBudget {
    budget.map_or(TokenBudget::UNLIMITED, |budget| {
        TokenBudget::per_second(budget.rate.get(), budget.burst.get())
    })
}
