//! May the client send for the sender's domain (RFC 7208)?

use mail_auth::MessageAuthenticator;
use mail_auth::spf::verify::SpfParameters;
use tokio::time::timeout;

use crate::limits::SPF_WAIT;
use crate::policy::antispam::{SenderQuestion, SpfFinding, SpfIdentity, SpfResult};
use crate::smtp::path::ReversePath;

/// Asks for the domain of MAIL, or for the client's name where the sender is null. `host` is this
/// host's name, which explanations of the domain may quote.
pub(super) async fn ask(
    dns: &MessageAuthenticator,
    host: &str,
    question: &SenderQuestion,
) -> SpfFinding {
    let (identity, domain) = question.identity();
    let address = question.client.address.to_canonical();
    let hello = &question.client.hello;
    let sender = match &question.sender {
        ReversePath::Mailbox(mailbox) => format!("{}@{domain}", mailbox.local_part()),
        ReversePath::Null => String::new(),
    };
    let parameters = match identity {
        SpfIdentity::Helo => SpfParameters::verify_ehlo(address, hello, host),
        SpfIdentity::MailFrom => SpfParameters::verify_mail_from(address, hello, host, &sender),
    };
    let result = match timeout(SPF_WAIT, dns.verify_spf(parameters)).await {
        Ok(output) => result(output.result()),
        Err(_) => SpfResult::TempError,
    };
    SpfFinding { result, identity, domain }
}

const fn result(result: mail_auth::SpfResult) -> SpfResult {
    match result {
        mail_auth::SpfResult::Fail => SpfResult::Fail,
        mail_auth::SpfResult::Neutral => SpfResult::Neutral,
        mail_auth::SpfResult::None => SpfResult::None,
        mail_auth::SpfResult::Pass => SpfResult::Pass,
        mail_auth::SpfResult::PermError => SpfResult::PermError,
        mail_auth::SpfResult::SoftFail => SpfResult::SoftFail,
        mail_auth::SpfResult::TempError => SpfResult::TempError,
    }
}

/// The other way, for DMARC.
pub(super) fn output(finding: Option<&SpfFinding>) -> mail_auth::SpfOutput {
    let Some(SpfFinding { result, domain, .. }) = finding else {
        return mail_auth::SpfOutput::new(String::new()).with_result(mail_auth::SpfResult::None);
    };
    mail_auth::SpfOutput::new(domain.clone()).with_result(match result {
        SpfResult::Fail => mail_auth::SpfResult::Fail,
        SpfResult::Neutral => mail_auth::SpfResult::Neutral,
        SpfResult::None => mail_auth::SpfResult::None,
        SpfResult::Pass => mail_auth::SpfResult::Pass,
        SpfResult::PermError => mail_auth::SpfResult::PermError,
        SpfResult::SoftFail => mail_auth::SpfResult::SoftFail,
        SpfResult::TempError => mail_auth::SpfResult::TempError,
    })
}
