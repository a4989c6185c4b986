//! PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).

use crate::sasl::{ClaimedIdentity, SaslStep};
use relay_users::Users;

pub(super) fn step(message: &[u8], users: &Users) -> SaslStep {
    let Ok(message) = str::from_utf8(message) else {
        return SaslStep::Malformed("the message is not UTF-8");
    };
    // Exactly three parts: a password with a NUL is invalid.
    let parts: Vec<&str> = message.split('\0').collect();
    let &[authorization, name, password] = &parts[..] else {
        return SaslStep::Malformed("the message does not consist of three parts");
    };
    if name.is_empty() {
        return SaslStep::Malformed("the name is empty");
    }
    let claim = ClaimedIdentity::new(name, users);
    // A client may not act for another user. A client that names itself means the same as an empty
    // name.
    if !authorization.is_empty() && authorization.parse().ok() != claim.name {
        return SaslStep::Unproven(claim, "it asks to act for another user");
    }
    claim.with_password(password, users)
}
