//! How scarce are the resources of this host, and since when?
//!
//! Four resources are measured every [`crate::limits::BACK_PRESSURE_INTERVAL`]: the disk of the
//! queue, the messages that delivery has not tried yet, the memory of this process, and the part of
//! the memory for messages that are being received. Each has a level, Normal, Medium or High. A
//! level rises at another value than it falls, so that it does not change all the time. The highest
//! level is the daemon's: one word that sessions and listeners read without a lock.
//!
//! `relay_policy::back_pressure` decides what a level means; [`meter`] measures the values.

pub mod meter;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use relay_mail::store_error::StoreError;
use relay_policy::BackPressureSettings;
use relay_policy::pressure::{Pressure, PressureLevel, Resource, Thresholds};
use serde::{Deserialize, Serialize};

/// The values of one measurement. If a value could not be measured, its level stays.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// The value of each resource, in the order of [`Resource::ALL`].
    pub values: [Option<u64>; Resource::ALL.len()],
    /// Why the queue accepts no mail, if it accepts none.
    pub refusal: Option<StoreError>,
}

/// A changed level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// The resource.
    pub resource: Resource,
    /// The old level.
    pub from: PressureLevel,
    /// The new level.
    pub to: PressureLevel,
    /// The value that changed the level.
    pub value: u64,
}

/// The state of one resource for `relay status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// The resource.
    pub resource: Resource,
    /// Its level.
    pub level: PressureLevel,
    /// The last value; `None` if it could not be measured.
    pub value: Option<u64>,
    /// The unit of the value.
    pub unit: String,
    /// The values at which the level changes.
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
    /// All levels are Normal until the first measurement.
    pub fn new(settings: &BackPressureSettings) -> Self {
        let gauge = |thresholds| Gauge { thresholds, level: PressureLevel::Normal, value: None };
        let gauges = Mutex::new(settings.thresholds().map(gauge));
        Self { current: AtomicU8::new(0), refusal: ArcSwapOption::empty(), gauges }
    }

    /// Sets other thresholds. Levels change at the next measurement.
    pub fn set(&self, settings: &BackPressureSettings) {
        for (gauge, thresholds) in self.gauges.lock().iter_mut().zip(settings.thresholds()) {
            gauge.thresholds = thresholds;
        }
    }

    /// The current level. One load.
    pub fn pressure(&self) -> Pressure {
        Pressure::unpack(self.current.load(Ordering::Relaxed))
    }

    /// Did the queue accept mail at the last measurement? One load.
    ///
    /// # Errors
    /// The reason why it did not.
    pub fn queue(&self) -> Result<(), StoreError> {
        match &*self.refusal.load() {
            None => Ok(()),
            Some(refusal) => Err(StoreError::clone(refusal)),
        }
    }

    /// Sets the measured values, and returns the changed levels.
    pub fn update(&self, readings: Readings) -> Vec<LevelChange> {
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

    /// The state of each resource.
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
