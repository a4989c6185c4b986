//! Performs the inquiries of decisions: see [`relay_policy::Inquiry`].

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

/// Limits the passwords that are compared at one time, over all sessions.
static PASSWORDS: Semaphore = Semaphore::const_new(PASSWORD_CHECKS);

/// The client of an inquiry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) connector: ConnectorId,
    pub(super) client: ClientAddress,
}

/// Returns the answer as soon as it exists. The caller limits the time. `message` is the message
/// that the session is receiving.
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
                None => question.unavailable("the message is no longer there"),
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

/// The same, but counts no message.
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

/// Compares on a thread of its own. The thread keeps the permit: a comparison whose session has
/// ended still uses its memory.
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
