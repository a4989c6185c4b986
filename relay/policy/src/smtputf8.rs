//! MAIL and RCPT: an address that is not ASCII needs SMTPUTF8 (RFC 6531 section 3.4).

use crate::{Consequence, Decision, Reasons, Rule};
use relay_mail::reply::NEEDS_SMTPUTF8;

/// The refusal of an address that is not allowed in a transaction; `None` if it is allowed.
pub fn needs_smtputf8(is_ascii: bool, requested: bool) -> Option<Decision> {
    if is_ascii || requested {
        return None;
    }
    let mut reasons = Reasons::default();
    reasons.note(Rule::SmtpUtf8, "the address is not ASCII and SMTPUTF8 was not asked for");
    Some(reasons.conclude(NEEDS_SMTPUTF8, Consequence::ProtocolError))
}
