//! The files of the log: their names, which exist, and which must be removed.
//!
//! A file is named by the time at which it begins. That time is later than every queue id in
//! earlier files, because ids can be ahead of a clock that was set back. So a file that ended
//! (where the next one begins) before the time in an id has no lines about that message.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::{Date, Month, OffsetDateTime, Time};

const AFTER_TIME: &str = ".jsonl";

/// The log has two series of files, each with its own share of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Events of messages.
    Messages,
    /// Refusals. Even a flood of refusals replaces only a small share of the messages' files.
    Refusals,
}

impl Series {
    /// Both series.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Refusals];

    const fn before_time(self) -> &'static str {
        match self {
            Self::Messages => "tracking-",
            Self::Refusals => "refused-",
        }
    }
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The begin, in milliseconds since 1970.
    pub begin: u64,
    /// The path.
    pub path: PathBuf,
    /// The size in octets.
    pub size: u64,
    /// The time of the last write.
    pub changed: SystemTime,
}

/// The path of the file that begins at this time.
pub fn path_of(directory: &Path, series: Series, begin: u64) -> PathBuf {
    let time = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(begin);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let month = u8::from(month);
    let before = series.before_time();
    directory.join(format!(
        "{before}{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{milli:03}Z{AFTER_TIME}"
    ))
}

/// Is this the name of a file of the log?
pub fn is_file_name(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| Series::ALL.iter().any(|&series| begin_of(series, name).is_some()))
}

/// The begin of the file with this name; `None` for a file of another series.
fn begin_of(series: Series, name: &str) -> Option<u64> {
    let time =
        name.strip_prefix(series.before_time())?.strip_suffix(AFTER_TIME)?.strip_suffix('Z')?;
    let (date, clock) = time.split_once('T').filter(|(date, clock)| {
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        (date.len(), clock.len()) == (8, 9) && digits(date) && digits(clock)
    })?;
    let number = |text: &str| text.parse::<u16>().ok();
    let small = |text: &str| text.parse::<u8>().ok();
    let month = Month::try_from(small(&date[4..6])?).ok()?;
    let date = Date::from_calendar_date(date[..4].parse().ok()?, month, small(&date[6..])?).ok()?;
    let (hour, minute) = (small(&clock[..2])?, small(&clock[2..4])?);
    let time =
        Time::from_hms_milli(hour, minute, small(&clock[4..6])?, number(&clock[6..])?).ok()?;
    let since = OffsetDateTime::new_utc(date, time) - OffsetDateTime::UNIX_EPOCH;
    u64::try_from(since.whole_milliseconds()).ok()
}

/// The files of a series, oldest first. Empty if the directory does not exist.
///
/// # Errors
/// The directory cannot be read.
pub fn list(directory: &Path, series: Series) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let begin = name.to_str().and_then(|name| begin_of(series, name));
        let Some(begin) = begin else { continue };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The writer has removed the file in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_file() {
            let changed = metadata.modified()?;
            files.push(LogFile { begin, path: entry.path(), size: metadata.len(), changed });
        }
    }
    files.sort_by_key(|file| file.begin);
    Ok(files)
}

/// How many of these files, the oldest, must be removed before a file of `next` octets is created:
/// files that are too old, and files that do not fit.
pub fn surplus(
    files: &[LogFile],
    now: SystemTime,
    max_age: Option<Duration>,
    max_directory_size: u64,
    next: u64,
) -> usize {
    let is_old = |file: &LogFile| {
        let age = now.duration_since(file.changed).unwrap_or_default();
        max_age.is_some_and(|most| age > most)
    };
    let mut total: u64 = files.iter().map(|file| file.size).sum();
    let mut surplus = 0;
    for file in files {
        if !is_old(file) && total.saturating_add(next) <= max_directory_size {
            break;
        }
        total -= file.size;
        surplus += 1;
    }
    surplus
}

#[cfg(test)]
mod tests {
    use crate::files::*;

    fn file(begin: u64, size: u64, age: u64, now: SystemTime) -> LogFile {
        let changed = now - Duration::from_secs(age);
        LogFile { begin, path: path_of(Path::new("/log"), Series::Messages, begin), size, changed }
    }

    #[test]
    fn a_name_tells_when_the_file_begins() {
        let of = |series, begin| path_of(Path::new("/log"), series, begin);
        let path = of(Series::Messages, 1_800_000_000_123);
        assert_eq!(path.to_str(), Some("/log/tracking-20270115T080000123Z.jsonl"));
        for begin in [0, 1_800_000_000_123, 253_402_300_799_999] {
            for series in Series::ALL {
                let path = of(series, begin);
                let name = path.file_name().unwrap().to_str().unwrap();
                let other = Series::ALL.into_iter().find(|other| *other != series).unwrap();
                assert_eq!(begin_of(series, name), Some(begin));
                assert_eq!(begin_of(other, name), None);
            }
        }
        for name in [
            "",
            "tracking-.jsonl",
            "tracking-20270115T080000123Z",
            "tracking-20271315T080000123Z.jsonl",
            "tracking-20270115T240000123Z.jsonl",
            "tracking-2027011508000123Z.jsonl",
            "tracking-+0270115T080000123Z.jsonl",
            "tracking-2027é115T080000123Z.jsonl",
        ] {
            assert_eq!(begin_of(Series::Messages, name), None, "{name}");
        }
    }

    #[test]
    fn old_files_and_files_that_do_not_fit_are_removed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let files = [file(1, 10, 30, now), file(2, 20, 20, now), file(3, 30, 10, now)];
        let age = |seconds| Some(Duration::from_secs(seconds));
        for (max_age, max_size, next, expected) in [
            (None, 100, 0, 0),
            (None, 60, 0, 0),
            (None, 59, 0, 1),
            (None, 100, 50, 1),
            (None, 100, 100, 3),
            (None, 10, u64::MAX, 3),
            (age(30), 100, 0, 0),
            (age(15), 100, 0, 2),
            (age(5), 100, 0, 3),
        ] {
            let surplus = surplus(&files, now, max_age, max_size, next);
            assert_eq!(surplus, expected, "{max_age:?} {max_size} {next}");
        }
    }
}
