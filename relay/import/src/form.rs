//! Converts one value of Exchange to the value of a key.

use relay_config::{read_duration, read_size};
use toml_edit::Value;

use crate::properties::Form;

/// The value of a key.
pub(crate) enum Converted {
    /// The default, which is not written.
    Default,
    /// This value.
    Value(Value),
}

/// Converts a value.
///
/// # Errors
/// The value does not have the form; the error says which form it should have.
pub(crate) fn convert(form: Form, text: &str) -> Result<Converted, &'static str> {
    Ok(match form {
        Form::Switch(default) => {
            let value = switch(text).ok_or("is neither True nor False")?;
            unless_default(value == default, value.into())
        }
        Form::Count(default) => {
            let value = count(text).ok_or("is not a number")?;
            let written = match value {
                Some(number) => i64::from(number).into(),
                None => "unlimited".into(),
            };
            unless_default(value == default, written)
        }
        Form::Size(default) => {
            if text.eq_ignore_ascii_case("unlimited") {
                return Ok(Converted::Value("unlimited".into()));
            }
            let octets = read_size(text).ok_or("is not a size")?;
            unless_default(octets == default, size(octets))
        }
        Form::Timespan(default) => {
            let time = read_duration(text).ok_or("is not a duration")?.as_secs();
            unless_default(time == default, text.into())
        }
        Form::Word(default) => unless_default(text.eq_ignore_ascii_case(default), text.into()),
        // TOML would keep a line break, but a key of the configuration is one line.
        Form::Text => {
            Converted::Value(text.split_whitespace().collect::<Vec<_>>().join(" ").into())
        }
    })
}

fn unless_default(is_default: bool, value: Value) -> Converted {
    if is_default { Converted::Default } else { Converted::Value(value) }
}

pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `None` is not a number; `Some(None)` is `Unlimited`.
fn count(text: &str) -> Option<Option<u32>> {
    if text.eq_ignore_ascii_case("unlimited") { Some(None) } else { text.parse().ok().map(Some) }
}

fn size(octets: u64) -> Value {
    for (unit, factor) in [("MB", 1 << 20), ("KB", 1 << 10)] {
        if octets >= factor && octets.is_multiple_of(factor) {
            return format!("{} {unit}", octets / factor).into();
        }
    }
    match i64::try_from(octets) {
        Ok(octets) => octets.into(),
        Err(_) => "unlimited".into(),
    }
}
