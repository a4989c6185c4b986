//! Performs what decisions need to know: see [`crate::policy::Inquiry`].

use crate::policy::{Finding, Inquiry, RecipientFinding};

/// The answer, as soon as there is one. The caller bounds the time.
pub(super) async fn perform(inquiry: Inquiry) -> Finding {
    match inquiry {
        Inquiry::Recipient { .. } => {
            let why = "this host cannot ask yet".to_owned();
            Finding::Recipient(RecipientFinding::Unavailable(why))
        }
    }
}
