//! LOGIN: two prompts, name and password. There is no RFC; clients do not read the prompts, or
//! compare them with exactly these.

use crate::sasl::{Claim, Exchange, Step};
use relay_users::Users;

pub(super) const NAME_PROMPT: &[u8] = b"Username:";
const PASSWORD_PROMPT: &[u8] = b"Password:";

pub(super) fn name(response: &[u8]) -> Step {
    match text(response) {
        Some("") => Step::Malformed("the name is empty"),
        Some(name) => {
            let exchange = Exchange::LoginPassword { name: name.to_owned() };
            Step::Challenge(exchange, PASSWORD_PROMPT.to_vec())
        }
        None => Step::Malformed("the name is not UTF-8, or holds a NUL"),
    }
}

pub(super) fn password(name: &str, response: &[u8], users: &Users) -> Step {
    match text(response) {
        Some(password) => Claim::new(name, users).with_password(password, users),
        None => Step::Malformed("the password is not UTF-8, or holds a NUL"),
    }
}

fn text(response: &[u8]) -> Option<&str> {
    str::from_utf8(response).ok().filter(|text| !text.contains('\0'))
}
