//! `[tls]` and `[[certificate]]`: the certificates that connectors show; `[partners]` and
//! `[fleet]`: the authorities for certificates of clients.
//!
//! The files are named here and read by `server::tls`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::accepted_domain::domain_pattern;
use crate::document::{Section, Value, Wrong};
use crate::value::{path, text};
use relay_connector::{CertificateName, Connector, Principal};
use relay_mail::domain_pattern::DomainPattern;

use crate::limits;

/// The certificates and authorities of connectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `[tls]` and `[[certificate]]`.
    pub certificates: Certificates,
    /// `[partners]`, with `tls_receive_domain_secure_list` for its names.
    pub partners: Option<Trusted>,
    /// `[fleet]`, with `names`.
    pub fleet: Option<Trusted>,
}

/// The authorities for one purpose, with the names that they may certify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// `ca`: a PEM file of the authorities.
    pub ca: PathBuf,
    /// The domains or hosts that a certificate must have.
    pub names: Vec<DomainPattern>,
    /// The first line of its table.
    pub line: u32,
}

/// The certificates that connectors can show, by name.
pub type Certificates = BTreeMap<CertificateName, CertificateFiles>;

/// A certificate and its key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `certificate`: the chain, leaf first.
    pub certificate: PathBuf,
    /// `key`: its private key.
    pub key: PathBuf,
    /// The first line of its table.
    pub line: u32,
}

/// Reads all tables about TLS.
pub(super) fn read(root: &mut Section<'_, '_>) -> Tls {
    Tls {
        certificates: certificates(root),
        partners: trusted(
            root,
            "partners",
            "tls_receive_domain_secure_list",
            "write tls_receive_domain_secure_list = [\"partner.example\"]",
        ),
        fleet: trusted(root, "fleet", "names", "write names = [\"hub1.contoso.example\"]"),
    }
}

fn trusted(
    root: &mut Section<'_, '_>,
    key: &'static str,
    names_key: &'static str,
    mend: &str,
) -> Option<Trusted> {
    if !root.has_key(key) {
        // The key is marked as known, so that it can be suggested for a misspelled key.
        root.take_section(key, key);
        return None;
    }
    let mut section = root.take_section(key, &format!("[{key}]"));
    let line = section.line;
    let ca = section.require("ca", "write ca = \"/etc/relay/ca.pem\", a PEM file", path);
    let names = section.require_list(names_key, mend, |value| domain_pattern(&text(value)?));
    section.finish(|_| None);
    Some(Trusted { ca: ca?, names, line })
}

fn certificates(root: &mut Section<'_, '_>) -> Certificates {
    let mut certificates = Certificates::new();
    let is_there = root.has_key("tls");
    let section = root.take_section("tls", "[tls]");
    if is_there && let Some(files) = files(section) {
        certificates.insert(CertificateName::Default, files);
    }
    for mut section in root.take_sections("certificate") {
        let mend = "write name = \"partners\", for use in tls_certificate_name";
        let Some(name) = section.require("name", mend, name) else { continue };
        section.place = format!("certificate \"{name}\"");
        let name = CertificateName::Named(name);
        if certificates.contains_key(&name) {
            let wrong =
                Wrong::new("is the name of another certificate", "give one of them another name");
            section.refuse(section.line, "name", wrong);
        }
        if let Some(files) = files(section) {
            certificates.insert(name, files);
        }
    }
    certificates
}

fn name(value: Value<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    let most = limits::CONNECTOR_NAME_CHARACTERS;
    if name.trim().is_empty() || name.chars().count() > most {
        let mend = format!("write a name of 1 to {most} characters");
        return Err(Wrong::new("is empty or too long", mend));
    }
    Ok(name)
}

fn files(mut section: Section<'_, '_>) -> Option<CertificateFiles> {
    let mend = "write certificate = \"/etc/relay/chain.pem\" and key = \"/etc/relay/key.pem\"";
    let line = section.line;
    let certificate = section.require("certificate", mend, path);
    let key = section.require("key", mend, path);
    section.finish(|_| None);
    Some(CertificateFiles { certificate: certificate?, key: key?, line })
}

/// The certificates that no connector shows.
pub(super) fn unused_certificates<'c>(
    certificates: &'c Certificates,
    connectors: &'c [Connector],
) -> impl Iterator<Item = (&'c CertificateName, &'c CertificateFiles)> {
    certificates.iter().filter(|(name, _)| {
        let mut shown =
            connectors.iter().map(|connector| connector.encryption.certificate.as_ref());
        !shown.any(|shown| shown == Some(name))
    })
}

/// The authorities that no connector uses.
pub(super) fn unused_authorities<'c>(
    tls: &'c Tls,
    connectors: &[Connector],
) -> impl Iterator<Item = (&'static str, &'c Trusted)> {
    [("[partners]", &tls.partners, Principal::Partner), ("[fleet]", &tls.fleet, Principal::Server)]
        .into_iter()
        .filter(|(.., principal)| !connectors.iter().any(|connector| connector.can_be(*principal)))
        .filter_map(|(place, trusted, _)| Some((place, trusted.as_ref()?)))
}
