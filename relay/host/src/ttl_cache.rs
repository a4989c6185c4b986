//! A table of bounded size whose entries hold until a moment of their own. It owns no clock.
//!
//! Where there is no room, entries whose time is over are forgotten, or else any: nothing that must
//! not be lost belongs here.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use crate::limits::FADING_SWEEP;

/// The table.
#[derive(Debug)]
pub struct TtlCache<K, V> {
    entries: HashMap<K, (V, Instant)>,
    most: usize,
    /// When entries whose time is over were last looked for: each look is at all of them.
    swept: Option<Instant>,
}

impl<K: Clone + Eq + Hash, V> TtlCache<K, V> {
    /// An empty table for so many entries.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most, swept: None }
    }

    /// What holds for this key, and until when.
    pub fn get(&self, now: Instant, key: &K) -> Option<(&V, Instant)> {
        self.entries
            .get(key)
            .filter(|(_, until)| now < *until)
            .map(|(value, until)| (value, *until))
    }

    /// Keeps a value.
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

    /// How many entries there are, those included whose time is over.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there no entry at all?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
