use crate::command::*;
use proptest::prelude::*;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::BodyType;
use relay_mail::path::ReversePath;
use relay_mail::reply::{self, Reply};

fn mail(line: &str) -> Result<Mail, CommandError> {
    match Command::parse(line.as_bytes())? {
        Command::Mail(mail) => Ok(mail),
        other => panic!("{other:?}"),
    }
}

fn reply_to(line: &[u8]) -> Option<Reply> {
    Command::parse(line).err().map(|error| error.reply())
}

#[test]
fn verbs_are_read_in_any_case() {
    for (line, verb) in [
        ("HELO client.example", "HELO"),
        ("ehlo client.example", "EHLO"),
        ("StartTLS", "STARTTLS"),
        ("mail from:<a@b.example>", "MAIL"),
        ("RCPT TO:<a@b.example>", "RCPT"),
        ("rcpt to:<postmaster>", "RCPT"),
        ("data", "DATA"),
        ("RSET", "RSET"),
        ("NOOP", "NOOP"),
        ("NOOP any text at all", "NOOP"),
        ("VRFY a", "VRFY"),
        ("HELP", "HELP"),
        ("HELP MAIL", "HELP"),
        ("QUIT", "QUIT"),
        ("QUIT \t ", "QUIT"),
    ] {
        assert_eq!(Command::parse(line.as_bytes()).unwrap().verb().name(), verb, "{line}");
    }
}

#[test]
fn mail_and_its_parameters() {
    let sender = ReversePath::parse("<a@b.example>").unwrap();
    let dsn = MailDsn::default();
    let plain =
        Mail { sender, declared_size: None, body: None, smtputf8: false, dsn, submitter: None };
    assert_eq!(mail("MAIL FROM:<a@b.example>").as_ref(), Ok(&plain));
    assert_eq!(mail("MAIL FROM: <a@b.example>").as_ref(), Ok(&plain), "one space is common");
    let seven_bit = Mail { body: Some(BodyType::SevenBit), ..plain.clone() };
    assert_eq!(mail("MAIL FROM:<a@b.example> body=7bit").as_ref(), Ok(&seven_bit));
    assert_eq!(
        mail("MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8"),
        Ok(Mail {
            declared_size: Some(1000),
            body: Some(BodyType::EightBitMime),
            smtputf8: true,
            ..plain.clone()
        })
    );
    let largest = mail("MAIL FROM:<> SIZE=18446744073709551615").unwrap();
    assert_eq!(largest.sender, ReversePath::Null);
    assert_eq!(largest.declared_size, Some(u64::MAX));
    assert!(mail("MAIL FROM:<a@bücher.example> SMTPUTF8").is_ok());
    // A closing bracket and a parameter inside quotes do not count.
    assert_eq!(mail("MAIL FROM:<\"a> SIZE=1\"@b.example>").unwrap().declared_size, None);
}

/// Forms of devices that differ from RFC 5321 and have the same meaning.
#[test]
fn blanks_and_brackets_do_not_matter() {
    let expected = mail("MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME");
    assert!(expected.is_ok());
    for line in [
        "mail  from:<a@b.example>  size=5  body=8bitmime",
        "MAIL\tFROM:\t<a@b.example>\tSIZE=5\tBODY=8BITMIME\t",
        " MAIL FROM: \t <a@b.example> SIZE=5 BODY=8BITMIME",
        "MAIL FROM : <a@b.example> SIZE=5 BODY=8BITMIME",
        "MAIL FROM:< a@b.example\t> SIZE=5 BODY=8BITMIME",
        "MAIL FROM:a@b.example SIZE=5 BODY=8BITMIME",
        "MAIL FROM: a@b.example\tBODY=8BITMIME SIZE=5",
        "MAIL FROM:Scanner <a@b.example> SIZE=5 BODY=8BITMIME",
        "MAIL FROM: \"Scanner, 2\" <a@b.example> SIZE=5 BODY=8BITMIME",
    ] {
        assert_eq!(mail(line), expected, "{line:?}");
    }
    for line in [
        "MAIL FROM:Scanner <>",
        "MAIL FROM:Scanner < \t>",
        "MAIL FROM:\"Scanner <2>\" <a@b.example>",
        "MAIL FROM:\"c@d.example\" <a@b.example>",
        "MAIL FROM:Scanner SIZE=10 <a@b.example>",
        "MAIL FROM:Scanner > <a@b.example>",
        "MAIL FROM:c@d.example <a@b.example>",
        "MAIL FROM:\"Scanner <a@b.example>",
        "MAIL FROM:\"a\\\" <c@d.example> \"x\" <a@b.example>",
        "RCPT TO:Scanner <a@b.example>",
    ] {
        assert!(Command::parse(line.as_bytes()).is_err(), "{line:?}");
    }
    let quoted = mail("MAIL FROM:\"a b\"@c.example SIZE=5").unwrap();
    assert_eq!(
        (quoted.sender.to_string(), quoted.declared_size),
        ("\"a b\"@c.example".into(), Some(5))
    );
    for line in ["RCPT  TO:\ta@b.example NOTIFY=NEVER", "RCPT TO:< a@b.example >  NOTIFY=NEVER"] {
        let written = Command::parse(b"RCPT TO:<a@b.example> NOTIFY=NEVER");
        assert_eq!(Command::parse(line.as_bytes()), written, "{line:?}");
    }
    assert_eq!(Command::parse(b"RCPT TO:Postmaster"), Command::parse(b"RCPT TO:<postmaster>"));
}

