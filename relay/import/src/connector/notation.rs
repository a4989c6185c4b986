//! Ranges, names and lists in the notation of the configuration.

use relay_connector::Range;
use toml_edit::{Array, Value};

/// A range as Exchange writes it: zone ids and masks have other notations here.
pub(super) fn range(text: &str) -> Result<Range, String> {
    let text = text.trim();
    let ends: Vec<_> = text.split('-').map(|end| end.split('%').next().unwrap_or(end)).collect();
    let mut text = ends.join("-");
    if let Some((address, mask)) = text.strip_suffix(')').and_then(|it| it.split_once('(')) {
        let mask: std::net::Ipv4Addr =
            mask.trim().parse().map_err(|_| format!("`{text}` has no valid mask"))?;
        let bits = mask.to_bits().leading_ones();
        if mask.to_bits().count_ones() != bits {
            return Err(format!("`{text}` has a mask with gaps"));
        }
        text = format!("{}/{bits}", address.trim());
    }
    text.parse()
        .map_err(|error: relay_connector::range::RangeError| format!("{error} ({})", error.mend()))
}

/// A name for `[[certificate]]` from the subject: `CN=mail.contoso.com, O=…` is
/// `mail.contoso.com`.
pub(super) fn certificate_name(subject: &str) -> String {
    let common = subject.split(',').find_map(|part| part.trim().strip_prefix("CN="));
    let name: String = common
        .unwrap_or(subject)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .take(relay_config::limits::CONNECTOR_NAME_CHARACTERS)
        .collect();
    match name.trim_matches(['_', '.', '-']) {
        "" => "exchange".to_owned(),
        name => name.to_ascii_lowercase(),
    }
}

/// A list; a long one has one element on each line.
pub(super) fn list(texts: &[String]) -> Value {
    const MOST_ON_A_LINE: usize = 4;
    let mut array: Array = texts.iter().map(String::as_str).collect();
    if array.len() > MOST_ON_A_LINE {
        for element in array.iter_mut() {
            element.decor_mut().set_prefix("\n    ");
        }
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    }
    Value::Array(array)
}
