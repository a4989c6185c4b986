use crate::sasl::*;
use relay_users::password::PasswordHash;
use relay_users::scram::ScramCredentials;
use relay_users::{StoredSecret, User};

const SEED: [u8; 32] = [5; 32];

/// The user of RFC 7677 section 3, with its password `pencil`, and one without SCRAM.
fn users() -> Users {
    let scram: ScramCredentials = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
         wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        .parse()
        .unwrap();
    let user = |name: &str, scram| User {
        name: name.parse().unwrap(),
        password: PasswordHash::make_with("pencil", 8, 1).unwrap(),
        scram,
        send_as: Vec::new(),
    };
    let secret = StoredSecret::new(vec![1; 32]).unwrap();
    Users::new(secret, [user("user", Some(scram)), user("plain", None)])
}

/// The result, in a word or two.
fn outcome(step: SaslStep) -> String {
    let name = |claim: &ClaimedIdentity| match &claim.user {
        Some(user) => user.name.to_string(),
        None => "unknown".to_owned(),
    };
    match step {
        SaslStep::Challenge(_, challenge) => format!("? {}", String::from_utf8(challenge).unwrap()),
        SaslStep::Compare(claim, check) => {
            format!("{} {:?}", name(&claim), check.perform().unwrap())
        }
        SaslStep::Proven(user) => format!("proven {}", user.name),
        SaslStep::Unproven(claim, why) => format!("unproven {}: {why}", name(&claim)),
        SaslStep::Unavailable(why) => format!("unavailable: {why}"),
        SaslStep::Malformed(why) => format!("malformed: {why}"),
    }
}

fn plain(message: &str) -> String {
    outcome(SaslExchange::Plain.step(message.as_bytes(), &users(), Some(&SEED)))
}

#[test]
fn plain_messages() {
    for (message, expected) in [
        ("\0user\0pencil", "user true"),
        ("\0USER\0pencil", "user true"),
        ("user\0user\0pencil", "user true"),
        ("\0user\0Pencil", "user false"),
        ("\0user\0", "unknown false"),
        ("\0unknown\0pencil", "unknown false"),
        ("\0us\ner\0pencil", "unknown false"),
        ("plain\0user\0pencil", "unproven user: it asks to act for another user"),
        ("unknown\0user\0pencil", "unproven user: it asks to act for another user"),
        ("\n\0unknown\0pencil", "unproven unknown: it asks to act for another user"),
        ("", "malformed: the message does not consist of three parts"),
        ("\0user", "malformed: the message does not consist of three parts"),
        ("\0user\0pencil\0", "malformed: the message does not consist of three parts"),
        ("\0user\0pencil\0x", "malformed: the message does not consist of three parts"),
        ("\0\0pencil", "malformed: the name is empty"),
    ] {
        assert_eq!(plain(message), expected, "{message:?}");
    }
    let not_utf8 = SaslExchange::Plain.step(b"\0user\0\xff", &users(), Some(&SEED));
    assert_eq!(outcome(not_utf8), "malformed: the message is not UTF-8");
}

#[test]
fn login_messages() {
    let (exchange, prompt) = SaslExchange::begin(Mechanism::Login);
    assert_eq!(prompt, b"Username:");
    let users = users();
    let SaslStep::Challenge(exchange, prompt) = exchange.step(b"user", &users, Some(&SEED)) else {
        panic!("a name was given");
    };
    assert_eq!(prompt, b"Password:");
    for (password, expected) in [
        ("pencil", "user true"),
        ("pencil ", "user false"),
        ("", "unknown false"),
        ("pencil\0", "malformed: the password is not UTF-8, or has a NUL"),
    ] {
        assert_eq!(outcome(exchange.step(password.as_bytes(), &users, Some(&SEED))), expected);
    }
    for (name, expected) in [
        (&b""[..], "malformed: the name is empty"),
        (b"user\0", "malformed: the name is not UTF-8, or has a NUL"),
        (b"\xff", "malformed: the name is not UTF-8, or has a NUL"),
    ] {
        assert_eq!(outcome(SaslExchange::LoginName.step(name, &users, Some(&SEED))), expected);
    }
}

