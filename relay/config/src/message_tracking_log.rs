//! `[message_tracking_log]`: where the events of messages are written, and how much of them is
//! kept.

use std::path::Path;
use std::time::Duration;

use crate::QueueConfig;
use crate::document::{Section, Wrong};
use crate::limits::{TRACKING_AGE, TRACKING_MIN_FREE_FACTOR};
use crate::places::tracking_in;
use crate::value::{boolean, duration, path, size_or_unlimited};
use relay_tracking::TrackingSettings;
use relay_tracking::limits::{
    TRACKING_DIRECTORY_OCTETS, TRACKING_FILE_LEAST, TRACKING_FILE_OCTETS,
};

/// Reads the table. By default the files are in the queue's directory, because the daemon can write
/// there.
pub(super) fn read(mut section: Section<'_, '_>, queue: &QueueConfig) -> TrackingSettings {
    let enabled = section.take("enabled", boolean).unwrap_or(true);
    if !enabled {
        for key in ["max_directory_size", "max_file_size", "max_age"] {
            if section.has_key(key) {
                let wrong = Wrong::new(
                    "has no effect: enabled is false, so no file is written or removed",
                    "remove it, or write enabled = true",
                );
                section.warn(section.line_of(key), key, wrong);
            }
        }
    }
    let line = section.line_of("path");
    let path = section.take("path", path).unwrap_or_else(|| tracking_in(&queue.directory));
    if is_of_the_queue(&path, &queue.directory) {
        let problem = format!("the queue has its own files in {}", path.display());
        let mend = "write a directory that only the log uses, or remove the key";
        section.refuse(line, "path", Wrong::new(problem, mend));
    }
    let octets = || size_or_unlimited(TRACKING_FILE_LEAST..=i64::MAX as u64);
    let max_directory_size =
        section.take("max_directory_size", octets()).unwrap_or(TRACKING_DIRECTORY_OCTETS);
    let file_key =
        if section.has_key("max_file_size") { "max_file_size" } else { "max_directory_size" };
    let line = section.line_of(file_key);
    let max_file_size = section.take("max_file_size", octets()).unwrap_or(TRACKING_FILE_OCTETS);
    if max_file_size > max_directory_size {
        let problem = format!(
            "a file of {max_file_size} octets is larger than max_directory_size, {max_directory_size}"
        );
        let mend = "write a max_file_size that is at most max_directory_size";
        section.refuse(line, file_key, Wrong::new(problem, mend));
    }
    // In Exchange, a duration of zero means no limit of age.
    let age = duration(Duration::ZERO..=Duration::from_hours(24_855 * 24));
    let max_age = section.take("max_age", age).unwrap_or(TRACKING_AGE);
    section.finish(|key| {
        (key == "subject_logging_enabled")
            .then(|| Wrong::new("is not supported: message contents are never logged", "remove it"))
    });
    let max_age = Some(max_age).filter(|age| !age.is_zero());
    let min_free_octets = queue.min_free_space.saturating_mul(TRACKING_MIN_FREE_FACTOR);
    TrackingSettings { enabled, path, max_directory_size, max_file_size, max_age, min_free_octets }
}

/// The queue removes unknown files from its directories.
fn is_of_the_queue(path: &Path, queue: &Path) -> bool {
    path == queue || ["messages", "damaged"].iter().any(|part| path.starts_with(queue.join(part)))
}
