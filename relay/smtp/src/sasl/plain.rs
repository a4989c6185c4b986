//! PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).

use crate::sasl::{ClaimedIdentity, SaslStep};
use relay_users::Users;

pub(super) fn step(message: &[u8], users: &Users) -> SaslStep {
    let Ok(message) = str::from_utf8(message) else {
        return SaslStep::Malformed("the message is not UTF-8");
    };
    // Three parts and no fourth: a password with a NUL in it is none.
    let parts: Vec<&str> = message.split('\0').collect();
    let &[authorization, name, password] = &parts[..] else {
        return SaslStep::Malformed("the message does not consist of three parts");
    };
    if name.is_empty() {
        return SaslStep::Malformed("the name is empty");
    }
    let claim = ClaimedIdentity::new(name, users);
    // Nobody acts for somebody else here. To act for oneself is what an empty one says as well.
    if !authorization.is_empty() && authorization.parse().ok() != claim.name {
        return SaslStep::Unproven(claim, "it asks to act for somebody else");
    }
    claim.with_password(password, users)
}
