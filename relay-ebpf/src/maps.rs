//! The maps, and their implementation of relay-common's traits.

use core::ptr;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{
    Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage, lpm_trie::Key,
};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use relay_common::budget::Bucket;
use relay_common::classify::Tables;
use relay_common::guard::GuardTables;
use relay_common::tables::{
    BINDINGS_MAX, BLOCKS_MAX, BindingEntry, BindingKey, BucketState, CONNECTORS_MAX,
    ConnectorCounters, ConnectorEntry, ConnectorKey, NO_GENERATION, RangeEntry, RangeKey,
    ReasonCounters, SYN_SOURCES_MAX, SourceKey, StateEntry, Tag,
};

const COUNT: usize = CONNECTORS_MAX as usize;

#[btf_map]
pub static BINDINGS: HashMap<BindingKey, BindingEntry, { BINDINGS_MAX as usize }> = HashMap::new();

#[btf_map]
pub static RANGES: LpmTrie<RangeKey, RangeEntry, { BLOCKS_MAX as usize }> = LpmTrie::new();

#[btf_map]
pub static CONNECTORS: HashMap<ConnectorKey, ConnectorEntry, { 4 * COUNT }> = HashMap::new();

/// Mappable, so that the daemon can publish a generation by storing one word.
#[btf_map]
pub static STATE: Array<StateEntry, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
pub static TAGS: SkStorage<Tag> = SkStorage::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<ConnectorCounters, COUNT> = PerCpuArray::new();

#[btf_map]
pub static REASONS: PerCpuArray<ReasonCounters, 1> = PerCpuArray::new();

#[btf_map]
pub static SYN_BUDGETS: Array<BucketState, COUNT> = Array::new();

#[btf_map]
pub static SYN_SOURCES: LruHashMap<SourceKey, BucketState, { SYN_SOURCES_MAX as usize }> =
    LruHashMap::new();

/// The generation in force and the namespace whose connections are ours. Each run of a program
/// reads it once, so that all its lookups use one generation.
#[inline(always)]
pub fn state() -> (u32, u64) {
    let Some(state) = STATE.get_ptr(0) else {
        return (NO_GENERATION, 0);
    };
    // SAFETY: the pointer is the map's only element; the daemon stores the words whole, and a
    // volatile read keeps the compiler from reading one twice.
    unsafe {
        (
            ptr::read_volatile(&raw const (*state).generation),
            ptr::read_volatile(&raw const (*state).namespace),
        )
    }
}

/// Adds one to a counter of a connector. A connector id beyond the map is not counted: the daemon
/// never publishes one.
#[inline(always)]
pub fn count_connector(connector: u32, counter: impl FnOnce(&mut ConnectorCounters) -> &mut u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(connector) {
        // SAFETY: the element is this CPU's own, and programs are not preempted by themselves.
        let counter = counter(unsafe { &mut *counters });
        *counter = counter.wrapping_add(1);
    }
}

/// Adds one to a counter without a connector.
#[inline(always)]
pub fn count(counter: impl FnOnce(&mut ReasonCounters) -> &mut u64) {
    if let Some(counters) = REASONS.get_ptr_mut(0) {
        // SAFETY: as in `count_connector`.
        let counter = counter(unsafe { &mut *counters });
        *counter = counter.wrapping_add(1);
    }
}

/// The kernel's maps as an implementation of relay-common's tables.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn binding(&self, key: &BindingKey) -> Option<BindingEntry> {
        // SAFETY: an entry stays valid until a grace period after its removal, and is copied here.
        unsafe { BINDINGS.get(key).copied() }
    }

    #[inline(always)]
    fn range(&self, key: &RangeKey) -> Option<RangeEntry> {
        RANGES.get(&Key::new(RangeKey::ALL_BITS, *key)).copied()
    }
}

impl GuardTables for Maps {
    type Bucket = MapBucket;

    #[inline(always)]
    fn connector(&self, key: &ConnectorKey) -> Option<ConnectorEntry> {
        // SAFETY: as in `Tables::binding`.
        unsafe { CONNECTORS.get(key).copied() }
    }

    #[inline(always)]
    fn bucket(&self, connector: u32) -> Option<MapBucket> {
        SYN_BUDGETS.get_ptr_mut(connector).map(MapBucket)
    }

    #[inline(always)]
    fn source_bucket(&self, key: &SourceKey) -> Option<MapBucket> {
        if let Some(bucket) = SYN_SOURCES.get_ptr_mut(key) {
            return Some(MapBucket(bucket));
        }
        // Another CPU may insert it first; in both cases the entry exists afterwards.
        let _ = SYN_SOURCES.insert(key, BucketState { full_at: 0 }, BPF_NOEXIST);
        SYN_SOURCES.get_ptr_mut(key).map(MapBucket)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no precondition.
        unsafe { bpf_ktime_get_ns() }
    }
}

const BPF_NOEXIST: u64 = 1;

/// A bucket's word inside a map.
pub struct MapBucket(*mut BucketState);

impl Bucket for MapBucket {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the pointer came from a lookup in this run of the program.
        unsafe { ptr::read_volatile(&raw const (*self.0).full_at) }
    }

    #[inline(always)]
    fn replace(&self, current: u64, new: u64) -> bool {
        let found: u64;
        // SAFETY: the pointer came from a lookup in this run of the program, and the word is
        // aligned. The instruction compares with r0 and leaves there what it found; the compiler
        // has no compare-and-swap of its own for this target.
        unsafe {
            core::arch::asm!(
                "r0 = {current}",
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                "{found} = r0",
                current = in(reg) current,
                word = in(reg) self.0,
                new = in(reg) new,
                found = lateout(reg) found,
                out("r0") _,
            );
        }
        found == current
    }
}
