//! Reads exported objects from the JSON that `ConvertTo-Json` writes.
//!
//! The kind of an object follows from its properties, because JSON has no types. A value that was
//! cut by the shell, or that has a form which this version does not know, is an error: a silent cut
//! would lose clients.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::limits::EXPORT_OCTETS;
use crate::source::{
    AccessKind, AccessOrigin, AccessRow, ExportedObject, ExportedObjects, ExportedProperty,
    ObjectKind,
};

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is over the limit.
    #[error("{path}: larger than {EXPORT_OCTETS} octets, the limit of an export")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("neither UTF-8 nor UTF-16; write it with Out-File -Encoding UTF8")]
    NotText,
    /// The text is not JSON.
    #[error("not JSON: {0}; export with ConvertTo-Json -Depth 4")]
    NotJson(#[source] serde_json::Error),
    /// An element is no object of Exchange that can be imported.
    #[error(
        "object {number} is neither a receive connector, send connector, accepted domain, \
         transport configuration nor an entry of Get-ADPermission"
    )]
    UnknownObject {
        /// Its position in the file, from 1.
        number: usize,
    },
    /// A value was cut by the shell.
    #[error(
        "object {number}: {property} ends in `...`: the shell cut the value; export with \
         ConvertTo-Json -Depth 4"
    )]
    Cut {
        /// The object's position in the file, from 1.
        number: usize,
        /// The property.
        property: String,
    },
    /// A value has an unknown form.
    #[error(
        "object {number}: {property} has a form that is not understood; export with ConvertTo-Json \
         -Depth 4"
    )]
    UnknownForm {
        /// The object's position in the file, from 1.
        number: usize,
        /// The property.
        property: String,
    },
}

/// The octets of a file.
///
/// # Errors
/// It cannot be read, or is larger than [`EXPORT_OCTETS`].
pub fn file(path: &Path) -> Result<Vec<u8>, ExportError> {
    let unreadable = |source| ExportError::Unreadable { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(EXPORT_OCTETS + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > EXPORT_OCTETS {
        return Err(ExportError::TooLarge { path: path.to_owned() });
    }
    Ok(octets)
}

/// The objects of one file of Exchange.
///
/// # Errors
/// The text cannot be understood as a whole; nothing of it is used then.
pub fn exchange(octets: &[u8]) -> Result<ExportedObjects, ExportError> {
    let text = decode(octets).ok_or(ExportError::NotText)?;
    let value: Value = serde_json::from_str(&text).map_err(ExportError::NotJson)?;
    // One object is not in an array.
    let list = match value {
        Value::Array(list) => list,
        other => vec![other],
    };
    let mut exported = ExportedObjects::default();
    for (index, element) in list.iter().enumerate() {
        let number = index + 1;
        let Value::Object(map) = element else { return Err(ExportError::UnknownObject { number }) };
        let properties = map
            .iter()
            .map(|(name, value)| property(number, name, value))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(kind) = kind(map) {
            exported.objects.push(ExportedObject { kind, properties });
        } else if has(map, "ExtendedRights") && has(map, "User") {
            let entry = ExportedObject { kind: ObjectKind::ReceiveConnector, properties };
            exported.access.push(access(&entry));
        } else {
            return Err(ExportError::UnknownObject { number });
        }
    }
    Ok(exported)
}

/// PowerShell's redirection writes UTF-16 with a byte order mark.
fn decode(octets: &[u8]) -> Option<String> {
    let units = |octets: &[u8], read: fn([u8; 2]) -> u16| {
        let (pairs, rest) = octets.as_chunks();
        let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok())?
    };
    match octets {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(octets.to_vec()).ok(),
    }
}

fn has(map: &Map<String, Value>, key: &str) -> bool {
    map.keys().any(|name| name.eq_ignore_ascii_case(key))
}

fn kind(map: &Map<String, Value>) -> Option<ObjectKind> {
    let known = [
        ("RemoteIPRanges", ObjectKind::ReceiveConnector),
        ("AddressSpaces", ObjectKind::SendConnector),
        ("DomainName", ObjectKind::AcceptedDomain),
        ("TLSReceiveDomainSecureList", ObjectKind::TransportConfig),
        ("ExternalPostmasterAddress", ObjectKind::TransportConfig),
    ];
    known.into_iter().find(|(key, _)| has(map, key)).map(|(_, kind)| kind)
}

fn property(number: usize, name: &str, value: &Value) -> Result<ExportedProperty, ExportError> {
    let mut values = Vec::new();
    if !texts(name, value, &mut values) {
        return Err(ExportError::UnknownForm { number, property: name.to_owned() });
    }
    if values.iter().any(|text| text.trim_end().ends_with("...")) && name != "Comment" {
        return Err(ExportError::Cut { number, property: name.to_owned() });
    }
    values.retain(|text| !text.trim().is_empty());
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

fn is_needed(name: &str) -> bool {
    use crate::properties::{Meaning, meaning};
    !matches!(meaning(name), Meaning::Nothing(_) | Meaning::Reference(_))
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

fn access(entry: &ExportedObject) -> AccessRow {
    let text = |key| entry.text(key).unwrap_or_default().to_owned();
    AccessRow {
        connector: text("Identity"),
        account: text("User"),
        rights: entry.values("ExtendedRights").to_vec(),
        kind: if entry.is_true("Deny") { AccessKind::Deny } else { AccessKind::Allow },
        origin: match entry.is_true("IsInherited") {
            true => AccessOrigin::Inherited,
            false => AccessOrigin::Own,
        },
    }
}
