use crate::author::*;
use crate::header::{Collected, HeaderCollector};

fn of(header: &str) -> Result<Vec<String>, Unclear> {
    match HeaderCollector::new(10_000).push(format!("{header}\r\n\r\n").as_bytes()) {
        Collected::Complete { section, .. } => {
            authors(&section).map(|mailboxes| mailboxes.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_that_are_clear() {
    for (header, expected) in [
        ("Subject: x", &[][..]),
        // No field, so the header section ends before it.
        ("X: y\r\nFr\u{e9}om: a@b.example", &[]),
        ("From: a@b.example\r\nFrom\u{b}: c@d.example", &["a@b.example"]),
        ("From: a@b.example", &["a@b.example"]),
        ("from : a@b.example", &["a@b.example"]),
        ("FROM:\r\n a@b.example", &["a@b.example"]),
        ("From: <a@b.example>", &["a@b.example"]),
        ("From: Ann <a@b.example>", &["a@b.example"]),
        ("From: \"c@d.example\" <a@b.example>", &["a@b.example"]),
        ("From: =?utf-8?q?c=40d.example?= <a@b.example>", &["a@b.example"]),
        ("From: a@b.example (c@d.example)", &["a@b.example"]),
        ("From: (c@d.example) a@b.example", &["a@b.example"]),
        ("From: (x) (c@d.example)\r\n a@b.example (y)", &["a@b.example"]),
        ("From: (c@d.example) a@b.example, (x) c@d.example", &["a@b.example", "c@d.example"]),
        ("From: a@b.example, c@d.example", &["a@b.example", "c@d.example"]),
        ("From: group: a@b.example, <c@d.example>;", &["a@b.example", "c@d.example"]),
        ("From: a@b.example\r\nSender: c@d.example", &["a@b.example", "c@d.example"]),
        ("Sender: c@d.example", &["c@d.example"]),
        ("From: j\u{f6}rg@b\u{fc}cher.example", &["j\u{f6}rg@b\u{fc}cher.example"]),
        ("From: J. Doe [Sales] <a@b.example>", &["a@b.example"]),
        ("From: Ann (Sales) <a@b.example> (out)", &["a@b.example"]),
        ("From: \"Doe, Ann\" < a@b.example >", &["a@b.example"]),
        ("From: \"Doe \\\"A\\\"\"\r\n <a@b.example>", &["a@b.example"]),
        ("From: \"Ann of\r\n Sales\" <a@b.example>", &["a@b.example"]),
        ("From: Ann \"A.\" Doe <a@b.example>", &["a@b.example"]),
        ("From: a@b.example <a@b.example>", &["a@b.example"]),
        ("From: \"=?utf-8?q?J=C3=B6?=\" <a@b.example>", &["a@b.example"]),
        ("From: =?utf-8?B?QQ==?= =?utf-8?q?=C3=B6 x?= <a@b.example>", &["a@b.example"]),
        ("From: \"=?utf-8?q?J=C3=B6 \r\n y?=\" <a@b.example>", &["a@b.example"]),
        ("From: =?utf-8*de?q?J=C3=B6?= <a@b.example>", &["a@b.example"]),
        ("From: A@B.example <a@b.example>", &["a@b.example"]),
        ("From: <a@[192.0.2.1]>", &["a@[192.0.2.1]"]),
        ("From: <a@[IPv6:2001:db8::1]>", &["a@[IPv6:2001:db8::1]"]),
        ("From: <\"a b\"@b.example>", &["\"a b\"@b.example"]),
    ] {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(of(header), Ok::<Vec<_>, _>(expected), "{header}");
    }
}

/// Because of octets that are not UTF-8, a reader decodes the whole field as Latin-1.
#[test]
fn addresses_beside_octets_that_are_no_utf_8() {
    assert_eq!(addresses(b"\"J\xf6rg\" <j\xc3\xb6rg@b.example>"), Err(Unclear::Ambiguous));
    assert_eq!(addresses(b"\"J\xf6rg\" <joerg@b.example>").unwrap().len(), 1);
}

#[test]
fn addresses_that_two_readers_may_read_differently() {
    use Unclear::{Ambiguous, Several, Unreadable};
    for (header, expected) in [
        ("From: a@b.example\r\nFrom: c@d.example", &[Several][..]),
        ("From: a@b.example\r\nfrom : c@d.example", &[Several]),
        ("Sender: a@b.example\r\nSender: a@b.example", &[Several]),
        ("From:", &[Unreadable]),
        ("From: Ann", &[Unreadable]),
        ("From: undisclosed:;", &[Unreadable]),
        ("From: <>", &[Unreadable]),
        ("From: a@b@c.example", &[Unreadable, Ambiguous]),
        ("From: a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
        ("From: a@b.example x <a@b.example>", &[Ambiguous]),
        ("From: <a@b.example> <c@d.example>", &[Unreadable, Ambiguous]),
        ("From: <a@b.example>c@d.example", &[Unreadable, Ambiguous]),
        ("From: <@c.example:a@b.example>", &[Unreadable, Ambiguous]),
        ("From: \"a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
        ("From: (a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
        // White space, comments and dots that only some readers ignore.
        ("From: a @ b . example", &[Ambiguous]),
        ("From: a@b .example", &[Ambiguous]),
        ("From: a@b(x).example", &[Ambiguous]),
        ("From: a(x)@b.example", &[Ambiguous]),
        ("From: (x)a@b.example", &[Ambiguous]),
        ("From: (x) (y)a@b.example", &[Ambiguous]),
        ("From: (c@d.example)", &[Unreadable, Ambiguous]),
        ("From: (x) a (y) @b.example", &[Ambiguous]),
        ("From: <a@b.example(x)>", &[Ambiguous]),
        ("From: a@b.example.", &[Ambiguous]),
        ("From: \"\"@b.example", &[Ambiguous]),
        ("From: <\" a\"@b.example>", &[Ambiguous]),
        ("From: a@b..example", &[Ambiguous]),
        ("From: a@b.\r\n example", &[Ambiguous]),
        ("From: \r\n \r\n a@b.example", &[Ambiguous]),
        // Two addresses, or one inside the other.
        ("From: <a@b.example@c.example>", &[Ambiguous]),
        ("From: <@b.example,@x:x@c.example>", &[Ambiguous]),
        ("From: \"a@b.example\"@c.example", &[Ambiguous]),
        ("From: \"a\\@b.example\"@c.example", &[Ambiguous]),
        ("From: =?utf-8?q?a?=@b.example", &[Ambiguous]),
        ("From: =?utf-8?q?x <a?=b@c.example>", &[Ambiguous]),
        ("From: \"=?utf-8?q?x\" y?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?q?x \"y?=\" <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?q?x <a@b.example>", &[Ambiguous]),
        ("From: \"=?utf-8?q??q?=\" <a@b.example> (\"?=)", &[Ambiguous]),
        ("From: \"=?utf-8?q?x?y?=\" <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?x?y?= <a@b.example>", &[Ambiguous]),
        ("From: =??q?y?= <a@b.example>", &[Ambiguous]),
        ("From: \"=?utf-8?q?y?=z\" ?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?q?c=4#d?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?b?c*d?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?q?c=00?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?q?c=0D=0a?= <a@b.example>", &[Ambiguous]),
        ("From: =?utf-8?b?YQBi?= <a@b.example>", &[Ambiguous]),
        ("From: c\u{ff20}d.example@b.example", &[Ambiguous]),
        ("From: =?utf-8?q?y?= J\u{f6} <a@b.example>", &[Ambiguous]),
        ("From: a@b.example; c@d.example", &[Ambiguous]),
        ("From: a@b.example c@d.example", &[Ambiguous]),
        ("From: a@b.example,, c@d.example", &[Ambiguous]),
        ("From: : a@b.example;", &[Ambiguous]),
        ("From: d:;,a@b.example", &[Ambiguous]),
        ("From: a@[IPv6:::1] <a@[IPv6:::1]>", &[Ambiguous]),
        ("From: a@b.example, d:c@d.example;", &[Ambiguous]),
        ("From: d:a@b.example; (x)", &[Ambiguous]),
        ("From: x: a@b.example", &[Ambiguous]),
        ("From: x: y: a@b.example;;", &[Ambiguous]),
        // Quotes and comments that end at another octet for another reader.
        ("From: a@b.example (<c@d.example>", &[Ambiguous]),
        ("From: a@b.example) <c@d.example>", &[Ambiguous]),
        ("From: a@b.example (x) c@d.example)", &[Ambiguous]),
        ("From: a@b.example (x (y) c@d.example)", &[Ambiguous]),
        ("From: a@b.example (x (y) z)", &[Ambiguous]),
        ("From: a@b.example (\"x) c@d.example\")", &[Ambiguous]),
        ("From: \"x\\\" <a@b.example>\" <c@d.example>", &[Ambiguous]),
        ("From: \"a@b.example\r\n \" <c@d.example>", &[Ambiguous]),
        ("From: \"x\r\n <a@b.example>\" <c@d.example>", &[Ambiguous]),
        ("From: a@b.example\\, c@d.example", &[Ambiguous]),
        // Quotes that do not begin a name, which some readers treat as letters.
        ("From: Ann \"<a@b.example>\" <c@d.example>", &[Ambiguous]),
        ("From: A\"n \"n \"<a@b.example> \".e <c@d.example>", &[Ambiguous]),
        ("From: (x) \"Doe, Ann\" <c@d.example>", &[Ambiguous]),
        ("From: Ann (Doe, A.) <c@d.example>", &[Ambiguous]),
        ("From: Ann (a: x) <c@d.example>", &[Ambiguous]),
        ("From: Ann (\") <c@d.example>", &[Ambiguous]),
        ("From: a@b.example\u{b}", &[Ambiguous]),
        ("From: Ann\0 <a@b.example>", &[Ambiguous]),
    ] {
        let found = of(header).unwrap_err();
        assert!(expected.contains(&found), "{header}: {found:?}");
    }
}
