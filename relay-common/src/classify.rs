//! Which connector does a connection belong to? Pure, over the tables of one generation.
//!
//! The binding is resolved first, the exact local address before the wildcard of its family. There
//! is no fallback: if no range of the exact binding contains the client, it has no connector, even
//! if a range of the wildcard would contain it. Within the binding the longest prefix wins.

use crate::address::Address;
use crate::tables::{BindingEntry, BindingKey, RangeEntry, RangeKey};

/// The tables: maps in the kernel, hash maps in tests.
pub trait Tables {
    /// BINDINGS.
    fn binding(&self, key: &BindingKey) -> Option<BindingEntry>;
    /// RANGES, by longest prefix.
    fn range(&self, key: &RangeKey) -> Option<RangeEntry>;
}

/// The result of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionClass {
    /// The connector of the longest prefix.
    Connector(RangeEntry),
    /// Not a connection of ours.
    NoBinding,
    /// A connection to a binding of ours, from an address that no range contains.
    NoConnector,
}

/// Classifies a connection by the tables of this generation only.
#[inline(always)]
pub fn classify<T: Tables>(
    tables: &T,
    generation: u32,
    local: Address,
    port: u16,
    remote: Address,
) -> ConnectionClass {
    let mut key = BindingKey { generation, port: u32::from(port), address: local };
    let mut binding = tables.binding(&key);
    if binding.is_none() {
        key.address = local.wildcard();
        binding = tables.binding(&key);
    }
    let Some(BindingEntry { binding }) = binding else {
        return ConnectionClass::NoBinding;
    };
    match tables.range(&RangeKey { generation, binding, address: remote }) {
        Some(entry) => ConnectionClass::Connector(entry),
        None => ConnectionClass::NoConnector,
    }
}
