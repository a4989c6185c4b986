//! May the client send for the sender's domain (RFC 7208)?

use crate::limits::SPF_WAIT;
use mail_auth::spf::verify::SpfParameters;
use relay_dns::{Dns, DnsCache};
use relay_mail::path::ReversePath;
use relay_message::finding::{SpfFinding, SpfIdentity, SpfResult};
use relay_message::question::SenderQuestion;
use tokio::time::timeout;

/// Evaluates the domain of MAIL, or the client's name if the sender is null. `host` is this host's
/// name, which explanations of the domain may quote.
pub(super) async fn ask(dns: &Dns, host: &str, question: &SenderQuestion) -> SpfFinding {
    let (identity, domain) = question.identity();
    let address = question.client.address.ip();
    let hello = &question.client.hello;
    let sender = match &question.sender {
        ReversePath::Mailbox(mailbox) => format!("{}@{domain}", mailbox.local_part()),
        ReversePath::Null => String::new(),
    };
    let parameters = || match identity {
        SpfIdentity::Helo => SpfParameters::verify_ehlo(address, hello, host),
        SpfIdentity::MailFrom => SpfParameters::verify_mail_from(address, hello, host, &sender),
    };
    let answers = DnsCache::default();
    let evaluated = dns.evaluate(&answers, |server, answers| {
        let evaluation = server.verify_spf(answers.parameters(parameters()));
        async move {
            match result(evaluation.await.result()) {
                SpfResult::TempError => Err(()),
                result => Ok(result),
            }
        }
    });
    let result = match timeout(SPF_WAIT, evaluated).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => SpfResult::TempError,
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

/// The same result in the form for DMARC.
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

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::ResponseCode;
    use hickory_resolver::proto::rr::RecordType;

    use crate::block_list;
    use crate::spf::*;
    use relay_dns::testing::{Says, Scripted, failures, servers, zone};
    use relay_mail::path::Domain;
    use relay_message::finding::ListVerdict;
    use relay_message::question::Client;

    fn question() -> SenderQuestion {
        let address = "192.0.2.1".parse().unwrap();
        let client = Client { address, hello: "good.example".to_owned(), user: None };
        let sender = ReversePath::parse("<a@good.example>").unwrap();
        SenderQuestion { client, sender, block_lists: Vec::new(), spf: true }
    }

    #[tokio::test]
    async fn an_error_of_one_server_is_not_the_answer_of_all() {
        for failure in failures() {
            // mail-auth treats a referral as an answer without records.
            if matches!(failure, Says::Referral) {
                continue;
            }
            let said = failure.clone();
            let bad = Scripted::start(move |_, _| said.clone()).await;
            let good = Scripted::start(zone).await;
            let dns = servers(&[bad.address, good.address]);
            let found = ask(&dns, "edge.example", &question()).await;
            assert_eq!(found.result, SpfResult::Pass, "{failure:?}");
            let zone = Domain::parse("list.example").unwrap();
            let listed = block_list::ask(&dns, &zone, question().client.address.ip()).await;
            assert!(matches!(listed.verdict, ListVerdict::Listed(_)), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn servers_that_each_lack_some_answers_complement_each_other() {
        let lacking = |lacks: RecordType| {
            Scripted::start(move |name, records| match records == lacks {
                true => Says::Code(ResponseCode::ServFail),
                false => zone(name, records),
            })
        };
        let (one, other) = (lacking(RecordType::TXT).await, lacking(RecordType::A).await);
        for order in [[one.address, other.address], [other.address, one.address]] {
            let found = ask(&servers(&order), "edge.example", &question()).await;
            assert_eq!(found.result, SpfResult::Pass);
        }
    }
}
