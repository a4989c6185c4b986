//! A table of bounded size whose entries expire. It has no clock.
//!
//! If the table is full, an expired entry is removed, or else any: data that must not be lost does
//! not belong here.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use crate::limits::FADING_SWEEP;

/// The table.
#[derive(Debug)]
pub struct TtlCache<K, V> {
    entries: HashMap<K, (V, Instant)>,
    most: usize,
    /// The time of the last sweep for expired entries, which visits all of them.
    swept: Option<Instant>,
}

impl<K: Clone + Eq + Hash, V> TtlCache<K, V> {
    /// An empty table with this many slots.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most, swept: None }
    }

    /// The value of this key, and its time of expiry.
    pub fn get(&self, now: Instant, key: &K) -> Option<(&V, Instant)> {
        self.entries
            .get(key)
            .filter(|(_, until)| now < *until)
            .map(|(value, until)| (value, *until))
    }

    /// Stores a value.
    pub fn put(&mut self, now: Instant, key: K, value: V, until: Instant) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            if self.swept.is_none_or(|swept| now >= swept + FADING_SWEEP) {
                self.swept = Some(now);
                self.entries.retain(|_, (_, until)| now < *until);
            }
            if self.entries.len() >= self.most
                && let Some(any) = self.entries.keys().next().cloned()
            {
                self.entries.remove(&any);
            }
        }
        self.entries.insert(key, (value, until));
    }

    /// The number of entries, including expired ones.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is the table empty?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
