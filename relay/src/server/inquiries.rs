//! Performs what decisions need to know: see [`crate::policy::Inquiry`].

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::limits::PASSWORD_CHECKS;
use crate::policy::antispam::{MessageFinding, SenderFinding};
use crate::policy::{Finding, Inquiry, PasswordFinding, RecipientFinding};
use crate::queue::Incoming;
use crate::server::Shared;
use crate::users::password::PasswordCheck;

/// Passwords under comparison, all sessions together.
static PASSWORDS: Semaphore = Semaphore::const_new(PASSWORD_CHECKS);

/// The answer, as soon as there is one. The caller bounds the time. `message` is the one that the
/// session has begun.
pub(super) async fn perform(
    inquiry: Inquiry,
    shared: &Shared,
    message: Option<&Incoming>,
) -> Finding {
    match inquiry {
        Inquiry::Message(question) => {
            let found = match message {
                Some(message) => shared.checks.load_full().message(&question, message).await,
                None => question.unavailable("the message is gone"),
            };
            Finding::Message(MessageFinding::Found(found))
        }
        Inquiry::Password(check) => Finding::Password(compare(check).await),
        Inquiry::Recipient { .. } => {
            let why = "this host cannot ask yet".to_owned();
            Finding::Recipient(RecipientFinding::Unavailable(why))
        }
        Inquiry::Sender(question) => {
            let found = shared.checks.load_full().sender(&question).await;
            Finding::Sender(SenderFinding::Found(found))
        }
    }
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
