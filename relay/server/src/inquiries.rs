//! Performs what decisions need to know: see [`relay_policy::Inquiry`].

use std::time::Instant;

use crate::Shared;
use crate::limits::PASSWORD_CHECKS;
use crate::rates::RateSubject;
use relay_common::address::Address;
use relay_connector::{ClientAddress, ConnectorId};
use relay_message::finding::{MessageFinding, SenderFinding};
use relay_policy::{
    Inquiry, InquiryAnswer, MessageRateFinding, MessageRatePayers, PasswordFinding,
};
use relay_queue::Incoming;
use relay_users::password::PasswordCheck;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Passwords under comparison, all sessions together.
static PASSWORDS: Semaphore = Semaphore::const_new(PASSWORD_CHECKS);

/// On whose behalf something is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) connector: ConnectorId,
    pub(super) client: ClientAddress,
}

/// The answer, as soon as there is one. The caller bounds the time. `message` is the one that the
/// session has begun.
pub(super) async fn perform(
    inquiry: Inquiry,
    asker: Asker,
    shared: &Shared,
    message: Option<&Incoming>,
) -> InquiryAnswer {
    match inquiry {
        Inquiry::Message(question) => {
            let found = match message {
                Some(message) => shared.checks.load_full().message(&question, message).await,
                None => question.unavailable("the message is gone"),
            };
            InquiryAnswer::Message(MessageFinding::Found(found))
        }
        Inquiry::Password(check) => InquiryAnswer::Password(compare(check).await),
        Inquiry::MessageRate { limit, payers } => {
            InquiryAnswer::MessageRate(message_rate(limit, payers, asker, shared))
        }
        Inquiry::Recipient { mailbox, lookup } => {
            InquiryAnswer::Recipient(shared.recipients.find(lookup, mailbox).await)
        }
        Inquiry::Sender(question) => {
            let found = shared.checks.load_full().sender(&question).await;
            InquiryAnswer::Sender(SenderFinding::Found(found))
        }
    }
}

fn message_rate(
    limit: u32,
    payers: MessageRatePayers,
    asker: Asker,
    shared: &Shared,
) -> MessageRateFinding {
    let counted = counted(payers, asker);
    rate_finding(shared.rates.take(Instant::now(), asker.connector, &counted, limit))
}

/// The same, where no message is counted.
pub(super) fn peek_rate(
    limit: u32,
    payers: MessageRatePayers,
    asker: Asker,
    shared: &Shared,
) -> MessageRateFinding {
    let counted = counted(payers, asker);
    rate_finding(shared.rates.allows(Instant::now(), asker.connector, &counted, limit))
}

const fn rate_finding(passes: bool) -> MessageRateFinding {
    match passes {
        true => MessageRateFinding::Within,
        false => MessageRateFinding::Exceeded,
    }
}

fn counted(payers: MessageRatePayers, asker: Asker) -> Vec<RateSubject> {
    let MessageRatePayers { source, user } = payers;
    let source = source.then(|| RateSubject::Source(Address::from(asker.client.ip()).source()));
    source.into_iter().chain(user.map(RateSubject::User)).collect()
}

/// On a thread of its own. The permit goes with it: a comparison that nobody waits for any more
/// still takes its memory.
async fn compare(check: PasswordCheck) -> PasswordFinding {
    let unavailable = |why: &dyn std::fmt::Display| PasswordFinding::Unavailable(why.to_string());
    let permit = match PASSWORDS.acquire().await {
        Ok(permit) => permit,
        Err(error) => return unavailable(&error),
    };
    let compared = spawn_blocking(move || {
        let compared = check.perform();
        drop(permit);
        compared
    });
    match compared.await {
        Ok(Ok(true)) => PasswordFinding::Right,
        Ok(Ok(false)) => PasswordFinding::Wrong("the password is wrong".to_owned()),
        Ok(Err(error)) => unavailable(&error),
        Err(error) => unavailable(&error),
    }
}