#[test]
fn parameters_that_say_nothing_are_no_error() {
    let plain = mail("MAIL FROM:<a@b.example>").unwrap();
    for size in ["SIZE", "SIZE=", "size= "] {
        assert_eq!(mail(&format!("MAIL FROM:<a@b.example> {size}")).as_ref(), Ok(&plain));
    }
    for auth in ["AUTH", "AUTH=", "AUTH=a", "AUTH=e=mc2@b.example", "AUTH=<a@b.example>"] {
        let submitter = mail(&format!("MAIL FROM:<a@b.example> {auth}")).unwrap().submitter;
        assert_eq!(submitter, Some(ReversePath::Null), "{auth}");
    }
}

/// The argument of these commands is not used in any decision, so any octets are allowed.
#[test]
fn arguments_that_are_not_read_may_be_anything() {
    for verb in ["EHLO", "HELO", "HELP", "NOOP", "QUIT", "VRFY"] {
        let line = [verb.as_bytes(), b" B\xfcro (1); x"].concat();
        assert_eq!(Command::parse(&line).unwrap().verb().name(), verb);
    }
    let Ok(Command::Ehlo(name)) = Command::parse(b"EHLO\tB\xfcro PC") else { panic!("EHLO") };
    assert_eq!(name.as_str(), "B?ro?PC");
    let Ok(Command::Helo(name)) = Command::parse(b"HELO ") else { panic!("HELO") };
    assert!(name.is_missing());
}

