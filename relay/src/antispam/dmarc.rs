//! Does the domain in From stand behind the message (RFC 7489, RFC 9989)?

use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{AuthenticatedMessage, DkimOutput, DmarcOutput};

use super::spf;
use crate::dns::{Answers, Dns};
use crate::policy::antispam::{DmarcFinding, DmarcPolicy, DmarcResult, SpfFinding};

/// Asks for the domain in From. `from_fields` says how many From fields there are by our own
/// reading.
pub(super) async fn ask(
    dns: &Dns,
    answers: &Answers,
    message: &AuthenticatedMessage<'_>,
    from_fields: usize,
    signatures: &[DkimOutput<'_>],
    spf: Option<&SpfFinding>,
) -> DmarcFinding {
    if let Err(why) = one_domain(message, from_fields) {
        // Readers show one of them, and which one is anybody's guess: no domain stands behind it.
        return DmarcFinding {
            result: DmarcResult::Fail,
            policy: DmarcPolicy::Reject,
            domain: String::new(),
            why: Some(why),
        };
    }
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

/// What comes of it where there is no server to ask.
fn no_server() -> DmarcOutput {
    let error = mail_auth::Error::Dns(mail_auth::DnsError::Resolver("no name server".to_owned()));
    DmarcOutput::default().with_dkim_result(mail_auth::DmarcResult::TempError(error))
}

/// Is there one From field, and one domain in it?
fn one_domain(message: &AuthenticatedMessage<'_>, from_fields: usize) -> Result<(), String> {
    if from_fields != 1 {
        return Err(format!("{from_fields} From fields"));
    }
    let mut domains: Vec<_> = message
        .froms()
        .iter()
        .map(|address| address.rsplit_once('@').map_or("", |(_, domain)| domain))
        .collect();
    domains.sort_unstable();
    domains.dedup();
    match domains.as_slice() {
        [] | [""] => Err("no domain in From".to_owned()),
        [_] => Ok(()),
        [_, ..] => Err(format!("{} domains in From", domains.len())),
    }
}
