//! The keys and values of the maps: plain bytes, the same in the kernel and in the daemon.
//!
//! Assertions below every type state its size and offsets. No `bool`, no `enum` and no hidden
//! padding: a map may contain any byte, and a dump shows each field under its name.
//!
//! The order of precedence: the binding of the exact local address goes before the wildcard of its
//! family; within a binding the longest prefix wins. The keys encode this order. A binding is one
//! number, and the trie's prefix covers generation and binding completely before any address bit.

use core::mem::offset_of;

use crate::address::Address;
use crate::budget::TokenBudget;

/// Version of the layouts in this file. Pinned maps of another version belong to another program.
pub const SCHEMA: u32 = 1;

/// Most connectors that one process can name: the length of COUNTERS and SYN_BUDGETS.
pub const CONNECTORS_MAX: u32 = 4096;
/// Most entries of BINDINGS, of all generations that exist at the same time.
pub const BINDINGS_MAX: u32 = 16_384;
/// Most blocks in RANGES, of all generations that exist at the same time.
pub const BLOCKS_MAX: u32 = 4_194_304;
/// Sources with a SYN budget; the least recently seen source is evicted.
pub const SYN_SOURCES_MAX: u32 = 65_536;

/// The number that stands for no connector: no connector matches.
pub const NO_CONNECTOR: u32 = 0;
/// The number that stands for no generation: none is published.
pub const NO_GENERATION: u32 = 0;

/// Key of BINDINGS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BindingKey {
    /// The generation that the binding belongs to.
    pub generation: u32,
    /// The local port, in host byte order.
    pub port: u32,
    /// The local address, or the wildcard of its family.
    pub address: Address,
}

const _: () = assert!(
    size_of::<BindingKey>() == 24
        && offset_of!(BindingKey, port) == 4
        && offset_of!(BindingKey, address) == 8
);

/// Value of BINDINGS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingEntry {
    /// The binding's number within its generation.
    pub binding: u32,
}

const _: () = assert!(size_of::<BindingEntry>() == 4);

/// Key data of RANGES, after the trie's own prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeKey {
    /// The generation that the block belongs to.
    pub generation: u32,
    /// The binding's number.
    pub binding: u32,
    /// The block's first address.
    pub address: Address,
}

const _: () = assert!(
    size_of::<RangeKey>() == 24
        && offset_of!(RangeKey, binding) == 4
        && offset_of!(RangeKey, address) == 8
);

impl RangeKey {
    /// Bits of a key before its address: a match always covers all of them.
    pub const FIXED_BITS: u32 = 64;
    /// Bits of a key with its whole address: the prefix length of a lookup.
    pub const ALL_BITS: u32 = Self::FIXED_BITS + 128;
}

/// Value of RANGES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeEntry {
    /// The connector that has the range.
    pub connector: u32,
    /// The range's index in the connector's list, from zero.
    pub range: u32,
}

const _: () = assert!(size_of::<RangeEntry>() == 8 && offset_of!(RangeEntry, range) == 4);

/// Key of CONNECTORS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectorKey {
    /// The generation that the entry belongs to.
    pub generation: u32,
    /// The connector.
    pub connector: u32,
}

const _: () = assert!(size_of::<ConnectorKey>() == 8 && offset_of!(ConnectorKey, connector) == 4);

/// Value of CONNECTORS: the settings for the guard. A connector without `refuse` and without a
/// budget has no entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectorEntry {
    /// Not zero: its sources are refused.
    pub refuse: u64,
    /// Budget for the SYNs of all its sources together.
    pub budget: TokenBudget,
    /// Budget for the SYNs of one source.
    pub budget_per_source: TokenBudget,
}

const _: () = assert!(
    size_of::<ConnectorEntry>() == 40
        && offset_of!(ConnectorEntry, budget) == 8
        && offset_of!(ConnectorEntry, budget_per_source) == 24
);

/// Key of SYN_SOURCES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The connector.
    pub connector: u32,
    /// The source: [`Address::source`].
    pub source: Address,
}

const _: () = assert!(size_of::<SourceKey>() == 20 && offset_of!(SourceKey, source) == 4);

