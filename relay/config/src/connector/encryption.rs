//! `tls_certificate_name`, `tls_minimum_version`, `implicit_tls_bindings`, `domain_secure_enabled`
//! and `require_tls`, and their dependencies on each other and on the mechanisms.

use crate::document::{Section, Value, Wrong};
use crate::mapped::MappedAddresses;
use crate::tls::Tls;
use crate::value::{boolean, one_of, text, unknown_word};
use relay_connector::binding::BindingError;
use relay_connector::{AuthMechanism, Binding, CertificateName, ConnectorTls, TlsVersion};

/// Reads the encryption of a connector. [`check`] decides whether the connector can encrypt at all,
/// when its mechanisms are known.
pub(super) fn read(section: &mut Section<'_, '_>, tls: &Tls) -> ConnectorTls {
    let default = tls.certificates.contains_key(&CertificateName::Default);
    let named = section.take("tls_certificate_name", |value| certificate(value, tls));
    let minimum_version = one_of(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);
    ConnectorTls {
        certificate: named.or_else(|| default.then_some(CertificateName::Default)),
        minimum_version: section.take("tls_minimum_version", minimum_version).unwrap_or_default(),
        implicit_bindings: implicit_bindings(section),
        domain_secure_enabled: section.take("domain_secure_enabled", boolean).unwrap_or(false),
    }
}

fn certificate(value: Value<'_>, tls: &Tls) -> Result<CertificateName, Wrong> {
    let name = text(value)?;
    if name.starts_with("<I>") {
        return Err(Wrong::new(
            "selects from a Windows store by issuer and subject",
            "write the name of a [[certificate]], which has the files",
        ));
    }
    let known = tls.certificates.keys().filter_map(|known| match known {
        CertificateName::Named(name) => Some(name.as_str()),
        CertificateName::Default => None,
    });
    let known: Vec<_> = known.collect();
    if known.contains(&name.as_str()) {
        return Ok(CertificateName::Named(name));
    }
    if known.is_empty() {
        let problem = format!("`{name}` is unknown: the configuration has no [[certificate]]");
        return Err(Wrong::new(problem, "write [[certificate]] with name, certificate and key"));
    }
    Err(unknown_word(&name, &known))
}

fn implicit_bindings(section: &mut Section<'_, '_>) -> Vec<Binding> {
    let line = section.line_of("implicit_tls_bindings");
    let mut mapped = MappedAddresses::default();
    let bindings: Vec<Binding> =
        section.take_list("implicit_tls_bindings", |value| mapped.read(value, BindingError::mend));
    mapped.warn(section, "implicit_tls_bindings");
    for (index, binding) in bindings.iter().enumerate() {
        if bindings[..index].contains(binding) {
            let wrong = Wrong::new(format!("{binding} is listed twice"), "remove one of them");
            section.refuse(line, "implicit_tls_bindings", wrong);
        }
    }
    bindings
}

/// Refuses contradictions to the mechanisms, and reads `require_tls`.
pub(super) fn check(
    section: &mut Section<'_, '_>,
    encryption: &ConnectorTls,
    mechanism: AuthMechanism,
    lines: Lines,
    tls: &Tls,
) -> bool {
    let line = section.line_of("require_tls");
    let require_tls = section.take("require_tls", boolean).unwrap_or(false);
    if require_tls {
        needs_tls(section, line, "require_tls", encryption, mechanism);
    }
    if !encryption.implicit_bindings.is_empty() {
        needs_tls(section, lines.implicit_bindings, "implicit_tls_bindings", encryption, mechanism);
    }
    if encryption.domain_secure_enabled {
        let (line, key) = (lines.domain_secure, "domain_secure_enabled");
        needs_tls(section, line, key, encryption, mechanism);
        if mechanism.external_authoritative {
            let problem =
                "contradicts ExternalAuthoritative, which trusts clients without authentication";
            section.refuse(line, key, Wrong::new(problem, "remove one of the two"));
        }
        if tls.partners.is_none() {
            let mend = "write [partners] with ca and tls_receive_domain_secure_list";
            section.refuse(line, key, Wrong::new("needs a list of partners", mend));
        }
    }
    if mechanism.exchange_server {
        let (line, key) = (lines.mechanism, "auth_mechanism");
        let refuse = |problem: &str, mend: &str| {
            let wrong = Wrong::new(format!("ExchangeServer {problem}"), mend);
            section.refuse(line, key, wrong);
        };
        if !mechanism.tls {
            refuse("needs Tls, in which a server shows its certificate", "add Tls");
        } else if encryption.certificate.is_none() {
            let mend = "name certificate and key in [tls], or remove ExchangeServer";
            refuse("needs a certificate of this host too", mend);
        }
        if tls.fleet.is_none() {
            let mend = "write [fleet] with ca and names, or remove ExchangeServer";
            refuse("needs a list of our servers", mend);
        }
    }
    for (line, key) in [
        (lines.certificate, "tls_certificate_name"),
        (lines.minimum_version, "tls_minimum_version"),
    ] {
        if let Some(line) = line
            && !mechanism.tls
        {
            let wrong = Wrong::new("has no effect without Tls in auth_mechanism", "remove it");
            section.warn(line, key, wrong);
        }
    }
    require_tls
}

/// The lines of keys that were read.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    implicit_bindings: u32,
    certificate: Option<u32>,
    minimum_version: Option<u32>,
    domain_secure: u32,
    mechanism: u32,
}

impl Lines {
    pub(super) fn of(section: &Section<'_, '_>) -> Self {
        let line = |key| section.has_key(key).then(|| section.line_of(key));
        Self {
            implicit_bindings: section.line_of("implicit_tls_bindings"),
            certificate: line("tls_certificate_name"),
            minimum_version: line("tls_minimum_version"),
            domain_secure: section.line_of("domain_secure_enabled"),
            mechanism: section.line_of("auth_mechanism"),
        }
    }
}

/// Refuses a key that no client could satisfy without Tls or a certificate.
fn needs_tls(
    section: &Section<'_, '_>,
    line: u32,
    key: &str,
    encryption: &ConnectorTls,
    mechanism: AuthMechanism,
) {
    if !mechanism.tls {
        let mend = format!("write auth_mechanism = [\"Tls\"], or remove {key}");
        section.refuse(line, key, Wrong::new("needs Tls in auth_mechanism", mend));
    } else if encryption.certificate.is_none() {
        let mend = format!("name certificate and key in [tls], or remove {key}");
        section.refuse(line, key, Wrong::new("needs a certificate: no client could send", mend));
    }
}
