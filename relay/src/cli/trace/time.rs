//! Times in the command line: how long ago, or a time in UTC.

use std::time::{Duration, SystemTime};

use relay_config::read_duration;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

/// Reads a time: a duration before now, as in `2h`, or a date and time, in UTC if it has no offset.
pub(super) fn read(text: &str) -> Result<SystemTime, String> {
    if let Some(ago) = read_duration(text) {
        // No mail was received before 1970.
        let then = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        return Ok(then.max(SystemTime::UNIX_EPOCH));
    }
    let with_offset = text.replacen(' ', "T", 1);
    if let Ok(time) = OffsetDateTime::parse(&with_offset, &Rfc3339) {
        return system_time(time);
    }
    let with_offset_to_the_minute = format_description!(
        "[year]-[month]-[day]T[hour]:[minute][offset_hour sign:mandatory]:[offset_minute]"
    );
    if let Ok(time) = OffsetDateTime::parse(&with_offset, with_offset_to_the_minute) {
        return system_time(time);
    }
    let text = with_offset.strip_suffix('Z').unwrap_or(&with_offset);
    let forms = [
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
        format_description!("[year]-[month]-[day]T[hour]:[minute]"),
    ];
    let read = |form| PrimitiveDateTime::parse(text, form).ok();
    if let Some(time) = forms.into_iter().find_map(read) {
        return system_time(time.assume_utc());
    }
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(date) => system_time(date.midnight().assume_utc()),
        Err(_) => Err("write how long ago, as in 2h, 30m or 3d, or a UTC time, as in \
             2026-11-24T18:15, or with an offset, as in 2026-11-24T19:15+01:00"
            .to_owned()),
    }
}

fn system_time(time: OffsetDateTime) -> Result<SystemTime, String> {
    let since = time.unix_timestamp_nanos();
    let since =
        u64::try_from(since / 1_000_000).map_err(|_| "the time is before 1970".to_owned())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_people_write() {
        let seconds = |text: &str| {
            read(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        for text in [
            "2027-01-15T08:00:00Z",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00",
            "2027-01-15 08:00",
            "2027-01-15T08:00Z",
            "2027-01-15T09:00:00+01:00",
            "2027-01-15T09:00+01:00",
            "2027-01-15 02:30-05:30",
            "2027-01-15 08:00:00.250Z",
        ] {
            assert_eq!(seconds(text), 1_800_000_000, "{text}");
        }
        assert_eq!(seconds("2027-01-15"), 1_800_000_000 - 8 * 3600);
        for (text, ago) in [("2h", 7200), ("30m", 1800), ("3d", 259_200), ("01:30:00", 5400)] {
            let then = read(text).unwrap();
            let age = SystemTime::now().duration_since(then).unwrap().as_secs();
            assert!((ago..ago + 5).contains(&age), "{text}");
        }
        for long in ["99999999d", "3000000d"] {
            assert_eq!(read(long), Ok(SystemTime::UNIX_EPOCH), "{long}");
        }
        for wrong in ["", "2", "yesterday", "2027-13-01", "1900-01-01", "-2h"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
