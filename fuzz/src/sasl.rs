//! Authentication. An input is a mechanism and the lines of a client, each ended by 0xFF.

use std::sync::LazyLock;

use relay_mail::limits::REPLY_LINE_OCTETS;
use relay_smtp::command::{Response, SaslMessage};
use relay_smtp::sasl::{Claim, Exchange, Mechanism, Step};
use relay_users::Users;

use relay::config::users;

static USERS: LazyLock<Users> = LazyLock::new(|| {
    let text = include_str!("../../tests/dialogues/users.toml");
    users::parse(text, "users.toml").unwrap_or_else(|refusals| panic!("{refusals}"))
});

/// See the module.
pub fn check(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else { return };
    let mechanism = Mechanism::ALL[usize::from(*first) % Mechanism::ALL.len()];
    let (mut exchange, challenge) = Exchange::begin(mechanism);
    check_challenge(challenge);
    for line in lines.split(|octet| *octet == 0xff) {
        // As octets, and as the base64 that it may be.
        let Ok(Response::Message(SaslMessage(decoded))) = Response::parse(line) else {
            check_step(&exchange, line);
            continue;
        };
        check_step(&exchange, line);
        match check_step(&exchange, &decoded) {
            Some(next) => exchange = next,
            None => return,
        }
    }
}

/// The exchange that follows, if one does.
fn check_step(exchange: &Exchange, message: &[u8]) -> Option<Exchange> {
    let step = || exchange.step(message, &USERS, Some(&[0; 32]));
    assert_eq!(format!("{:?}", step()), format!("{:?}", step()), "the same comes of the same");
    match step() {
        Step::Challenge(next, challenge) => {
            check_challenge(challenge);
            Some(next)
        }
        Step::Compare(claim, check) => {
            check_claim(&claim);
            let is_right = check.perform().expect("the hash is sound");
            // Who has the password has said it.
            let says = |password: &[u8]| message.windows(password.len()).any(|at| at == password);
            assert!(!is_right || says(b"wonderland") || says(b"builder"));
            assert!(!is_right || claim.user.is_some(), "nobody has no password");
            None
        }
        Step::Proven(user) => {
            assert!(USERS.get(&user.name).is_some());
            None
        }
        Step::Unproven(claim, _) => {
            check_claim(&claim);
            None
        }
        Step::Unavailable(why) => panic!("{why}"),
        Step::Malformed(why) => {
            assert!(!why.is_empty());
            None
        }
    }
}

/// Nothing of it is cut off on the wire.
fn check_challenge(challenge: Vec<u8>) {
    assert!("334 \r\n".len() + SaslMessage(challenge).encoded().len() <= REPLY_LINE_OCTETS);
}

fn check_claim(claim: &Claim) {
    if let Some(user) = &claim.user {
        assert_eq!(Some(&user.name), claim.name.as_ref());
    }
}
