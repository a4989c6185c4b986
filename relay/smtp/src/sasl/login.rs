//! LOGIN: two prompts, name and password. There is no RFC; clients ignore the prompts, or compare
//! them with exactly these texts.

use crate::sasl::{ClaimedIdentity, SaslExchange, SaslStep};
use relay_users::Users;

pub(super) const NAME_PROMPT: &[u8] = b"Username:";
const PASSWORD_PROMPT: &[u8] = b"Password:";

pub(super) fn name(response: &[u8]) -> SaslStep {
    match text(response) {
        Some("") => SaslStep::Malformed("the name is empty"),
        Some(name) => {
            let exchange = SaslExchange::LoginPassword { name: name.to_owned() };
            SaslStep::Challenge(exchange, PASSWORD_PROMPT.to_vec())
        }
        None => SaslStep::Malformed("the name is not UTF-8, or has a NUL"),
    }
}

pub(super) fn password(name: &str, response: &[u8], users: &Users) -> SaslStep {
    match text(response) {
        Some(password) => ClaimedIdentity::new(name, users).with_password(password, users),
        None => SaslStep::Malformed("the password is not UTF-8, or has a NUL"),
    }
}

fn text(response: &[u8]) -> Option<&str> {
    str::from_utf8(response).ok().filter(|text| !text.contains('\0'))
}
