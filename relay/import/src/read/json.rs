//! The JSON that `ConvertTo-Json` writes. Its form depends on the shell: a live object has numbers for
//! words and objects for sizes and times, an object of a remote shell has texts.

use serde_json::{Map, Value};

use super::{ExportError, is_needed};
use crate::source::ExportedProperty;

/// The properties of each object.
///
/// # Errors
/// The text is not JSON, or a value that the import needs has an unknown form.
pub(super) fn objects(text: &str) -> Result<Vec<Vec<ExportedProperty>>, ExportError> {
    let value: Value = serde_json::from_str(text).map_err(ExportError::NotJson)?;
    // One object is not in an array.
    let list = match value {
        Value::Array(list) => list,
        other => vec![other],
    };
    let object = |(index, element): (usize, &Value)| {
        let number = index + 1;
        let Value::Object(map) = element else { return Err(ExportError::UnknownObject { number }) };
        map.iter().map(|(name, value)| property(number, name, value)).collect()
    };
    list.iter().enumerate().map(object).collect()
}

fn property(number: usize, name: &str, value: &Value) -> Result<ExportedProperty, ExportError> {
    let mut values = Vec::new();
    if !texts(name, value, &mut values) {
        return Err(ExportError::UnknownForm { number, property: name.to_owned() });
    }
    Ok(ExportedProperty { name: name.to_owned(), values })
}

/// The texts of a value; false if its form is unknown.
fn texts(name: &str, value: &Value, into: &mut Vec<String>) -> bool {
    match value {
        Value::Null => {}
        Value::Bool(true) => into.push("True".to_owned()),
        Value::Bool(false) => into.push("False".to_owned()),
        Value::String(text) => into.push(text.clone()),
        Value::Array(list) => return list.iter().all(|element| texts(name, element, into)),
        Value::Number(number) => match enumeration(name) {
            None => into.push(number.to_string()),
            Some(words) => match number.as_u64().and_then(|number| in_words(words, number)) {
                Some(text) => into.push(text),
                None => return false,
            },
        },
        Value::Object(map) => match in_one_text(map) {
            Some(text) => into.push(text),
            // A list of a remote shell: { "value": [ … ], "Count": 2 }.
            None => match map.get("value") {
                Some(list @ Value::Array(_)) => return texts(name, list, into),
                // Bookkeeping of the directory is nested deeply, and nothing depends on it.
                _ => return !is_needed(name),
            },
        },
    }
    true
}

fn in_one_text(map: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    if map.get("IsUnlimited").and_then(Value::as_bool) == Some(true) {
        return Some("Unlimited".to_owned());
    }
    if let (Some(low), Some(high)) = (text("LowerBound"), text("UpperBound")) {
        return Some(if low == high { low } else { format!("{low}-{high}") });
    }
    if let Some(seconds) = map.get("TotalSeconds").and_then(Value::as_f64) {
        let seconds = seconds as u64;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
        return Some(if days == 0 { clock } else { format!("{days}.{clock}") });
    }
    ["Expression", "RawIdentity", "Domain", "DisplayName", "Value"].into_iter().find_map(text)
}

/// The numbers of enumerations: section 11.3 of docs/exchange-semantics.md. Flags are sums.
fn enumeration(name: &str) -> Option<&'static [(u64, &'static str)]> {
    Some(match name {
        "AuthMechanism" => &[
            (1, "Tls"),
            (2, "Integrated"),
            (4, "BasicAuth"),
            (8, "BasicAuthRequireTLS"),
            (16, "ExchangeServer"),
            (32, "ExternalAuthoritative"),
        ],
        "PermissionGroups" => &[
            (1, "AnonymousUsers"),
            (2, "ExchangeUsers"),
            (4, "ExchangeServers"),
            (8, "ExchangeLegacyServers"),
            (16, "Partners"),
            (32, "Custom"),
        ],
        "MessageRateSource" => &[(1, "IPAddress"), (2, "User")],
        "SizeEnabled" => &[(1, "Enabled"), (2, "EnabledWithoutValue")],
        "ProtocolLoggingLevel" => &[(1, "Verbose")],
        "TransportRole" => &[(32, "HubTransport"), (16_384, "FrontendTransport")],
        "DomainType" => &[],
        _ => return None,
    })
}

/// The words of a number; `None` if it has a bit without a known word.
fn in_words(words: &[(u64, &str)], number: u64) -> Option<String> {
    if number == 0 {
        return Some(if words.is_empty() { "Authoritative" } else { "None" }.to_owned());
    }
    let known = words.iter().filter(|(bit, _)| number & bit == *bit);
    let (bits, names): (Vec<u64>, Vec<&str>) = known.copied().unzip();
    (bits.iter().sum::<u64>() == number).then(|| names.join(", "))
}
