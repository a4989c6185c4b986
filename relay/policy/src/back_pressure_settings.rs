//! `[back_pressure]`: at which values of which resource a level changes.

use crate::limits;
use crate::pressure::{Resource, Thresholds};
use relay_mail::limits::MESSAGE_MEMORY;

/// `[back_pressure]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackPressureSettings {
    /// `disk_use`, in percent.
    pub disk_use: Thresholds,
    /// `queue_length`, in messages.
    pub queue_length: Thresholds,
    /// `memory_use`, in percent.
    pub memory_use: Thresholds,
    /// `message_memory_use`, in percent of `message_memory`.
    pub message_memory_use: Thresholds,
    /// `message_memory`: octets that messages being received may use, in all sessions together.
    pub message_memory: u64,
}

impl Default for BackPressureSettings {
    fn default() -> Self {
        Self {
            disk_use: limits::BACK_PRESSURE_DISK_USE,
            queue_length: limits::BACK_PRESSURE_QUEUE_LENGTH,
            memory_use: limits::BACK_PRESSURE_MEMORY_USE,
            message_memory_use: limits::BACK_PRESSURE_MESSAGE_MEMORY_USE,
            message_memory: MESSAGE_MEMORY,
        }
    }
}

impl BackPressureSettings {
    /// The thresholds of each resource, in the order of [`Resource::ALL`].
    pub fn thresholds(&self) -> [Thresholds; Resource::ALL.len()] {
        [self.disk_use, self.queue_length, self.memory_use, self.message_memory_use]
    }
}
