//! Does the domain in From authenticate the message (RFC 7489, RFC 9989)?
//!
//! The domain is that of [`relay_message::author`], not that of mail-auth's own parser: all checks
//! use one reading, and a From that is not a clear list of addresses fails.

use crate::limits::DMARC_DOMAIN_OCTETS;
use crate::spf;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{AuthenticatedMessage, DkimOutput, DmarcOutput};
use relay_dns::{Dns, DnsCache};
use relay_mail::path::{Domain, Mailbox};
use relay_message::author::Unclear;
use relay_message::finding::{DmarcFinding, DmarcPolicy, DmarcResult, SpfFinding};

/// Evaluates the domain in From.
pub(super) async fn ask(
    dns: &Dns,
    answers: &DnsCache,
    from: Result<Vec<Mailbox>, Unclear>,
    signatures: &[DkimOutput<'_>],
    spf: Option<&SpfFinding>,
) -> DmarcFinding {
    let domain = match one_domain(from) {
        Ok(domain) => domain,
        // No domain is responsible for the message, and no domain has a policy for it.
        Err(error) => {
            return DmarcFinding {
                result: DmarcResult::NoAuthorDomain,
                policy: DmarcPolicy::None,
                domain: String::new(),
                why: Some(error.to_string()),
            };
        }
    };
    // mail-auth gets the domain from a message. It reads nothing else of this one.
    let message =
        &AuthenticatedMessage { from: vec![format!("author@{domain}")], ..Default::default() };
    let spf_output = &spf::output(spf);
    let domain = spf.map_or("", |spf| &spf.domain);
    let evaluated = dns.evaluate(answers, |server, answers| {
        let evaluation = server.verify_dmarc(answers.parameters(DmarcParameters {
            message,
            dkim_output: signatures,
            dkim2_output: None,
            rfc5321_mail_from_domain: domain,
            spf_output,
        }));
        async move {
            let output = evaluation.await;
            match output.result() {
                mail_auth::DmarcResult::TempError(_) => Err(output),
                _ => Ok(output),
            }
        }
    });
    let output = evaluated.await.unwrap_or_else(|mut all| all.pop().unwrap_or_else(no_server));
    let (result, why) = match output.result() {
        mail_auth::DmarcResult::Pass => (DmarcResult::Pass, None),
        mail_auth::DmarcResult::None => (DmarcResult::None, None),
        mail_auth::DmarcResult::Fail(_) => {
            (DmarcResult::Fail, Some("neither SPF nor DKIM is aligned".to_owned()))
        }
        mail_auth::DmarcResult::TempError(error) => {
            (DmarcResult::TempError, Some(error.to_string()))
        }
        mail_auth::DmarcResult::PermError(error) => {
            (DmarcResult::PermError, Some(error.to_string()))
        }
    };
    let policy = match output.policy() {
        Policy::Reject => DmarcPolicy::Reject,
        Policy::Quarantine => DmarcPolicy::Quarantine,
        Policy::None | Policy::Unspecified => DmarcPolicy::None,
    };
    DmarcFinding { result, policy, domain: output.domain().to_owned(), why }
}

/// The result without a name server.
fn no_server() -> DmarcOutput {
    let error = mail_auth::Error::Dns(mail_auth::DnsError::Resolver("no name server".to_owned()));
    DmarcOutput::default().with_dkim_result(mail_auth::DmarcResult::TempError(error))
}

/// Why From does not have one domain that DMARC can evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum FromError {
    #[error(transparent)]
    Unclear(#[from] Unclear),
    #[error("no From field")]
    Missing,
    #[error("an address in From has no domain")]
    NoDomain,
    #[error("the domain in From is longer than {DMARC_DOMAIN_OCTETS} octets")]
    TooLong,
    #[error("{0} domains in From")]
    Several(usize),
}

/// The domain of all addresses in From, if there is only one, in A-labels.
fn one_domain(from: Result<Vec<Mailbox>, Unclear>) -> Result<String, FromError> {
    let from = from?;
    let domains = from.iter().map(|author| author.domain().map(Domain::ascii));
    let mut domains: Vec<&str> = domains.collect::<Option<_>>().ok_or(FromError::NoDomain)?;
    domains.sort_unstable();
    domains.dedup();
    match domains.as_slice() {
        [] => Err(FromError::Missing),
        // A longer name could not be queried, and the policy of its parent would not be found.
        [domain] if domain.len() > DMARC_DOMAIN_OCTETS => Err(FromError::TooLong),
        [domain] => Ok((*domain).to_owned()),
        [_, ..] => Err(FromError::Several(domains.len())),
    }
}

#[cfg(test)]
mod tests {
    use crate::dmarc::*;
    use relay_message::author;

    fn domain(from: &str) -> Result<String, FromError> {
        one_domain(author::addresses(from.as_bytes()))
    }

    #[test]
    fn one_domain_authenticates_a_message() {
        assert_eq!(domain("a@B.example").as_deref(), Ok("b.example"));
        assert_eq!(domain("a@b.example, c@b.example").as_deref(), Ok("b.example"));
        assert_eq!(domain("a@b\u{fc}cher.example").as_deref(), Ok("xn--bcher-kva.example"));
        for from in ["", "a@b.example, c@d.example", "a@[192.0.2.1]", "a @ b.example"] {
            assert!(domain(from).is_err(), "{from}");
        }
        assert!(one_domain(Ok(Vec::new())).is_err());
    }

    #[test]
    fn a_name_too_long_for_the_prefix_is_not_queried() {
        let domain_of = |octets: usize| {
            let label = "a".repeat(49);
            let name =
                format!("{label}.{label}.{label}.{label}.{}.example", "b".repeat(octets - 208));
            assert_eq!(name.len(), octets);
            domain(&format!("x@{name}"))
        };
        assert!(domain_of(DMARC_DOMAIN_OCTETS).is_ok());
        assert!(domain_of(DMARC_DOMAIN_OCTETS + 1).is_err());
    }
}