/// Value of SYN_BUDGETS and SYN_SOURCES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketState {
    /// The time when the bucket is full again, in nanoseconds since the host started.
    pub full_at: u64,
}

const _: () = assert!(size_of::<BucketState>() == 8);

/// Value of TAGS: the data that the tagger stores on an accepted socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The connector, or [`NO_CONNECTOR`] if the binding has none for this client.
    pub connector: u32,
    /// The range's index in the connector's list.
    pub range: u32,
    /// The generation of the search.
    pub generation: u32,
}

const _: () = assert!(
    size_of::<Tag>() == 12 && offset_of!(Tag, range) == 4 && offset_of!(Tag, generation) == 8
);

/// The one value of STATE.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateEntry {
    /// The generation in force, or [`NO_GENERATION`]. Every program reads this word first; storing
    /// it publishes a generation.
    pub generation: u32,
    /// [`SCHEMA`].
    pub schema: u32,
    /// Cookie of the network namespace whose connections are tagged. The cgroup hook sees
    /// connections of every namespace.
    pub namespace: u64,
    /// Bindings of the generation in force.
    pub bindings: u32,
    /// Ranges of the generation in force, as the configuration lists them.
    pub ranges: u32,
    /// Blocks in RANGES for these ranges.
    pub blocks: u32,
    /// Connectors of the generation in force.
    pub connectors: u32,
    /// SHA-256 of the configuration in force.
    pub digest: [u8; 32],
}

const _: () = assert!(
    size_of::<StateEntry>() == 64
        && offset_of!(StateEntry, generation) == 0
        && offset_of!(StateEntry, namespace) == 8
        && offset_of!(StateEntry, bindings) == 16
        && offset_of!(StateEntry, digest) == 32
);

/// Declares a value of per-CPU counters, with the names and meanings of its fields in one list.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $field:ident,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: u64,)* }

        impl $name {
            /// Adds the counts of another CPU.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// Name and value of each counter.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }

        const _: () = assert!(size_of::<$name>() % 8 == 0);
    };
}

counters! {
    /// Value of COUNTERS, one for each connector and CPU.
    ConnectorCounters {
        /// SYNs that the guard saw.
        syn_seen,
        /// SYNs dropped because the connector is `refuse = true`.
        syn_refused,
        /// SYNs dropped because the connector's budget was used up.
        syn_over_budget,
        /// SYNs dropped because the source's budget was used up.
        syn_over_source_budget,
        /// Connections that the tagger tagged.
        tagged,
    }
}

counters! {
    /// The one value of REASONS, for each CPU: every exit of the programs without a connector.
    ReasonCounters {
        /// Guard, passed: a fragment.
        guard_fragment,
        /// Guard, passed: neither IPv4 nor IPv6.
        guard_not_ip,
        /// Guard, passed: not TCP.
        guard_not_tcp,
        /// Guard, passed: truncated or impossible headers.
        guard_truncated,
        /// Guard, passed: not the first segment of a connection.
        guard_not_syn,
        /// Guard, passed: no generation is published.
        guard_no_generation,
        /// Guard, passed: a SYN to an address and port without a binding.
        guard_no_binding,
        /// Guard, passed: a SYN that no connector matches; the daemon answers it with 421.
        guard_no_connector,
        /// Tagger: no generation was published.
        tagger_no_generation,
        /// Tagger: a connection of another network namespace, not tagged.
        tagger_other_namespace,
        /// Tagger: a connection to an address and port without a binding, not tagged.
        tagger_no_binding,
        /// Tagger: tagged as without a connector.
        tagger_no_connector,
        /// Tagger: the socket storage could not be allocated; the daemon's own table classifies.
        tagger_storage_failed,
    }
}

#[cfg(feature = "user")]
mod pod {
    use super::*;

    // SAFETY: each is `repr(C)` and contains only integers and arrays of integers; the asserts
    // above exclude padding.
    unsafe impl aya::Pod for BindingKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for BindingEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RangeKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RangeEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ConnectorKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ConnectorEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SourceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for BucketState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Tag {}
    // SAFETY: as above.
    unsafe impl aya::Pod for StateEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ConnectorCounters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ReasonCounters {}
}