/// RFC 7677 section 3, to the octet.
#[test]
fn the_example_of_the_rfc() {
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let users = users();
    let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let SaslStep::Challenge(exchange, challenge) =
        scram::first_with_nonce(first, &users, SERVER_NONCE)
    else {
        panic!("a first message was given");
    };
    assert_eq!(
        String::from_utf8(challenge).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    for (message, expected) in [
        (last.replace("r=r", "r=s"), "unproven user: the nonce is not the one of this exchange"),
        (last.replace("%hvY", ""), "unproven user: the nonce is not the one of this exchange"),
        (
            last.replace("biws", "eSws"),
            "unproven user: the channel binding is not the one of the first message",
        ),
        (last.replace("p=d", "p=e"), "unproven user: the proof is wrong"),
        (last.replace(",p=", ",x=y,p="), "unproven user: the proof is wrong"),
        (last.replace("p=d", "p="), "malformed: it is not a client-final-message"),
        (last.replace(",p=", ",p"), "malformed: it is not a client-final-message"),
        (last.replace(",p=", ",,p="), "malformed: it is not a client-final-message"),
        (String::new(), "malformed: it is not a client-final-message"),
    ] {
        assert_eq!(
            outcome(exchange.step(message.as_bytes(), &users, Some(&SEED))),
            expected,
            "{message}"
        );
    }
    let SaslStep::Challenge(exchange, message) =
        exchange.step(last.as_bytes(), &users, Some(&SEED))
    else {
        panic!("the proof is right");
    };
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
    let malformed = "malformed: something follows the last message of SCRAM";
    assert_eq!(outcome(exchange.step(b"x", &users, Some(&SEED))), malformed);
    assert_eq!(outcome(exchange.step(b"", &users, Some(&SEED))), "proven user");
}

#[test]
fn first_messages_of_scram() {
    let users = users();
    let first = |message: &str| {
        outcome(SaslExchange::ScramFirst.step(message.as_bytes(), &users, Some(&SEED)))
    };
    for message in ["n,,n=user,r=abc", "y,,n=user,r=abc", "n,a=user,n=USER,r=abc,x=y"] {
        let challenge = first(message);
        assert!(challenge.starts_with("? r=abc"), "{message}: {challenge}");
        assert!(challenge.ends_with(",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), "{message}");
        assert_eq!(challenge.len(), "? r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".len() + 24);
    }
    let not_it = "malformed: it is not a client-first-message";
    for (message, expected) in [
        ("", not_it),
        ("n=user,r=abc", not_it),
        ("n,,n=user", not_it),
        ("n,,n=user,r=", not_it),
        ("n,,n=user,r=a b", not_it),
        ("n,,n=user,r=abc,", not_it),
        ("n,,n=us=er,r=abc", not_it),
        ("n,,n=user=2,r=abc", not_it),
        ("n,,n=,r=abc", not_it),
        ("n,,r=abc,n=user", not_it),
        ("n,,m=x,n=user,r=abc", not_it),
        ("n,user,n=user,r=abc", not_it),
        ("x,,n=user,r=abc", not_it),
        ("p=tls-unique,,n=user,r=abc", "malformed: it binds a channel, which was not offered"),
        ("n,a=plain,n=user,r=abc", "unproven user: it asks to act for another user"),
    ] {
        assert_eq!(first(message), expected, "{message}");
    }
}

/// Neither the challenge nor the outcome tells whether the user exists.
#[test]
fn an_unknown_user_looks_like_a_known_one() {
    let users = users();
    for name in ["unknown", "plain", "=2C=3D"] {
        let message = format!("n,,n={name},r=abc");
        let step = SaslExchange::ScramFirst.step(message.as_bytes(), &users, Some(&SEED));
        let again = SaslExchange::ScramFirst.step(message.as_bytes(), &users, Some(&SEED));
        let SaslStep::Challenge(exchange, challenge) = step else { panic!("{name}") };
        let challenge = String::from_utf8(challenge).unwrap();
        assert_eq!(outcome(again), format!("? {challenge}"), "the salt stays");
        assert!(challenge.ends_with("==,i=4096"), "{challenge}");
        let nonce = challenge.split(',').next().unwrap();
        let last = format!("c=biws,{nonce},p={}", "A".repeat(43) + "=");
        let outcome = outcome(exchange.step(last.as_bytes(), &users, Some(&SEED)));
        assert_eq!(outcome, "unproven unknown: the proof is wrong");
    }
}

#[test]
fn the_nonce_is_new_for_each_seed_and_message() {
    let users = users();
    let nonce = |message: &[u8], seed: [u8; 32]| {
        outcome(SaslExchange::ScramFirst.step(message, &users, Some(&seed)))
    };
    let one = nonce(b"n,,n=user,r=abc", SEED);
    assert_ne!(one, nonce(b"n,,n=user,r=abc", [6; 32]));
    let without = SaslExchange::ScramFirst.step(b"n,,n=user,r=abc", &users, None);
    assert_eq!(outcome(without), "unavailable: there are no random numbers for a nonce");
    assert_ne!(one[7..], nonce(b"n,,n=user,r=abd", SEED)[7..]);
}

#[test]
fn names_of_mechanisms() {
    for &mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::of_name(&mechanism.name().to_lowercase()), Some(mechanism));
    }
    assert_eq!(Mechanism::of_name("SCRAM-SHA-256-PLUS"), None);
    assert!(SaslExchange::begin(Mechanism::Plain).1.is_empty());
    assert!(SaslExchange::begin(Mechanism::ScramSha256).1.is_empty());
}
