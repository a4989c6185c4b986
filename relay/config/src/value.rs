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

/// A size: octets as a number, or `"64 KB"`, `"36 MB (37,748,736 bytes)"`; see [`read_size`].
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl FnOnce(Value<'_>) -> Result<u64, Wrong> {
    move |value| {
        if matches!(value.value, DeValue::Integer(_)) {
            return number(bounds)(value);
        }
        let text = text(value)?;
        let size = read_size(&text)
            .ok_or_else(|| Wrong::new(format!("`{text}` is not a size"), SIZE_REMEDY))?;
        if bounds.contains(&size) {
            return Ok(size);
        }
        Err(Wrong::new(
            format!("`{text}` is out of bounds"),
            format!("write a size from {} to {} octets", bounds.start(), bounds.end()),
        ))
    }
}

const SIZE_REMEDY: &str = "write octets as a number, or a text such as \"64 KB\" or \"36 MB\"";

/// A size that limits something: as [`size`], or Exchange's word `unlimited`, which is the highest
/// value of the key.
pub(super) fn size_or_unlimited(
    bounds: RangeInclusive<u64>,
) -> impl FnOnce(Value<'_>) -> Result<u64, Wrong> {
    move |value| match &value.value {
        DeValue::String(text) if text.eq_ignore_ascii_case("unlimited") => Ok(*bounds.end()),
        _ => size(bounds)(value),
    }
}

/// A size as text in a configuration: `"64 KB"`, in units of 1024 as in Exchange; or as Exchange's
/// shell prints it, `"36 MB (37,748,736 bytes)"`. The count in parentheses is the exact one. Its
/// thousands separators depend on the server's language. `None` if the text is not a size, or if
/// its two parts contradict each other.
pub fn read_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let Some((rounded, exact)) = text.split_once('(') else { return whole_size(text) };
    let exact = exact.strip_suffix(')')?.trim_end();
    let digits_end = exact.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (count, unit) = exact.split_at(digits_end);
    let is_separator = |c: char| matches!(c, ',' | '.' | '\'' | '\u{2019}') || c.is_whitespace();
    // The word `bytes` is translated in some languages, but it contains no digits.
    let is_count = count.starts_with(|c: char| c.is_ascii_digit())
        && count.chars().all(|c| c.is_ascii_digit() || is_separator(c));
    if !is_count || unit.trim().is_empty() || !unit.trim().chars().all(char::is_alphabetic) {
        return None;
    }
    let digits: String = count.chars().filter(char::is_ascii_digit).collect();
    let octets = digits.parse::<u64>().ok()?;
    let (least, most) = rounded_size(rounded.trim())?;
    (least..=most).contains(&octets).then_some(octets)
}

fn whole_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(unit_octets(unit)?)
}

/// The octets that a rounded size such as `35.15 MB` can stand for: one unit of the last digit in
/// both directions.
fn rounded_size(text: &str) -> Option<(u64, u64)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ','))?;
    let (number, unit) = text.split_at(end);
    let factor = unit_octets(unit)?;
    let (whole_part, fraction) = number.split_once(['.', ',']).unwrap_or((number, ""));
    let places = u32::try_from(fraction.len()).ok().filter(|&places| places <= 6)?;
    let step = factor / 10_u64.pow(places).min(factor);
    let fraction = if fraction.is_empty() { 0 } else { whole(fraction)? };
    let octets = whole(whole_part)?
        .checked_mul(factor)?
        .checked_add(fraction.checked_mul(factor)? / 10_u64.pow(places))?;
    Some((octets.saturating_sub(step), octets.saturating_add(step)))
}

fn unit_octets(unit: &str) -> Option<u64> {
    match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => Some(1),
        "KB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1 << 30),
        "TB" => Some(1 << 40),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::read_size;

    #[test]
    fn sizes_are_understood_as_exchange_prints_them() {
        for (text, octets) in [
            ("36 MB (37,748,736 bytes)", Some(37_748_736)),
            ("36 MB (37.748.736 Bytes)", Some(37_748_736)),
            ("36 MB (37\u{a0}748\u{a0}736 octets)", Some(37_748_736)),
            ("35.15 MB (36,857,446 bytes)", Some(36_857_446)),
            ("35,15 MB (36 857 446 bytes)", Some(36_857_446)),
            ("0 B (0 bytes)", Some(0)),
            ("10MB", Some(10 << 20)),
            ("10 mb", Some(10 << 20)),
            ("1 TB", Some(1 << 40)),
            ("65536", Some(65_536)),
            // The two parts contradict each other.
            ("36 MB (37,748 bytes)", None),
            ("36 MB (99,748,736 bytes)", None),
            ("36 MB (37,748,736 bytes", None),
            ("36 MB (37,748,736)", None),
            ("36 MB (-37,748,736 bytes)", None),
            ("36 MB ()", None),
            ("(37,748,736 bytes)", None),
            ("36 PB", None),
            ("-1 MB", None),
            ("99999999999 TB", None),
            ("99999999999 TB (1 bytes)", None),
            ("1.9999999999999999999 MB (1 bytes)", None),
            ("", None),
        ] {
            assert_eq!(read_size(text), octets, "{text}");
        }
    }
}
