//! The behaviours of next hops, and the outcome of each recipient.

use self::Becomes::{Deferred, Delivered, Failed};
use super::hop::Act::{Closes, Drips, IsEndless, IsSilent, Resets, Says};
use super::hop::{Act, Manners};

/// The outcome of a recipient, and a part of the reported reason.
#[derive(Clone, Copy, Debug)]
pub(super) enum Becomes {
    Delivered,
    Deferred(&'static str),
    Failed(&'static str),
}

pub(super) struct Case {
    /// And its domain.
    pub(super) name: String,
    pub(super) manners: Manners,
    pub(super) tls: &'static str,
    /// The parameters after the sender's address in MAIL.
    pub(super) parameters: &'static str,
    pub(super) content: String,
    /// The corrected next hop must not get the message either.
    pub(super) stays: bool,
    /// By local part.
    pub(super) recipients: Vec<(&'static str, Becomes)>,
}

/// A next hop with this behaviour at a stage, and the outcome of its only recipient.
fn case(what: &str, stage: &'static str, act: Act, becomes: Becomes) -> Case {
    Case {
        name: format!("{what}-at-{}", stage.to_ascii_lowercase().replace(':', "-")),
        manners: Manners {
            acts: vec![(stage, act)],
            offers: vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000"],
            ..Manners::default()
        },
        tls: "opportunistic",
        parameters: "",
        content: "Subject: a test\r\n\r\n..\r\nhello\r\n".to_owned(),
        stays: false,
        recipients: vec![("one", becomes)],
    }
}

impl Case {
    fn offering(mut self, offers: &[&'static str]) -> Self {
        self.manners.offers = offers.to_vec();
        self
    }

    /// A message that fills every buffer between the two hosts.
    fn with_much(mut self) -> Self {
        self.content = format!("Subject: a test\r\n\r\n{}", "0123456789abcde\r\n".repeat(250_000));
        self
    }
}

/// The stages of a session, and the reason of an attempt that ended there.
const STAGES: [(&str, &str); 6] = [
    ("connect", "before the greeting"),
    ("EHLO", "after EHLO or HELO"),
    ("MAIL", "after MAIL"),
    ("RCPT", "after RCPT"),
    ("DATA", "after DATA"),
    ("end", "after the end of data"),
];

fn at_every_stage() -> Vec<Case> {
    let mut cases = Vec::new();
    for (stage, told) in STAGES {
        // `told` is the reason if the failure itself has no text.
        let all = [
            ("silent", IsSilent, told),
            ("dripping", Drips("250-more\r\n"), "did not answer in time"),
            ("endless-lines", IsEndless("250-more\r\n"), "longer than 262144 octets"),
            ("endless-line", IsEndless("250 more and "), "longer than 262144 octets"),
            ("shutting-down", Says("421 4.3.2 closing\r\n"), "421 4.3.2 closing"),
            ("hanging-up", Closes(""), told),
            ("hanging-up-in-a-reply", Closes("250 half a rep"), told),
            ("no-code", Says("hello there\r\n"), "does not begin with a code"),
            ("no-digit", Says("2x0 ok\r\n"), "does not begin with a code"),
            ("bare-lf", Says("451 4.3.0 busy\n"), "451 4.3.0 busy"),
            ("two-codes", Says("450-4.3.0 one\r\n451 4.3.0 two\r\n"), "4.3.0"),
            ("binary", Says("\0\u{1}\u{2}\r\n"), "does not begin with a code"),
            ("busy", Says("451 4.3.0 busy\r\n"), "451 4.3.0 busy"),
        ];
        cases.extend(all.map(|(what, act, told)| case(what, stage, act, Deferred(told))));
    }
    // If the whole server reports trouble, that is not a refusal of the message.
    cases.push(case(
        "refusing",
        "connect",
        Says("554 5.3.2 go away\r\n"),
        Deferred("554 5.3.2 go"),
    ));
    for stage in ["MAIL", "RCPT", "DATA", "end"] {
        cases.push(case("refusing", stage, Says("554 5.7.1 never\r\n"), Failed("554 5.7.1 never")));
    }
    for (stage, code) in [
        ("connect", "354"),
        ("EHLO", "334"),
        ("MAIL", "354"),
        ("RCPT", "354"),
        ("DATA", "250"),
        ("DATA", "334"),
        ("end", "354"),
    ] {
        let reply: &str = match code {
            "354" => "354 what\r\n",
            "334" => "334 what\r\n",
            _ => "250 what\r\n",
        };
        let told = &reply[..8];
        cases.push(case(&format!("code-{code}"), stage, Says(reply), Deferred(told)));
    }
    cases
}

fn replies_before_they_are_asked() -> Vec<Case> {
    let early = |stage, text, told| case("early", stage, Says(text), Deferred(told));
    let slowly = ["8BITMIME"];
    vec![
        early("connect", "220 hop\r\n250 hop\r\n", "250 hop before the command was sent"),
        early("EHLO", "250 hop\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n", "250 ok"),
        early(
            "MAIL",
            "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
            "250 ok before the command was sent",
        )
        .offering(&slowly),
        early("RCPT", "250 ok\r\n354 go\r\n250 taken\r\n", "354 go before the command was sent")
            .offering(&slowly),
        early("DATA", "354 go\r\n250 taken\r\n", "250 taken before the end of data"),
    ]
}

/// One surplus reply to a command, and a refusal of the message.
fn replies_too_many() -> Vec<Case> {
    let twice = |stage, text, offers: &[&'static str]| {
        let mut twice = case("twice", stage, Says(text), Deferred("250 2.0.0 ok")).offering(offers);
        twice.manners.acts.push(("end", Says("550 5.7.1 refused\r\n")));
        twice.name = format!("{}-{}", twice.name, offers.len());
        twice
    };
    let ok = "250 2.0.0 ok\r\n250 2.0.0 ok\r\n";
    let ways = [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]];
    let cases = ways.map(|offers| [twice("MAIL", ok, offers), twice("RCPT:one", ok, offers)]);
    cases.into_iter().flatten().collect()
}

fn within_the_message() -> Vec<Case> {
    vec![
        case("resetting", "DATA", Resets("354 go\r\n"), Deferred("connection was lost"))
            .with_much(),
        case("reset-of-little", "DATA", Resets("354 go\r\n"), Deferred("connection was lost")),
        case("closing", "DATA", Closes("354 go\r\n"), Deferred("the next hop closed it"))
            .with_much(),
    ]
}

fn lies_in_ehlo() -> Vec<Case> {
    let pipelining = ["PIPELINING", "8BITMIME"];
    let chunking = ["PIPELINING", "8BITMIME", "CHUNKING"];
    let starttls = ["STARTTLS", "8BITMIME"];
    let mut cases = vec![
        case("no-size", "MAIL", Says("555 5.5.4 SIZE?\r\n"), Failed("555 5.5.4 SIZE?")),
        case("smaller-than-said", "MAIL", Says("552 5.3.4 too big\r\n"), Failed("552 5.3.4 too")),
        case("no-chunking", "BDAT", Says("502 5.5.1 what\r\n"), Delivered).offering(&chunking),
        case("no-starttls", "STARTTLS", Says("454 4.7.0 no\r\n"), Delivered).offering(&starttls),
        case("unknown-starttls", "STARTTLS", Says("500 what\r\n"), Delivered).offering(&starttls),
        case("no-handshake", "STARTTLS", Closes("220 go\r\n"), Delivered).offering(&starttls),
        case("silent", "STARTTLS", IsSilent, Deferred("after STARTTLS")).offering(&starttls),
        case(
            "plain-text-behind",
            "STARTTLS",
            Says("220 go\r\n250 injected\r\n"),
            Deferred("plain text behind the reply to STARTTLS"),
        )
        .offering(&starttls),
        // An old server with HELO only, without any extension.
        case("only-helo", "EHLO", Says("502 5.5.1 what\r\n"), Delivered),
    ];
    let mut dropping = case("no-pipelining", "none", IsSilent, Delivered).offering(&pipelining);
    dropping.manners.drops_what_is_pipelined = true;
    let mut required =
        case("starttls-required", "STARTTLS", Says("454 4.7.0 no\r\n"), Deferred("454 4.7.0 no"))
            .offering(&starttls);
    required.tls = "required";
    required.stays = true;
    let mut eight_bit =
        case("no-8bitmime", "MAIL", Says("501 5.5.4 BODY?\r\n"), Failed("501 5.5.4 BODY?"));
    eight_bit.parameters = " BODY=8BITMIME";
    eight_bit.content = "Subject: a test\r\n\r\nGr\u{fc}\u{df}e\r\n".to_owned();
    let mut utf8 =
        case("no-smtputf8", "MAIL", Says("555 5.6.7 SMTPUTF8?\r\n"), Failed("555 5.6.7 SMTPUTF8?"));
    utf8.parameters = " SMTPUTF8";
    utf8.content = "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n".to_owned();
    cases.extend([dropping, required, eight_bit, utf8]);
    cases
}

fn some_recipients() -> Vec<Case> {
    let refuse = |name: &str, acts: &[(&'static str, &'static str)], becomes: [Becomes; 3]| Case {
        name: name.to_owned(),
        manners: Manners {
            acts: acts.iter().map(|&(stage, text)| (stage, Says(text))).collect(),
            offers: vec!["PIPELINING"],
            ..Manners::default()
        },
        recipients: ["one", "two", "three"].into_iter().zip(becomes).collect(),
        ..case("", "none", IsSilent, Delivered)
    };
    let (gone, later) = (("RCPT:two", "550 5.1.1 gone\r\n"), ("RCPT:three", "450 4.2.1 later\r\n"));
    let (failed, deferred) = (Failed("550 5.1.1 gone"), Deferred("450 4.2.1 later"));
    vec![
        refuse("some-refused", &[gone, later], [Delivered, failed, deferred]),
        refuse(
            "all-refused",
            &[("RCPT:one", "451 4.1.1 no\r\n"), gone, later],
            [Deferred("451 4.1.1 no"), failed, deferred],
        ),
        refuse(
            "all-refused-for-good",
            &[("RCPT:one", "553 5.1.3 no\r\n"), gone, ("RCPT:three", "550 5.1.1 gone\r\n")],
            [Failed("553 5.1.3 no"), failed, failed],
        ),
        // The 354 has no recipient to which it could apply.
        refuse(
            "all-refused-and-data-taken",
            &[("RCPT", "550 5.1.1 gone\r\n"), ("DATA", "354 go\r\n")],
            [failed, failed, failed],
        ),
        // Refused recipients stay refused even if the rest gets no reply.
        refuse(
            "some-refused-and-closing",
            &[gone, ("RCPT:three", "421 4.3.2 closing\r\n")],
            [Deferred("421 4.3.2 closing"), failed, Deferred("421 4.3.2 closing")],
        ),
        refuse(
            "some-refused-and-the-message",
            &[gone, ("end", "554 5.6.0 no\r\n")],
            [Failed("554 5.6.0 no"), failed, Failed("554 5.6.0 no")],
        ),
        refuse(
            "some-refused-and-the-message-for-now",
            &[gone, ("end", "452 4.3.1 full\r\n")],
            [Deferred("452 4.3.1 full"), failed, Deferred("452 4.3.1 full")],
        ),
    ]
}

pub(super) fn all_cases() -> Vec<Case> {
    let mut unreachable = case("silent", "syn", IsSilent, Deferred("cannot connect to"));
    unreachable.manners.never_accepts = true;
    let groups = [
        vec![unreachable],
        at_every_stage(),
        replies_before_they_are_asked(),
        replies_too_many(),
        within_the_message(),
        lies_in_ehlo(),
        some_recipients(),
    ];
    groups.into_iter().flatten().collect()
}