#[test]
fn every_error_has_its_reply() {
    let cases: &[(&[u8], Reply)] = &[
        (b"", reply::UNRECOGNIZED_COMMAND),
        (b"NOOPS", reply::UNRECOGNIZED_COMMAND),
        (b"AUTH", reply::INVALID_ARGUMENTS),
        (b"AUTH PLAIN *", reply::INVALID_RESPONSE),
        (b"BURL 3", reply::UNRECOGNIZED_COMMAND),
        (b"GET / HTTP/1.1", reply::UNRECOGNIZED_COMMAND),
        (b"NO\xffOP", reply::INVALID_CHARACTER),
        (b"DATA now", reply::INVALID_ARGUMENTS),
        (b"RSET now", reply::INVALID_ARGUMENTS),
        (b"STARTTLS now", reply::INVALID_ARGUMENTS),
        (b"VRFY", reply::INVALID_ARGUMENTS),
        (b"MAIL", reply::INVALID_ARGUMENTS),
        (b"MAIL TO:<a@b.example>", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM <a@b.example>", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:", reply::INVALID_SENDER),
        (b"MAIL FROM:  ", reply::INVALID_SENDER),
        (b"MAIL FROM: SIZE=1", reply::INVALID_SENDER),
        (b"MAIL FROM:a@b.example> SIZE=1", reply::INVALID_SENDER),
        (b"MAIL FROM:a b@c.example", reply::INVALID_SENDER),
        (b"MAIL FROM:\"a b@c.example", reply::INVALID_SENDER),
        (b"MAIL FROM:a@b.example,c@d.example", reply::INVALID_SENDER),
        (b"MAIL FROM:A\x0b <a@b.example>", reply::INVALID_SENDER),
        (b"MAIL FROM:A<a@b.example>", reply::INVALID_SENDER),
        (b"MAIL FROM:<> junk", reply::UNSUPPORTED_PARAMETER),
        (b"MAIL FROM:<>junk", reply::INVALID_SENDER),
        (b"MAIL FROM:\x0b<a@b.example>", reply::INVALID_SENDER),
        (b"MAIL\x0bFROM:<a@b.example>", reply::UNRECOGNIZED_COMMAND),
        (b"MAIL FROM:\xc2\xa0<a@b.example>", reply::INVALID_SENDER),
        (b"MAIL FROM:<a@b.example", reply::INVALID_SENDER),
        (b"MAIL FROM:<a@b.example>SIZE=1", reply::INVALID_SENDER),
        (b"MAIL FROM:<a@b@c.example>", reply::INVALID_SENDER),
        (b"MAIL FROM:<@relay.example:a@b.example>", reply::INVALID_SENDER),
        (b"MAIL FROM:<a@b.example> SIZE=-1", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SIZE=+1", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SIZE=1k", reply::INVALID_ARGUMENTS),
        // smtp-proto reads this as 999.
        (b"MAIL FROM:<a@b.example> SIZE=99999999999999999999999", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SIZE=18446744073709551616", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SIZE=1 size=1", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> BODY=7BIT BODY=7BIT", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SMTPUTF8 SMTPUTF8", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> SMTPUTF8=yes", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> BODY", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> =1", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> BODY=9BIT", reply::UNSUPPORTED_PARAMETER),
        (b"MAIL FROM:<a@b.example> RET=ALL", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> RET=HDRS RET=HDRS", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> ENVID=a+0D+0Ab", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> ENVID", reply::INVALID_ARGUMENTS),
        (b"MAIL FROM:<a@b.example> NOTIFY=NEVER", reply::UNSUPPORTED_PARAMETER),
        (b"MAIL FROM:<a@b.example> AUTH=<> AUTH=<>", reply::INVALID_ARGUMENTS),
        (b"RCPT", reply::INVALID_ARGUMENTS),
        (b"RCPT TO:<>", reply::INVALID_RECIPIENT),
        (b"RCPT TO:<a>", reply::INVALID_RECIPIENT),
        (b"RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", reply::INVALID_ARGUMENTS),
        (b"RCPT TO:<a@b.example> ORCPT=rfc822;a+0Ab", reply::INVALID_ARGUMENTS),
        (b"RCPT TO:<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;a", reply::INVALID_ARGUMENTS),
        (b"RCPT TO:<a@b.example> RET=FULL", reply::UNSUPPORTED_PARAMETER),
        (b"RCPT TO:<a@b.example> SIZE=1", reply::UNSUPPORTED_PARAMETER),
    ];
    for (line, expected) in cases {
        assert_eq!(reply_to(line).as_ref(), Some(expected), "{}", line.escape_ascii());
    }
}

#[test]
fn chunks() {
    let chunk = |octets, last| Ok(Command::Bdat(Chunk { octets, last }));
    assert_eq!(Command::parse(b"BDAT 0"), chunk(0, false));
    assert_eq!(Command::parse(b"bdat 007 last"), chunk(7, true));
    assert_eq!(Command::parse(b"BDAT 18446744073709551615 LAST"), chunk(u64::MAX, true));
    for line in [
        "BDAT",
        "BDAT ",
        "BDAT LAST",
        "BDAT -1",
        "BDAT +1",
        "BDAT 0x10",
        "BDAT 1e3",
        "BDAT 1.0",
        "BDAT 1,000",
        "BDAT  1",
        "BDAT\t1",
        " BDAT 1",
        "BDAT 1  LAST",
        "BDAT 1 LAST LAST",
        "BDAT 1LAST",
        "BDAT 1 FIRST",
        "BDAT 1 2",
        "BDAT \u{661}",
        "BDAT 18446744073709551616",
        "BDAT 99999999999999999999999999",
        "BDAT 000000000000000000000001",
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(CommandError::ChunkSize), "{line}");
    }
}

proptest! {
    #[test]
    fn any_line_is_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn almost_commands_are_read_without_panic(
        line in r#"(?i)(mail from:|rcpt to:|ehlo |vrfy )[ <>@."\\\[\]:a-z0-9é=-]{0,40}"#,
    ) {
        let _ = Command::parse(line.as_bytes());
    }
}
