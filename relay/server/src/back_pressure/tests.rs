use crate::back_pressure::*;
use proptest::prelude::*;
use relay_policy::pressure::PressureLevel::{High, Medium, Normal};

const THRESHOLDS: Thresholds =
    Thresholds { low_to_medium: 50, medium_to_high: 80, high_to_medium: 60, medium_to_low: 30 };

fn levels(values: &[u64]) -> Vec<PressureLevel> {
    let mut level = Normal;
    let next = |&value| {
        level = THRESHOLDS.next(level, value);
        level
    };
    values.iter().map(next).collect()
}

#[test]
fn levels_rise_and_fall_at_different_values() {
    assert_eq!(levels(&[49, 50, 49, 31, 30, 49]), [Normal, Medium, Medium, Medium, Normal, Normal]);
    assert_eq!(levels(&[79, 80, 79, 61, 60, 79]), [Medium, High, High, High, Medium, Medium]);
    assert_eq!(levels(&[80, 30]), [High, Normal], "two steps at once");
    assert_eq!(levels(&[0, 100]), [Normal, High]);
}

#[test]
fn the_defaults_are_sound() {
    for thresholds in BackPressureSettings::default().thresholds() {
        assert!(thresholds.is_sound(), "{thresholds:?}");
    }
}

fn readings(disk: u64, queue: u64, memory: Option<u64>, messages: u64) -> Readings {
    Readings { values: [Some(disk), Some(queue), memory, Some(messages)], refusal: None }
}

#[test]
fn the_first_resource_with_the_highest_level_is_named() {
    let settings = BackPressureSettings {
        queue_length: THRESHOLDS,
        memory_use: THRESHOLDS,
        ..BackPressureSettings::default()
    };
    let pressure = BackPressure::new(&settings);
    assert_eq!(pressure.pressure(), Pressure::default());
    let queue =
        LevelChange { resource: Resource::QueueLength, from: Normal, to: Medium, value: 55 };
    let memory = LevelChange { resource: Resource::MemoryUse, from: Normal, to: Medium, value: 50 };
    assert_eq!(pressure.update(readings(1, 55, Some(50), 0)), [queue, memory]);
    let blamed = |level, resource| Pressure { level, resource };
    assert_eq!(pressure.pressure(), blamed(Medium, Some(Resource::QueueLength)));
    assert_eq!(pressure.update(readings(1, 55, Some(90), 0)).len(), 1);
    assert_eq!(pressure.pressure(), blamed(High, Some(Resource::MemoryUse)));

    // A resource that cannot be measured keeps its level.
    assert_eq!(pressure.update(readings(1, 55, None, 0)), []);
    assert_eq!(pressure.pressure(), blamed(High, Some(Resource::MemoryUse)));
    let status = &pressure.status()[2];
    assert_eq!((status.level, status.value, status.unit.as_str()), (High, None, "%"));

    assert_eq!(pressure.update(readings(1, 0, Some(0), 0)).len(), 2);
    assert_eq!(pressure.pressure(), Pressure::default());
}

#[test]
fn new_thresholds_apply_at_the_next_measurement() {
    let pressure = BackPressure::new(&BackPressureSettings::default());
    pressure.update(readings(40, 0, Some(0), 0));
    pressure.set(&BackPressureSettings {
        disk_use: Thresholds { low_to_medium: 40, ..THRESHOLDS },
        ..BackPressureSettings::default()
    });
    assert_eq!(pressure.pressure().level, Normal);
    assert_eq!(pressure.update(readings(40, 0, Some(0), 0)).len(), 1);
    assert_eq!(pressure.pressure(), Pressure { level: Medium, resource: Some(Resource::DiskUse) });
}

#[test]
fn a_refusing_queue_is_known_until_it_accepts_mail_again() {
    let pressure = BackPressure::new(&BackPressureSettings::default());
    assert!(pressure.queue().is_ok());
    pressure.update(Readings { refusal: Some(StoreError::Refusing), ..Readings::default() });
    assert!(matches!(pressure.queue(), Err(StoreError::Refusing)));
    pressure.update(Readings::default());
    assert!(pressure.queue().is_ok());
}

#[test]
fn a_pressure_fits_a_word() {
    let resources = Resource::ALL.map(Some).into_iter().chain([None]);
    for resource in resources {
        for level in [Normal, Medium, High] {
            let pressure = Pressure { level, resource };
            assert_eq!(Pressure::unpack(pressure.pack()), pressure);
        }
    }
}

proptest! {
    /// Between its thresholds a level stays, so that small changes of the value have no effect.
    #[test]
    fn a_value_that_stays_changes_a_level_once(before in 0u64..100, value in 0u64..100) {
        let level = THRESHOLDS.next(Normal, before);
        let once = THRESHOLDS.next(level, value);
        prop_assert_eq!(THRESHOLDS.next(once, value), once);
    }
}
