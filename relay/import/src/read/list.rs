//! The text that `Format-List` prints: `Name : value`, one property a line.
//!
//! The shell wraps a long value at the width of its window and indents the rest. Pages and mails that
//! show such a list may have an empty line behind every line.

use super::ExportError;
use crate::source::ExportedProperty;

/// Blanks at the beginning of a line that continues a value. The shell indents by the width of the
/// names, which is more.
const INDENT: usize = 2;

/// The properties of each object. A name that an object has already begins the next object, as does an
/// empty line, unless every line is followed by one.
///
/// # Errors
/// A line is neither a property nor the continuation of one.
pub(super) fn objects(text: &str) -> Result<Vec<Vec<ExportedProperty>>, ExportError> {
    let empty_line_ends = !is_double_spaced(text);
    let mut objects: Vec<Vec<(&str, String)>> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() {
            is_open &= !empty_line_ends;
            continue;
        }
        let unknown = ExportError::UnknownFormat { line: index + 1 };
        if line.len() - line.trim_start().len() >= INDENT {
            let last = objects.last_mut().and_then(|object| object.last_mut());
            let (_, value) = last.filter(|_| is_open).ok_or(unknown)?;
            join(value, line.trim_start());
            continue;
        }
        let (name, value) = property(line).ok_or(unknown)?;
        let has = |object: &&mut Vec<(&str, String)>| {
            object.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        match objects.last_mut().filter(|_| is_open).filter(|object| !has(object)) {
            Some(object) => object.push((name, value.to_owned())),
            None => objects.push(vec![(name, value.to_owned())]),
        }
        is_open = true;
    }
    let object = |(index, object): (usize, Vec<(&str, String)>)| {
        object.into_iter().map(|(name, value)| exported(index + 1, name, &value)).collect()
    };
    objects.into_iter().enumerate().map(object).collect()
}

/// Is every line followed by an empty one?
fn is_double_spaced(text: &str) -> bool {
    let mut before_is_text = false;
    for line in text.lines() {
        let is_text = !line.trim().is_empty();
        if is_text && before_is_text {
            return false;
        }
        before_is_text = is_text;
    }
    true
}

/// Name and value of a line.
fn property(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let is_name =
        !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    is_name.then(|| (name, value.trim()))
}

/// Appends the rest of a wrapped value. The shell wraps at a blank if there is one; in a list the only
/// blanks are behind the commas.
fn join(value: &mut String, rest: &str) {
    let is_within_entry = value.starts_with('{') && !value.ends_with(',');
    if !is_within_entry {
        value.push(' ');
    }
    value.push_str(rest);
}

fn exported(number: usize, name: &str, value: &str) -> Result<ExportedProperty, ExportError> {
    let property = || name.to_owned();
    let values = match value.strip_prefix('{') {
        None => vec![value.to_owned()],
        Some(list) => {
            let cut = ExportError::Cut { number, property: property() };
            let list = list.strip_suffix('}').ok_or(cut)?;
            list.split(", ").map(|entry| entry.trim().to_owned()).collect()
        }
    };
    Ok(ExportedProperty { name: property(), values })
}
