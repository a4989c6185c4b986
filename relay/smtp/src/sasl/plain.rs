//! PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).

use crate::sasl::{Claim, Step};
use relay_users::Users;

pub(super) fn step(message: &[u8], users: &Users) -> Step {
    let Ok(message) = str::from_utf8(message) else {
        return Step::Malformed("the message is not UTF-8");
    };
    // Three parts and no fourth: a password with a NUL in it is none.
    let parts: Vec<&str> = message.split('\0').collect();
    let &[authorization, name, password] = &parts[..] else {
        return Step::Malformed("the message does not consist of three parts");
    };
    if name.is_empty() {
        return Step::Malformed("the name is empty");
    }
    let claim = Claim::new(name, users);
    // Nobody acts for somebody else here. To act for oneself is what an empty one says as well.
    if !authorization.is_empty() && authorization.parse().ok() != claim.name {
        return Step::Unproven(claim, "it asks to act for somebody else");
    }
    claim.with_password(password, users)
}
