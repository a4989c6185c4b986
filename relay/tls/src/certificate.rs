//! The content of a certificate: its dates, names, use and key.
//!
//! This module only parses; callers decide whether a certificate is trusted. It parses versions 1
//! to 3 of X.509, because certificates of devices and of old authorities have version 1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{CERTIFICATE_NAMES, CERTIFICATE_WARNING};
use relay_mail::printable::printable;
use tokio_rustls::rustls::pki_types::{ServerName, SubjectPublicKeyInfoDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

/// The content of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `notBefore`, in seconds since 1970.
    pub not_before: i64,
    /// `notAfter`, in seconds since 1970.
    pub not_after: i64,
    /// The host names of the extension subjectAltName, in lower case.
    pub dns_names: Vec<String>,
    /// The addresses of subjectAltName.
    pub addresses: Vec<IpAddr>,
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// Subject and issuer are the same.
    pub is_self_issued: bool,
    /// It may be used by a server: it has no extKeyUsage, or one for servers.
    pub is_for_servers: bool,
    /// subjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// The octets are not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not an X.509 certificate")]
pub struct NoCertificate;

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// The octets are not a certificate. Extensions that cannot be parsed count as missing.
    pub fn parse(der: &[u8]) -> Result<Self, NoCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NoCertificate)?;
        let mut read = Self {
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            common_name: None,
            is_self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            is_for_servers: match certificate.extended_key_usage() {
                Ok(None) => true,
                Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
                Err(_) => false,
            },
            public_key: certificate.public_key().raw.to_vec(),
        };
        let mut common_names = certificate.subject().iter_common_name();
        read.common_name =
            common_names.next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for name in names.value.general_names.iter().take(CERTIFICATE_NAMES) {
                match name {
                    GeneralName::DNSName(name) => read.dns_names.push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(octets) => read.addresses.extend(address(octets)),
                    _ => {}
                }
            }
        }
        Ok(read)
    }

    /// Is this a certificate of version 1, which has no extensions?
    pub fn is_of_version_1(der: &[u8]) -> bool {
        X509Certificate::from_der(der).is_ok_and(|(_, read)| read.version() == X509Version::V1)
    }

    /// A warning about its dates at this moment, in seconds since 1970.
    pub fn validity_warning(&self, now: i64) -> Option<String> {
        let (begin, end) = (self.not_before, self.not_after);
        if now > end {
            Some(format!("the certificate expired on {}", day(end)))
        } else if now < begin {
            Some(format!("the certificate is not valid before {}", day(begin)))
        } else if end.saturating_sub(now) < CERTIFICATE_WARNING {
            let days = end.saturating_sub(now) / (24 * 60 * 60);
            Some(format!("the certificate expires on {}, in {days} days", day(end)))
        } else {
            None
        }
    }

    /// The name of the certificate in messages.
    pub fn title(&self) -> String {
        let name = self.names().into_iter().next().or_else(|| self.common_name.clone());
        printable(&name.unwrap_or_else(|| "a certificate without a name".to_owned())).into_owned()
    }

    /// The key, in the form for checks of signatures.
    pub fn public_key(&self) -> SubjectPublicKeyInfoDer<'_> {
        SubjectPublicKeyInfoDer::from(&self.public_key[..])
    }

    /// Is the certificate for this name, by RFC 6125 and RFC 9525? A wildcard stands for one label,
    /// the first. Without subjectAltName, the common name counts for a host name, as in OpenSSL.
    pub fn is_for(&self, name: &ServerName<'_>) -> bool {
        match name {
            ServerName::IpAddress(address) => self.addresses.contains(&IpAddr::from(*address)),
            ServerName::DnsName(name) => self.is_for_host(name.as_ref()),
            _ => false,
        }
    }

    /// Is the certificate for this host name?
    pub fn is_for_host(&self, name: &str) -> bool {
        self.host_names().any(|pattern| matches(pattern, name))
    }

    /// Some names of the certificate for people: host names and addresses.
    pub fn names(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.host_names().map(str::to_owned).chain(addresses).collect()
    }

    fn host_names(&self) -> impl Iterator<Item = &str> {
        let has_names = !self.dns_names.is_empty() || !self.addresses.is_empty();
        let common_name = self.common_name.as_deref().filter(|_| !has_names);
        self.dns_names.iter().map(String::as_str).chain(common_name)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some(parent) = pattern.strip_prefix("*.") else {
        return pattern.eq_ignore_ascii_case(name);
    };
    name.split_once('.').is_some_and(|(label, rest)| {
        !label.is_empty() && parent.contains('.') && rest.eq_ignore_ascii_case(parent)
    })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|v4| Ipv4Addr::from(v4).into()),
        16 => <[u8; 16]>::try_from(octets).ok().map(|v6| Ipv6Addr::from(v6).into()),
        _ => None,
    }
}

