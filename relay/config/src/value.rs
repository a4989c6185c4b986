//! Converts one value to one type, or tells the correct form.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::document::{Value, Wrong, describe, nearest};
use relay_mail::path::{Domain, DomainError, ForwardPath, Mailbox};
use relay_mail::smart_host::SmartHost;
use toml::de::DeValue;

/// A text without control characters: it will be in logs and replies.
pub(super) fn text(value: Value<'_>) -> Result<String, Wrong> {
    match value.value {
        DeValue::String(text) if text.chars().any(char::is_control) => {
            Err(Wrong::new("contains a control character", "write it on one line, without tabs"))
        }
        DeValue::String(text) => Ok(text.into_owned()),
        other => Err(Wrong::new(
            format!("expected a string, found {}", describe(&other)),
            "write it in quotes",
        )),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: Value<'_>) -> Result<bool, Wrong> {
    match value.value {
        DeValue::Boolean(value) => Ok(value),
        other => Err(Wrong::new(
            format!("expected true or false, found {}", describe(&other)),
            "write true or false, without quotes",
        )),
    }
}

/// A whole number within bounds.
pub(super) fn number<T>(bounds: RangeInclusive<T>) -> impl FnOnce(Value<'_>) -> Result<T, Wrong>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |value| {
        let mend = format!("write a number from {} to {}", bounds.start(), bounds.end());
        let DeValue::Integer(integer) = &value.value else {
            let problem = format!("expected a number, found {}", describe(&value.value));
            return Err(Wrong::new(problem, mend));
        };
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| Wrong::new(format!("{integer} is out of bounds"), mend))
    }
}

/// A whole number within bounds, or Exchange's word `unlimited`, which is `None`.
pub(super) fn number_or_unlimited(
    bounds: RangeInclusive<u32>,
) -> impl FnOnce(Value<'_>) -> Result<Option<u32>, Wrong> {
    move |value| {
        let DeValue::String(text) = &value.value else { return number(bounds)(value).map(Some) };
        if text.eq_ignore_ascii_case("unlimited") {
            return Ok(None);
        }
        let mend = format!("write a number from {} to {}", bounds.start(), bounds.end());
        Err(Wrong::new(format!("`{text}` is not a number"), format!("{mend}, or \"unlimited\"")))
    }
}

/// A size: octets as a number, or `"64 KB"`, `"36 MB"`, in units of 1024 as in Exchange.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl FnOnce(Value<'_>) -> Result<u64, Wrong> {
    move |value| {
        if matches!(value.value, DeValue::Integer(_)) {
            return number(bounds)(value);
        }
        let text = text(value)?;
        let mend = "write octets as a number, or a text such as \"64 KB\" or \"36 MB\"";
        let size =
            read_size(&text).ok_or_else(|| Wrong::new(format!("`{text}` is not a size"), mend))?;
        if bounds.contains(&size) {
            return Ok(size);
        }
        Err(Wrong::new(
            format!("`{text}` is out of bounds"),
            format!("write a size from {} to {} octets", bounds.start(), bounds.end()),
        ))
    }
}

/// A size as text in a configuration: `"64 KB"`.
pub fn read_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration: `[d.]hh:mm:ss` as in Exchange, or a number with `s`, `m`, `h` or `d`.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl FnOnce(Value<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let mend = "write hh:mm:ss, as in \"00:05:00\", or a number and a unit, as in \"5m\"";
        let DeValue::String(text) = &value.value else {
            let problem = format!("expected a duration, found {}", describe(&value.value));
            return Err(Wrong::new(problem, mend));
        };
        let time = read_duration(text)
            .ok_or_else(|| Wrong::new(format!("`{text}` is not a time"), mend))?;
        if bounds.contains(&time) {
            return Ok(time);
        }
        let (least, most) = (timespan(*bounds.start()), timespan(*bounds.end()));
        Err(Wrong::new(
            format!("`{text}` is out of bounds"),
            format!("write a time from {least} to {most}"),
        ))
    }
}

/// A duration as text in a configuration.
pub fn read_duration(text: &str) -> Option<Duration> {
    parse_timespan(text).or_else(|| parse_with_unit(text))
}

