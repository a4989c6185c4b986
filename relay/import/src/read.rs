//! Reads exported objects from the files that an administrator has: the output of `ConvertTo-Json`,
//! `Export-Clixml` or `Format-List`.
//!
//! The format follows from the first character, the kind of an object from its properties. A value
//! that was cut by the shell, or that has a form which this version does not know, is an error: a
//! silent cut would lose clients.

mod clixml;
mod json;
mod list;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    /// The text is not XML, or has a document type definition, which Export-Clixml never writes.
    #[error("not XML: {0}; export with Export-Clixml")]
    NotXml(#[source] roxmltree::Error),
    /// The XML is not that of Export-Clixml.
    #[error("XML, but not the form of Export-Clixml: {0}")]
    NotClixml(&'static str),
    /// The text is in none of the formats.
    #[error(
        "line {line}: neither JSON nor XML nor a line `Name : value` of Format-List; export with \
         ConvertTo-Json -Depth 4, Export-Clixml or Format-List"
    )]
    UnknownFormat {
        /// The line, from 1.
        line: usize,
    },
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
         ConvertTo-Json -Depth 4, or write $FormatEnumerationLimit = -1 before Format-List"
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
         -Depth 4 or Export-Clixml"
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
    let read = match text.trim_start().chars().next() {
        Some('<') => clixml::objects(&text)?,
        Some('[' | '{') | None => json::objects(&text)?,
        Some(_) => list::objects(&text)?,
    };
    let mut exported = ExportedObjects::default();
    for (index, mut properties) in read.into_iter().enumerate() {
        let number = index + 1;
        properties.iter_mut().try_for_each(|property| check(number, property))?;
        if let Some(kind) = kind(&properties) {
            exported.objects.push(ExportedObject { kind, properties });
        } else if has(&properties, "ExtendedRights") && has(&properties, "User") {
            let entry = ExportedObject { kind: ObjectKind::ReceiveConnector, properties };
            exported.access.push(access(number, &entry)?);
        } else {
            return Err(ExportError::UnknownObject { number });
        }
    }
    Ok(exported)
}

/// Refuses a value that was cut, and removes empty ones. Only a comment may end in an ellipsis.
fn check(number: usize, property: &mut ExportedProperty) -> Result<(), ExportError> {
    let is_cut = |text: &String| text.trim_end().ends_with("...") || text.trim_end().ends_with('…');
    if property.values.iter().any(is_cut) && !property.name.eq_ignore_ascii_case("Comment") {
        return Err(ExportError::Cut { number, property: property.name.clone() });
    }
    property.values.retain(|text| !text.trim().is_empty());
    Ok(())
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

fn has(properties: &[ExportedProperty], name: &str) -> bool {
    properties.iter().any(|property| property.name.eq_ignore_ascii_case(name))
}

fn kind(properties: &[ExportedProperty]) -> Option<ObjectKind> {
    let known = [
        ("RemoteIPRanges", ObjectKind::ReceiveConnector),
        ("AddressSpaces", ObjectKind::SendConnector),
        ("DomainName", ObjectKind::AcceptedDomain),
        ("TLSReceiveDomainSecureList", ObjectKind::TransportConfig),
        ("ExternalPostmasterAddress", ObjectKind::TransportConfig),
    ];
    known.into_iter().find(|(name, _)| has(properties, name)).map(|(_, kind)| kind)
}

/// Does the import use this property? Bookkeeping of the directory may have any form.
fn is_needed(name: &str) -> bool {
    use crate::properties::{Meaning, meaning};
    /// Of access lists, send connectors and accepted domains.
    const OTHERS: [&str; 7] = [
        "AddressSpaces",
        "Deny",
        "DomainName",
        "DomainType",
        "ExtendedRights",
        "SmartHosts",
        "User",
    ];
    OTHERS.iter().any(|other| other.eq_ignore_ascii_case(name))
        || !matches!(meaning(name), Meaning::Nothing(_) | Meaning::Reference(_))
}

/// An entry of an access list. Without a readable `Deny` it could give a right that it removes, so it is
/// refused.
fn access(number: usize, entry: &ExportedObject) -> Result<AccessRow, ExportError> {
    let text = |key| entry.text(key).unwrap_or_default().to_owned();
    let kind = match entry.text("Deny").map(str::to_ascii_lowercase).as_deref() {
        Some("true") => AccessKind::Deny,
        Some("false") => AccessKind::Allow,
        _ => return Err(ExportError::UnknownForm { number, property: "Deny".to_owned() }),
    };
    Ok(AccessRow {
        connector: text("Identity"),
        account: text("User"),
        rights: entry.values("ExtendedRights").to_vec(),
        kind,
        origin: match entry.is_true("IsInherited") {
            true => AccessOrigin::Inherited,
            false => AccessOrigin::Own,
        },
    })
}
