//! Numbers for connectors and ranges, small enough for the kernel's maps.

use std::collections::HashMap;
use std::fmt;

use crate::limits::CONNECTOR_IDS;

/// A connector, during the life of the process: an id belongs to one name only, even after the
/// connector is removed, so that a socket tagged under an earlier generation can never belong to a
/// connector that was not chosen for its client. Zero means "no connector".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectorId(pub u32);

/// A range of a connector: its index in `remote_ip_ranges`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeId(pub u32);

/// The id of each name. The caller keeps it across reloads.
#[derive(Clone, Debug, Default)]
pub struct ConnectorIds {
    by_name: HashMap<String, ConnectorId>,
}

/// All ids were given away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} more connector names than the {CONNECTOR_IDS} that one process can tell apart; \
     names that were used since the start count, so restart the daemon"
)]
pub struct TooManyConnectorNames {
    wanted: usize,
}

impl ConnectorId {
    /// No connector.
    pub const NONE: Self = Self(0);
}

impl ConnectorIds {
    /// The ids of these names, in order; new names get new ids. If there are not enough ids left
    /// for all of them, none is assigned.
    pub fn assign<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Vec<ConnectorId>, TooManyConnectorNames> {
        let new = names.clone().filter(|name| !self.by_name.contains_key(*name)).count();
        // Id zero is reserved, so the highest id is CONNECTOR_IDS - 1.
        let wanted = self.by_name.len() + 1 + new;
        if wanted > CONNECTOR_IDS as usize {
            return Err(TooManyConnectorNames { wanted: wanted - CONNECTOR_IDS as usize });
        }
        Ok(names.map(|name| self.id_of(name)).collect())
    }

    fn id_of(&mut self, name: &str) -> ConnectorId {
        // Never more than CONNECTOR_IDS names, as `assign` has checked.
        let next = ConnectorId(self.by_name.len() as u32 + 1);
        *self.by_name.entry(name.to_owned()).or_insert(next)
    }
}

impl fmt::Display for ConnectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use crate::id::*;

    #[test]
    fn an_id_is_never_given_to_another_name() {
        let mut ids = ConnectorIds::default();
        let first = ids.assign(["a", "b"].into_iter()).unwrap();
        assert_eq!(first, [ConnectorId(1), ConnectorId(2)]);
        assert_eq!(ids.assign(["c", "b"].into_iter()).unwrap(), [ConnectorId(3), ConnectorId(2)]);
        assert_eq!(ids.assign(["a"].into_iter()).unwrap(), [ConnectorId(1)]);
    }

    #[test]
    fn running_out_of_ids_gives_none_away() {
        let names: Vec<String> = (1..CONNECTOR_IDS).map(|number| number.to_string()).collect();
        let mut ids = ConnectorIds::default();
        ids.assign(names.iter().skip(1).map(String::as_str)).unwrap();
        let error = ids.assign(["one", "two"].into_iter()).unwrap_err();
        assert!(error.to_string().starts_with("1 more connector names"), "{error}");
        assert_eq!(ids.assign(["two"].into_iter()).unwrap(), [ConnectorId(CONNECTOR_IDS - 1)]);
    }
}