/// A day of the calendar (UTC), for messages: `2026-12-24`.
pub fn day(seconds: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(moment) => moment.date().to_string(),
        Err(_) => "a day outside the calendar".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

    use crate::certificate::*;

    fn certificate(names: &[&str], common_name: Option<&str>) -> Certificate {
        let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.not_before = rcgen::date_time_ymd(2024, 2, 1);
        params.not_after = rcgen::date_time_ymd(2034, 3, 4);
        let key = KeyPair::generate().unwrap();
        Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_matched_as_servers_are_named() {
        let several =
            certificate(&["Mail.contoso.example", "*.fabrikam.example", "192.0.2.1"], None);
        let common = certificate(&[], Some("old.contoso.example"));
        let both = certificate(&["new.contoso.example"], Some("old.contoso.example"));
        for (certificate, name, expected) in [
            (&several, "mail.contoso.example", true),
            (&several, "MAIL.contoso.example", true),
            (&several, "contoso.example", false),
            (&several, "a.fabrikam.example", true),
            (&several, "a.b.fabrikam.example", false),
            (&several, "fabrikam.example", false),
            (&several, "192.0.2.1", true),
            (&several, "192.0.2.2", false),
            (&common, "old.contoso.example", true),
            (&common, "192.0.2.1", false),
            (&both, "new.contoso.example", true),
            (&both, "old.contoso.example", false),
        ] {
            let server = ServerName::try_from(name).unwrap();
            assert_eq!(certificate.is_for(&server), expected, "{name}");
        }
        assert!(!matches("*.example", "contoso.example"), "a top level domain is no wildcard's");
        assert_eq!(several.names(), ["mail.contoso.example", "*.fabrikam.example", "192.0.2.1"]);
    }

    #[test]
    fn dates_are_warned_of_thirty_days_ahead() {
        let certificate = certificate(&["a.example"], None);
        let (begin, end) = (certificate.not_before, certificate.not_after);
        for (now, expected) in [
            (begin - 1, Some("2024-02-01")),
            (begin, None),
            (end - CERTIFICATE_WARNING, None),
            (end - CERTIFICATE_WARNING + 1, Some("in 29 days")),
            (end, Some("in 0 days")),
            (end + 1, Some("expired on 2034-03-04")),
        ] {
            let concern = certificate.validity_warning(now);
            match expected {
                None => assert_eq!(concern, None, "{now}"),
                Some(part) => assert!(concern.unwrap().contains(part), "{now}"),
            }
        }
    }

    #[test]
    fn dates_and_use() {
        let plain = certificate(&["a.example"], None);
        assert_eq!(
            (day(plain.not_before), day(plain.not_after)),
            ("2024-02-01".into(), "2034-03-04".into())
        );
        assert!(plain.is_self_issued && plain.is_for_servers);
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let client = Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap();
        assert!(!client.is_for_servers);
        assert_eq!(Certificate::parse(b"no certificate"), Err(NoCertificate));
        assert!(day(i64::MAX).contains("outside"));
    }
}
