//! How short this host is of what it cannot do without, and since when.
//!
//! Four resources are metered every [`crate::limits::BACK_PRESSURE_INTERVAL`]: the disk of the
//! queue, the messages that delivery has not come to yet, the memory of this process, and the part
//! of it that holds messages on their way in. Each has a level, Normal, Medium or High, which rises
//! at other values than it falls at, so that it does not flutter. The highest of them is the
//! daemon's, one word that sessions and listeners read without a lock.
//!
//! What follows from a level is for `relay_policy::back_pressure`; how a value is read, for
//! [`meter`].

pub mod meter;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use relay_mail::store_error::StoreError;
use relay_policy::pressure::{BackPressureSettings, Pressure, PressureLevel, Resource, Thresholds};
use serde::{Deserialize, Serialize};

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
pub struct LevelChange {
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

impl BackPressure {
    /// Everything is Normal until something is read.
    pub fn new(settings: &BackPressureSettings) -> Self {
        let gauge = |thresholds| Gauge { thresholds, level: PressureLevel::Normal, value: None };
        let gauges = Mutex::new(settings.thresholds().map(gauge));
        Self { current: AtomicU8::new(0), refusal: ArcSwapOption::empty(), gauges }
    }

    /// Other thresholds from now on. Levels follow when values are read next.
    pub fn set(&self, settings: &BackPressureSettings) {
        for (gauge, thresholds) in self.gauges.lock().iter_mut().zip(settings.thresholds()) {
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
    pub fn take(&self, readings: Readings) -> Vec<LevelChange> {
        let mut gauges = self.gauges.lock();
        let mut changes = Vec::new();
        for ((gauge, value), resource) in gauges.iter_mut().zip(readings.values).zip(Resource::ALL)
        {
            gauge.value = value;
            let Some(value) = value else { continue };
            let (from, to) = (gauge.level, gauge.thresholds.next(gauge.level, value));
            gauge.level = to;
            if from != to {
                changes.push(LevelChange { resource, from, to, value });
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
        let gauges = self.gauges.lock();
        let status = gauges.iter().zip(Resource::ALL).map(|(gauge, resource)| ResourceStatus {
            resource,
            level: gauge.level,
            value: gauge.value,
            unit: resource.unit().to_owned(),
            thresholds: gauge.thresholds,
        });
        status.collect()
    }
}
