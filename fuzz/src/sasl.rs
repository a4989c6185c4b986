//! Authentication. An input is a mechanism and the lines of a client, each ended by 0xFF.

use std::sync::LazyLock;

use relay_config::users;
use relay_mail::limits::REPLY_LINE_OCTETS;
use relay_smtp::command::{Response, SaslMessage};
use relay_smtp::sasl::{ClaimedIdentity, Mechanism, SaslExchange, SaslStep};
use relay_users::Users;

static USERS: LazyLock<Users> = LazyLock::new(|| {
    let text = include_str!("../../tests/dialogues/users.toml");
    users::parse(text, "users.toml").unwrap_or_else(|refusals| panic!("{refusals}"))
});

/// See the module.
pub fn check(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else { return };
    let mechanism = Mechanism::ALL[usize::from(*first) % Mechanism::ALL.len()];
    let (mut exchange, challenge) = SaslExchange::begin(mechanism);
    check_challenge(challenge);
    for line in lines.split(|octet| *octet == 0xff) {
        // As octets, and decoded if it is base64.
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
fn check_step(exchange: &SaslExchange, message: &[u8]) -> Option<SaslExchange> {
    let step = || exchange.step(message, &USERS, Some(&[0; 32]));
    assert_eq!(
        format!("{:?}", step()),
        format!("{:?}", step()),
        "the same input gives the same result"
    );
    match step() {
        SaslStep::Challenge(next, challenge) => {
            check_challenge(challenge);
            Some(next)
        }
        SaslStep::Compare(claim, check) => {
            check_claim(&claim);
            let is_right = check.perform().expect("the hash is valid");
            // A right password must be in the client's message.
            let says = |password: &[u8]| message.windows(password.len()).any(|at| at == password);
            assert!(!is_right || says(b"wonderland") || says(b"builder"));
            assert!(!is_right || claim.user.is_some(), "an unknown user has no right password");
            None
        }
        SaslStep::Proven(user) => {
            assert!(USERS.get(&user.name).is_some());
            None
        }
        SaslStep::Unproven(claim, _) => {
            check_claim(&claim);
            None
        }
        SaslStep::Unavailable(why) => panic!("{why}"),
        SaslStep::Malformed(why) => {
            assert!(!why.is_empty());
            None
        }
    }
}

/// No part of it is cut off on the wire.
fn check_challenge(challenge: Vec<u8>) {
    assert!("334 \r\n".len() + SaslMessage(challenge).encoded().len() <= REPLY_LINE_OCTETS);
}

fn check_claim(claim: &ClaimedIdentity) {
    if let Some(user) = &claim.user {
        assert_eq!(Some(&user.name), claim.name.as_ref());
    }
}