fn parse_timespan(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) => (whole(days)?, clock),
        None => (0, text),
    };
    let mut parts = clock.split(':').map(whole);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let clock = (hours * 60 + minutes) * 60 + seconds;
    Some(Duration::from_secs(days.checked_mul(86_400)?.checked_add(clock)?))
}

fn parse_with_unit(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(whole(number)?.checked_mul(seconds)?))
}

/// Only digits: `FromStr` of integers would also accept a sign.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A duration in Exchange's form: `[d.]hh:mm:ss`.
pub(super) fn timespan(time: Duration) -> String {
    let seconds = time.as_secs();
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        days => format!("{days}.{clock}"),
    }
}

/// One of a few words, without regard to case.
pub(super) fn one_of<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(Value<'_>) -> Result<T, Wrong> {
    move |value| {
        let text = text(value)?;
        words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&text))
            .map(|&(_, meaning)| meaning)
            .ok_or_else(|| {
                unknown_word(&text, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>())
            })
    }
}

/// A word that is not allowed here.
pub(super) fn unknown_word(word: &str, known: &[&str]) -> Wrong {
    let mend = match nearest(word, known) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("write one of {}", known.join(", ")),
    };
    Wrong::new(format!("unknown value `{word}`"), mend)
}

/// A path relative to the configuration in `file`.
pub(super) fn below(file: &Path, path: &str) -> PathBuf {
    // This fails without a working directory; then only absolute paths work.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    file.parent().unwrap_or(Path::new("/")).join(path)
}

/// A path of the file system. A relative path is below the directory of the configuration, because
/// the daemon and each command have different working directories.
pub(super) fn path(value: Value<'_>) -> Result<PathBuf, Wrong> {
    let file = value.file;
    let path = text(value)?;
    if path.is_empty() {
        return Err(Wrong::new("is empty", "write a path"));
    }
    Ok(below(Path::new(file), &path))
}

/// A type with its own parser; its errors contain the remedy.
pub(super) fn parsed<T: FromStr>(
    mend: fn(&T::Err) -> String,
) -> impl Fn(Value<'_>) -> Result<T, Wrong>
where
    T::Err: Display,
{
    move |value| {
        let text = text(value)?;
        text.parse().map_err(|error| Wrong::new(format!("{error}"), mend(&error)))
    }
}

/// A domain name in the form of DNS: lower case, A-labels, no trailing dot.
pub(super) fn host_name(value: Value<'_>) -> Result<Domain, Wrong> {
    let text = text(value)?;
    let name = domain_name(&text)?;
    if !name.is_host_name() {
        return Err(Wrong::new(
            format!("`{text}` is not a host name: it contains an underscore"),
            "write letters, digits and hyphens, as in edge1.contoso.example",
        ));
    }
    Ok(name)
}

/// See [`host_name`].
pub(super) fn domain_name(text: &str) -> Result<Domain, Wrong> {
    Domain::parse(text.strip_suffix('.').unwrap_or(text))
        .map_err(|error| not_a_domain_name(text, error))
}

pub(super) fn not_a_domain_name(text: &str, error: DomainError) -> Wrong {
    Wrong::new(
        format!("`{text}` is not a domain name: {error}"),
        "write labels with dots between them, as in edge1.contoso.example",
    )
}

/// An address with a domain, as in RCPT.
pub(super) fn mailbox(value: Value<'_>) -> Result<Mailbox, Wrong> {
    let text = text(value)?;
    match ForwardPath::parse(&format!("<{text}>")) {
        Ok(ForwardPath::Mailbox(mailbox)) => Ok(mailbox),
        Ok(ForwardPath::Postmaster) | Err(_) => Err(Wrong::new(
            format!("`{text}` is not an address"),
            "write a local part and a domain, as in postmaster@contoso.example",
        )),
    }
}

/// `host:port`.
pub(super) fn smart_host(value: Value<'_>) -> Result<SmartHost, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        Wrong::new(
            format!("`{text}` is not a host and a port"),
            "write host:port, as in `mail.contoso.example:25`, `10.0.0.1:25` or `[2001:db8::1]:25`",
        )
    })
}
