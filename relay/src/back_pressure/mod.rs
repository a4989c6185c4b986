//! How short this host is of what it cannot do without, and since when.
//!
//! Four resources are metered every [`crate::limits::BACK_PRESSURE_INTERVAL`]: the disk of the
//! queue, the messages that delivery has not come to yet, the memory of this process, and the part
//! of it that holds messages on their way in. Each has a level, Normal, Medium or High, which rises
//! at other values than it falls at, so that it does not flutter. The highest of them is the
//! daemon's, one word that sessions and listeners read without a lock.
//!
//! What follows from a level is for [`crate::policy::back_pressure`]; how a value is read, for
//! [`meter`].

pub mod meter;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::queue::StoreError;

/// How short a resource is, in the order of need.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PressureLevel {
    /// There is enough.
    #[default]
    Normal,
    /// Mail of servers is taken, other mail is put off.
    Medium,
    /// Nothing is taken.
    High,
}

/// What is metered, by its key in `[back_pressure]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Percent of the file system of the queue that is in use.
    DiskUse,
    /// Messages in the queue that are due and that delivery has not come to.
    QueueLength,
    /// Percent of the memory of this host that belongs to this process alone.
    MemoryUse,
    /// Percent of `message_memory` that messages on their way in take.
    MessageMemoryUse,
}

/// The values at which a level changes. A level rises at its value and falls at its value.
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

/// `[back_pressure]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `disk_use`, in percent.
    pub disk_use: Thresholds,
    /// `queue_length`, in messages.
    pub queue_length: Thresholds,
    /// `memory_use`, in percent.
    pub memory_use: Thresholds,
    /// `message_memory_use`, in percent of `message_memory`.
    pub message_memory_use: Thresholds,
    /// `message_memory`: octets that messages on their way in may take, all sessions together.
    pub message_memory: u64,
}

/// The level that holds, and the resource that it is due to: the first one of [`Resource::ALL`]
/// that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// The highest level of all resources.
    pub level: PressureLevel,
    /// `None` at Normal.
    pub resource: Option<Resource>,
}

/// What was read at one time. A value that could not be read keeps its level.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Of each resource, in the order of [`Resource::ALL`].
    pub values: [Option<u64>; Resource::ALL.len()],
    /// Why the queue takes nothing, if it does not.
    pub refusal: Option<StoreError>,
}

/// A level that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub resource: Resource,
    /// What it was.
    pub from: PressureLevel,
    /// What it is.
    pub to: PressureLevel,
    /// The value that made it change.
    pub value: u64,
}

/// What `relay status` tells of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Which.
    pub resource: Resource,
    /// Its level.
    pub level: PressureLevel,
    /// Its value when it was read last; `None`: it could not be.
    pub value: Option<u64>,
    /// What the value is counted in.
    pub unit: String,
    /// Where its level changes.
    #[serde(flatten)]
    pub thresholds: Thresholds,
}

/// The levels of this host.
#[derive(Debug)]
pub struct BackPressure {
    /// A [`Pressure`] in one word.
    current: AtomicU8,
    refusal: ArcSwapOption<StoreError>,
    gauges: Mutex<[Gauge; Resource::ALL.len()]>,
}

/// The level of one resource.
#[derive(Clone, Copy, Debug)]
struct Gauge {
    thresholds: Thresholds,
    level: PressureLevel,
    value: Option<u64>,
}

impl Resource {
    /// Every resource, in the order in which one is blamed.
    pub const ALL: [Self; 4] =
        [Self::DiskUse, Self::QueueLength, Self::MemoryUse, Self::MessageMemoryUse];

