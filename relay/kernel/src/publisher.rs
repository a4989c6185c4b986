//! How is a generation put in force?
//!
//! Its entries are inserted beside those of the current generation, one word is stored, and after a
//! grace period the old entries are removed. A program that read the old word finishes its look-ups
//! in the complete old generation. If a generation cannot be inserted completely, its entries are
//! removed again, and nothing changes.

use std::time::Instant;

use crate::limits::GENERATION_GRACE;
use crate::state::{StateWord, namespace_cookie};
use crate::{KernelError, take, take_as};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use relay_common::address::Address;
use relay_common::tables::{
    BindingEntry, BindingKey, ConnectorEntry, ConnectorKey, RangeEntry, RangeKey, StateEntry,
};
use relay_connector::range::Block;
use relay_connector::{Binding, ConnectorId, RangeId};

/// One generation, in the form for the kernel.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// Its number: higher than any before it in this process.
    pub generation: u32,
    /// The bindings. A binding's number is its index here.
    pub bindings: Vec<Binding>,
    /// Binding number, block, and the connector.
    pub blocks: Vec<(u32, Block, ConnectorId, RangeId)>,
    /// The connectors with settings for the guard.
    pub guarded: Vec<(ConnectorId, ConnectorEntry)>,
    /// Connectors, for readers of STATE.
    pub connectors: u32,
    /// Ranges in the order of the configuration, for readers of STATE.
    pub ranges: u32,
    /// SHA-256 of the configuration.
    pub digest: [u8; 32],
}

/// The owner of the maps of generations.
pub struct Publisher {
    pub(crate) bindings: HashMap<MapData, BindingKey, BindingEntry>,
    pub(crate) ranges: LpmTrie<MapData, RangeKey, RangeEntry>,
    connectors: HashMap<MapData, ConnectorKey, ConnectorEntry>,
    state: StateWord,
    in_force: Option<Entries>,
    retired: Vec<(Instant, Entries)>,
}

/// The keys of one generation in the maps.
#[derive(Default)]
struct Entries {
    bindings: Vec<BindingKey>,
    ranges: Vec<Key<RangeKey>>,
    connectors: Vec<ConnectorKey>,
}

impl Publisher {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let namespace = namespace_cookie()
            .map_err(KernelError::io("cannot ask for the network namespace (Linux 5.14 can)"))?;
        Ok(Self {
            bindings: take_as(ebpf, "BINDINGS")?,
            ranges: take_as(ebpf, "RANGES")?,
            connectors: take_as(ebpf, "CONNECTORS")?,
            state: StateWord::new(&take(ebpf, "STATE")?, namespace)?,
            in_force: None,
            retired: Vec::new(),
        })
    }

    /// Puts this generation in force. The previous one stays readable for [`GENERATION_GRACE`].
    ///
    /// # Errors
    ///
    /// A map is full or the kernel has no memory: the generation before stays in force, and
    /// nothing of the new one remains.
    pub fn publish(&mut self, publication: &Publication) -> Result<(), KernelError> {
        self.sweep(Instant::now());
        let mut entries = Entries::default();
        if let Err(error) = self.insert(publication, &mut entries) {
            self.remove(&entries);
            return Err(error);
        }
        self.state.publish(&StateEntry {
            generation: publication.generation,
            bindings: publication.bindings.len() as u32,
            blocks: publication.blocks.len() as u32,
            connectors: publication.connectors,
            ranges: publication.ranges,
            digest: publication.digest,
            ..self.state.read()
        });
        if let Some(replaced) = self.in_force.replace(entries) {
            self.retired.push((Instant::now(), replaced));
        }
        Ok(())
    }

    /// Removes the entries of generations that were replaced [`GENERATION_GRACE`] ago. Must be
    /// called regularly; [`Publisher::publish`] calls it too.
    pub fn sweep(&mut self, now: Instant) {
        let (over, waiting) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|(since, _)| now.saturating_duration_since(*since) >= GENERATION_GRACE);
        self.retired = waiting;
        for (_, entries) in over {
            self.remove(&entries);
        }
    }

    /// Will a later [`Publisher::sweep`] have entries to remove?
    pub fn needs_sweep(&self) -> bool {
        !self.retired.is_empty()
    }

    /// The value of STATE, as programs and bpftool see it.
    pub fn state(&self) -> StateEntry {
        self.state.read()
    }

    fn insert(&mut self, new: &Publication, done: &mut Entries) -> Result<(), KernelError> {
        let generation = new.generation;
        done.ranges.reserve_exact(new.blocks.len());
        for &(binding, block, connector, range) in &new.blocks {
            let address = Address { octets: block.address.octets() };
            let bits = RangeKey::FIXED_BITS + u32::from(block.bits);
            let key = Key::new(bits, RangeKey { generation, binding, address });
            let entry = RangeEntry { connector: connector.0, range: range.0 };
            self.ranges.insert(&key, entry, 0).map_err(KernelError::map("RANGES"))?;
            done.ranges.push(key);
        }
        for &(connector, entry) in &new.guarded {
            let key = ConnectorKey { generation, connector: connector.0 };
            self.connectors.insert(key, entry, 0).map_err(KernelError::map("CONNECTORS"))?;
            done.connectors.push(key);
        }
        for (binding, number) in new.bindings.iter().zip(0..) {
            let local = binding.address();
            let key = BindingKey {
                generation,
                port: u32::from(local.port()),
                address: Address::from(local.ip()),
            };
            let entry = BindingEntry { binding: number };
            self.bindings.insert(key, entry, 0).map_err(KernelError::map("BINDINGS"))?;
            done.bindings.push(key);
        }
        Ok(())
    }

    /// Removes bindings first: without its binding a generation cannot be found, so a program that
    /// still uses it sees all of its ranges or none. A missing entry does not stop the removal,
    /// because the other entries must be removed too.
    fn remove(&mut self, entries: &Entries) {
        for key in &entries.bindings {
            let _ = self.bindings.remove(key);
        }
        for key in &entries.ranges {
            let _ = self.ranges.remove(key);
        }
        for key in &entries.connectors {
            let _ = self.connectors.remove(key);
        }
    }
}
