//! The principal of the peer after the TLS handshake: a certificate of our own servers makes a
//! server, one of a partner makes a partner, and other certificates change nothing.
//!
//! Exchange identifies its servers by Kerberos (`X-EXPS GSSAPI`); a relay without a domain
//! controller identifies them by certificate. A certificate counts if its authority is the
//! configured one *and* if it has a name that the configuration lists: an authority also signs for
//! other hosts.

use crate::{Because, Peer, Rule, Rules};
use relay_connector::Principal;
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::tls::{CertificateRefusal, ClientCertificate};

impl Peer {
    /// The peer after the handshake. Its principal and rights from before are dropped. Also returns
    /// the reasons, if the connector asks for a certificate.
    pub fn secure(
        &mut self,
        rules: &Rules,
        certificate: Option<&ClientCertificate>,
    ) -> Vec<Because> {
        let mut because = Vec::new();
        let mut note = |rule, found: String| because.push(Because { rule, found: found.into() });
        let mut principal = self.connector.principal();
        self.partner_domains.clear();
        self.user = None;
        if self.connector.can_be(Principal::Partner) {
            let (domains, found) = match certificate {
                Some(certificate) => {
                    covered(certificate, &certificate.by_partners_ca, &rules.partner_domains)
                }
                None => (Vec::new(), NO_CERTIFICATE.to_owned()),
            };
            if !domains.is_empty() {
                principal = Principal::Partner;
            }
            self.partner_domains = domains;
            note(Rule::DomainSecureEnabled, found);
        }
        // A server of ours that is also a partner counts as a server, which has more rights.
        if self.connector.can_be(Principal::Server) {
            let (names, found) = match certificate {
                Some(certificate) => {
                    covered(certificate, &certificate.by_fleet_ca, &rules.fleet_names)
                }
                None => (Vec::new(), NO_CERTIFICATE.to_owned()),
            };
            if !names.is_empty() {
                principal = Principal::Server;
            }
            note(Rule::ExchangeServer, found);
        }
        self.tls = true;
        self.principal = principal;
        self.permissions = self.connector.permissions(principal);
        because
    }
}

const NO_CERTIFICATE: &str = "the client showed no certificate";

/// Which of the listed names does the certificate have? With the text for the reason.
fn covered(
    certificate: &ClientCertificate,
    verified: &Result<(), CertificateRefusal>,
    list: &[DomainPattern],
) -> (Vec<DomainPattern>, String) {
    if let Err(error) = verified {
        return (Vec::new(), format!("the client's certificate does not verify: {error}"));
    }
    let is_covered =
        |pattern: &&DomainPattern| certificate.names.iter().any(|name| is_for(name, pattern));
    let found: Vec<_> = list.iter().filter(is_covered).cloned().collect();
    let names = match certificate.names.is_empty() {
        true => "no host name".to_owned(),
        false => certificate.names.join(", "),
    };
    let text = match found.first() {
        Some(pattern) => {
            format!("the client's certificate is for {names}, and {pattern} is listed")
        }
        None => format!("the client's certificate is for {names}; none of them is listed"),
    };
    (found, text)
}

/// Does a certificate for this name match this entry? A name may have a star as its first label
/// (RFC 6125 section 6.4.3); an entry may include its subdomains.
fn is_for(name: &str, pattern: &DomainPattern) -> bool {
    match name.strip_prefix("*.") {
        None => pattern.covers(name),
        Some(parent) => match pattern.exact() {
            Some(host) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => pattern.covers(parent),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::identity::*;

    #[test]
    fn names_and_entries() {
        let pattern = |text: &str| text.parse::<DomainPattern>().unwrap();
        for (name, entry, is_one) in [
            ("partner.example", "partner.example", true),
            ("mail.partner.example", "partner.example", false),
            ("mail.partner.example", "*.partner.example", true),
            ("a.mail.partner.example", "*.partner.example", true),
            ("partner.example", "*.partner.example", true),
            ("notpartner.example", "*.partner.example", false),
            ("*.partner.example", "mail.partner.example", true),
            ("*.partner.example", "a.mail.partner.example", false),
            ("*.partner.example", "partner.example", false),
            ("*.partner.example", "*.partner.example", true),
            ("*.example", "*.partner.example", false),
            ("*.example", "partner.example", true),
            ("*", "partner.example", false),
            ("", "partner.example", false),
        ] {
            assert_eq!(is_for(name, &pattern(entry)), is_one, "{name} for {entry}");
        }
    }
}