    /// The key that holds its thresholds.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiskUse => "disk_use",
            Self::QueueLength => "queue_length",
            Self::MemoryUse => "memory_use",
            Self::MessageMemoryUse => "message_memory_use",
        }
    }

    /// What its value is counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::QueueLength => "messages",
            Self::DiskUse | Self::MemoryUse | Self::MessageMemoryUse => "%",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disk_use: limits::BACK_PRESSURE_DISK_USE,
            queue_length: limits::BACK_PRESSURE_QUEUE_LENGTH,
            memory_use: limits::BACK_PRESSURE_MEMORY_USE,
            message_memory_use: limits::BACK_PRESSURE_MESSAGE_MEMORY_USE,
            message_memory: limits::MESSAGE_MEMORY,
        }
    }
}

impl Settings {
    fn thresholds(&self) -> [Thresholds; Resource::ALL.len()] {
        [self.disk_use, self.queue_length, self.memory_use, self.message_memory_use]
    }
}

impl BackPressure {
    /// Everything is Normal until something is read.
    pub fn new(settings: &Settings) -> Self {
        let gauge = |thresholds| Gauge { thresholds, level: PressureLevel::Normal, value: None };
        let gauges = Mutex::new(settings.thresholds().map(gauge));
        Self { current: AtomicU8::new(0), refusal: ArcSwapOption::empty(), gauges }
    }

    /// Other thresholds from now on. Levels follow when values are read next.
    pub fn set(&self, settings: &Settings) {
        for (gauge, thresholds) in self.gauges().iter_mut().zip(settings.thresholds()) {
            gauge.thresholds = thresholds;
        }
    }

    /// The level that holds. One load.
    pub fn pressure(&self) -> Pressure {
        Pressure::unpack(self.current.load(Ordering::Relaxed))
    }

    /// Did the queue take mail when it was asked last? One load.
    ///
    /// # Errors
    /// Why it did not.
    pub fn queue(&self) -> Result<(), StoreError> {
        match &*self.refusal.load() {
            None => Ok(()),
            Some(refusal) => Err(StoreError::clone(refusal)),
        }
    }

    /// Takes what was read, and says which levels changed by it.
    pub fn take(&self, readings: Readings) -> Vec<Change> {
        let mut gauges = self.gauges();
        let mut changes = Vec::new();
        for ((gauge, value), resource) in gauges.iter_mut().zip(readings.values).zip(Resource::ALL)
        {
            gauge.value = value;
            let Some(value) = value else { continue };
            let (from, to) = (gauge.level, gauge.thresholds.next(gauge.level, value));
            gauge.level = to;
            if from != to {
                changes.push(Change { resource, from, to, value });
            }
        }
        let level = gauges.iter().map(|gauge| gauge.level).max().unwrap_or_default();
        let blamed = gauges.iter().zip(Resource::ALL).find(|(gauge, _)| gauge.level == level);
        let resource =
            blamed.map(|(_, resource)| resource).filter(|_| level != PressureLevel::Normal);
        self.current.store(Pressure { level, resource }.pack(), Ordering::Relaxed);
        self.refusal.store(readings.refusal.map(Arc::new));
        changes
    }

    /// What is to be told of each resource.
    pub fn status(&self) -> Vec<ResourceStatus> {
        let gauges = self.gauges();
        let status = gauges.iter().zip(Resource::ALL).map(|(gauge, resource)| ResourceStatus {
            resource,
            level: gauge.level,
            value: gauge.value,
            unit: resource.unit().to_owned(),
            thresholds: gauge.thresholds,
        });
        status.collect()
    }

    /// Numbers are right after every statement, so that a panic elsewhere leaves no harm.
    fn gauges(&self) -> MutexGuard<'_, [Gauge; Resource::ALL.len()]> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Does each level fall at a lower value than it rises at, and High beyond Medium?
    pub const fn is_sound(&self) -> bool {
        self.medium_to_low < self.low_to_medium
            && self.high_to_medium < self.medium_to_high
            && self.low_to_medium < self.medium_to_high
            && self.medium_to_low < self.high_to_medium
    }
}

impl Pressure {
    const fn pack(self) -> u8 {
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

    fn unpack(word: u8) -> Self {
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
