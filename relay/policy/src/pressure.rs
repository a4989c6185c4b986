//! The levels of back pressure, and the values at which they change.
//!
//! [`super::back_pressure`] decides which commands a level refuses; the server's meter measures the
//! values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How short a resource is, in the order of need.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PressureLevel {
    /// There is enough.
    #[default]
    Normal,
    /// Mail of servers is accepted, other mail is deferred.
    Medium,
    /// No mail is accepted.
    High,
}

/// The measured resources, by their keys in `[back_pressure]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Percent of the file system of the queue that is in use.
    DiskUse,
    /// Messages in the queue that are due and that delivery has not claimed yet.
    QueueLength,
    /// Percent of the memory of this host that only this process uses.
    MemoryUse,
    /// Percent of `message_memory` that messages being received use.
    MessageMemoryUse,
}

/// The values at which a level changes. A level rises at or above its value and falls at or below
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// At this value Normal becomes Medium.
    pub low_to_medium: u64,
    /// At this value it becomes High.
    pub medium_to_high: u64,
    /// At this value, or below, High becomes Medium.
    pub high_to_medium: u64,
    /// At this value, or below, it becomes Normal.
    pub medium_to_low: u64,
}

/// The current level, and its cause: the first resource of [`Resource::ALL`] at that level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// The highest level of all resources.
    pub level: PressureLevel,
    /// `None` at Normal.
    pub resource: Option<Resource>,
}

impl Resource {
    /// Every resource, in the order in which the cause is chosen.
    pub const ALL: [Self; 4] =
        [Self::DiskUse, Self::QueueLength, Self::MemoryUse, Self::MessageMemoryUse];

    /// The key of its thresholds.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiskUse => "disk_use",
            Self::QueueLength => "queue_length",
            Self::MemoryUse => "memory_use",
            Self::MessageMemoryUse => "message_memory_use",
        }
    }

    /// The unit of its value.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::QueueLength => "messages",
            Self::DiskUse | Self::MemoryUse | Self::MessageMemoryUse => "%",
        }
    }
}

impl Thresholds {
    /// The level after `level` when the resource has this value.
    pub const fn next(&self, level: PressureLevel, value: u64) -> PressureLevel {
        match level {
            _ if value >= self.medium_to_high => PressureLevel::High,
            PressureLevel::Normal if value >= self.low_to_medium => PressureLevel::Medium,
            PressureLevel::Normal => PressureLevel::Normal,
            _ if value <= self.medium_to_low => PressureLevel::Normal,
            PressureLevel::High if value > self.high_to_medium => PressureLevel::High,
            PressureLevel::High | PressureLevel::Medium => PressureLevel::Medium,
        }
    }

    /// Does each level fall at a lower value than it rises at, and is High above Medium?
    pub const fn is_sound(&self) -> bool {
        self.medium_to_low < self.low_to_medium
            && self.high_to_medium < self.medium_to_high
            && self.low_to_medium < self.medium_to_high
            && self.medium_to_low < self.high_to_medium
    }
}

impl Pressure {
    /// Level and resource in one octet, for one atomic word.
    pub const fn pack(self) -> u8 {
        let level = match self.level {
            PressureLevel::Normal => 0,
            PressureLevel::Medium => 1,
            PressureLevel::High => 2,
        };
        let resource = match self.resource {
            None => 0,
            Some(Resource::DiskUse) => 1,
            Some(Resource::QueueLength) => 2,
            Some(Resource::MemoryUse) => 3,
            Some(Resource::MessageMemoryUse) => 4,
        };
        level | resource << 2
    }

    /// The opposite of [`Pressure::pack`].
    pub fn unpack(word: u8) -> Self {
        let level = match word & 3 {
            0 => PressureLevel::Normal,
            1 => PressureLevel::Medium,
            _ => PressureLevel::High,
        };
        let place = usize::from(word >> 2).checked_sub(1);
        Self { level, resource: place.and_then(|place| Resource::ALL.get(place)).copied() }
    }
}

impl fmt::Display for PressureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "Normal",
            Self::Medium => "Medium",
            Self::High => "High",
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
