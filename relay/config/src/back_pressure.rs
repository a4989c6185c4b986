//! `[back_pressure]`: the values at which this host accepts less mail, and none.

use std::ops::RangeInclusive;

use crate::document::{Section, Wrong};
use crate::limits::LEAST_MESSAGE_MEMORY;
use crate::value::{number, size};
use relay_policy::BackPressureSettings;
use relay_policy::pressure::{Resource, Thresholds};
use relay_queue::limits::BACKLOG_COUNTED;

/// Reads the table; missing keys have the defaults of [`crate::limits`].
pub(super) fn read(mut section: Section<'_, '_>) -> BackPressureSettings {
    let default = BackPressureSettings::default();
    let percent = || 0..=100;
    let settings = BackPressureSettings {
        disk_use: thresholds(&mut section, Resource::DiskUse, percent(), default.disk_use),
        queue_length: thresholds(
            &mut section,
            Resource::QueueLength,
            0..=BACKLOG_COUNTED as u64,
            default.queue_length,
        ),
        memory_use: thresholds(&mut section, Resource::MemoryUse, percent(), default.memory_use),
        message_memory_use: thresholds(
            &mut section,
            Resource::MessageMemoryUse,
            percent(),
            default.message_memory_use,
        ),
        message_memory: section
            .take("message_memory", size(LEAST_MESSAGE_MEMORY..=u64::from(u32::MAX) * 1024))
            .unwrap_or(default.message_memory),
    };
    section.finish(|_| None);
    settings
}

fn thresholds(
    section: &mut Section<'_, '_>,
    resource: Resource,
    bounds: RangeInclusive<u64>,
    default: Thresholds,
) -> Thresholds {
    let key = resource.name();
    let line = section.line_of(key);
    let place = format!("{}: {key}", section.place);
    let mut table = section.take_section(key, &place);
    let mut value = |key, default| table.take(key, number(bounds.clone())).unwrap_or(default);
    let thresholds = Thresholds {
        low_to_medium: value("low_to_medium", default.low_to_medium),
        medium_to_high: value("medium_to_high", default.medium_to_high),
        high_to_medium: value("high_to_medium", default.high_to_medium),
        medium_to_low: value("medium_to_low", default.medium_to_low),
    };
    table.finish(|_| None);
    if !thresholds.is_sound() {
        let Thresholds { low_to_medium, medium_to_high, high_to_medium, medium_to_low } =
            thresholds;
        let problem = format!(
            "rises at {low_to_medium} and {medium_to_high} and falls at {high_to_medium} and \
             {medium_to_low}: the thresholds overlap"
        );
        let mend = "write medium_to_low < low_to_medium < medium_to_high and \
                    medium_to_low < high_to_medium < medium_to_high";
        section.refuse(line, key, Wrong::new(problem, mend));
    }
    thresholds
}
