use proptest::prelude::*;

use super::*;
use crate::limits::{DOMAIN_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS};

fn mailbox(text: &str) -> Result<String, AddressError> {
    Mailbox::parse(text).map(|mailbox| mailbox.to_string())
}

/// Accepted, and written again exactly as it was, except for the case of the domain.
#[test]
fn valid_mailboxes() {
    for text in [
        "user@example.org",
        "User.Name+tag@example.org",
        "user@localhost",
        "user@xn--bcher-kva.example",
        "o'brien!#$%&*/=?^_`{|}~-@example.org",
        // Neither is a route: the mail goes to example.org, which alone interprets the local part.
        "user%evil.test@example.org",
        // Dots as in addresses of Japanese carriers, and a device with a name of its administrator.
        ".us..er.@example.org",
        "scanner@hp_m404.example.org",
        "evil.test!user@example.org",
        // Quotes are part of the local part. smtp-proto loses the quotes, and the domain with them.
        "\"a@evil.test\"@example.org",
        "\"a b\"@example.org",
        "\"a>b\"@example.org",
        "\"a\\\"b\"@example.org",
        "\"a\\\\\"@example.org",
        "\"\"@example.org",
        "user@[192.0.2.1]",
        "user@[IPv6:2001:db8::1]",
        "usér@example.org",
        "user@bücher.example",
        "用户@例子.测试",
    ] {
        assert_eq!(mailbox(text).as_deref(), Ok(text), "{text}");
    }
    assert_eq!(mailbox("User@EXAMPLE.Org").as_deref(), Ok("User@example.org"));
    assert_eq!(mailbox("u@BÜCHER.example").as_deref(), Ok("u@bücher.example"));
    assert_eq!(mailbox("u@[ipv6:2001:DB8:0::1]").as_deref(), Ok("u@[IPv6:2001:db8::1]"));
}

#[test]
fn invalid_mailboxes() {
    use AddressError as A;
    use DomainError as D;
    use LocalPartError as L;

    let long_local_part = format!("{}@example.org", "a".repeat(LOCAL_PART_OCTETS + 1));
    let long_label = format!("a@{}.org", "a".repeat(64));
    let long_domain = format!("a@{}org", "abcdefg.".repeat(32));
    let cases: &[(&str, AddressError)] = &[
        ("", A::LocalPart(L::Empty)),
        ("user", A::NoDomain),
        ("@example.org", A::LocalPart(L::Empty)),
        ("us er@example.org", A::LocalPart(L::Character)),
        ("us\0er@example.org", A::LocalPart(L::Character)),
        ("us\ter@example.org", A::LocalPart(L::Character)),
        ("us\u{85}er@example.org", A::LocalPart(L::Character)),
        ("us(c)er@example.org", A::LocalPart(L::Character)),
        ("us\"e\"r@example.org", A::LocalPart(L::Character)),
        ("<user@example.org", A::LocalPart(L::Character)),
        ("a,b@example.org", A::LocalPart(L::Character)),
        ("\"user@example.org", A::LocalPart(L::UnclosedQuote)),
        ("\"user\\\"@example.org", A::LocalPart(L::UnclosedQuote)),
        ("\"us\ner\"@example.org", A::LocalPart(L::Character)),
        ("\"us\0er\"@example.org", A::LocalPart(L::Character)),
        ("\"us\\é\"@example.org", A::LocalPart(L::Character)),
        ("\"us\"er@example.org", A::LocalPart(L::Character)),
        (&long_local_part, A::LocalPart(L::TooLong)),
        // A doubled @: a later server must not choose another one than we did.
        ("a@b@c.example", A::Domain(D::Character)),
        ("a@evil.test@example.org", A::Domain(D::Character)),
        ("a@", A::Domain(D::EmptyLabel)),
        ("a@example.org.", A::Domain(D::EmptyLabel)),
        ("a@.example.org", A::Domain(D::EmptyLabel)),
        ("a@example..org", A::Domain(D::EmptyLabel)),
        ("a@exam ple.org", A::Domain(D::Character)),
        ("a@example.org\0", A::Domain(D::Character)),
        ("a@example.org>", A::Domain(D::Character)),
        ("a@-example.org", A::Domain(D::Hyphen)),
        ("a@example-.org", A::Domain(D::Hyphen)),
        ("a@192.0.2.1", A::Domain(D::NumericTopLabel)),
        (&long_label, A::Domain(D::LabelTooLong)),
        (&long_domain, A::Domain(D::TooLong)),
        // Full-width letters and an ideographic full stop, which IDNA maps to ASCII.
        ("a@ｅｘａｍｐｌｅ.org", A::Domain(D::NotIdna)),
        ("a@example。org", A::Domain(D::NotIdna)),
        ("a@exa\u{ad}mple.org", A::Domain(D::NotIdna)),
        ("a@\u{202e}example.org", A::Domain(D::NotIdna)),
        ("a@[192.0.2.1", A::Literal),
        ("a@[192.0.2.256]", A::Literal),
        ("a@[192.0.2.01]", A::Literal),
        ("a@[2001:db8::1]", A::Literal),
        ("a@[IPv6:fe80::1%eth0]", A::Literal),
        ("a@[x-tag:any]", A::Literal),
        ("a@[]", A::Literal),
    ];
    for (text, expected) in cases {
        assert_eq!(mailbox(text).as_ref(), Err(expected), "{text:?}");
    }
}

#[test]
fn paths() {
    assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::Null));
    assert_eq!(ForwardPath::parse("<Postmaster>"), Ok(ForwardPath::Postmaster));
    // smtp-proto reads these two as `<>`.
    assert_eq!(ReversePath::parse("<postmaster>"), Err(AddressError::NoDomain));
    assert_eq!(ForwardPath::parse("<>"), Err(LocalPartError::Empty.into()));
    assert!(ForwardPath::parse("<postmaster@example.org>").is_ok());

    for route in ["<@relay.example:user@example.org>", "<@a.example,@b.example:c@d.example>"] {
        assert_eq!(ForwardPath::parse(route), Err(AddressError::SourceRoute));
        assert_eq!(ReversePath::parse(route), Err(AddressError::SourceRoute));
    }
    for bare in ["", "user@example.org", "<user@example.org", "user@example.org>"] {
        assert_eq!(ForwardPath::parse(bare), Err(AddressError::NotBracketed), "{bare}");
    }
    assert_eq!(ForwardPath::parse("< a@b.example\t>"), ForwardPath::parse("<a@b.example>"));
    assert_eq!(ReversePath::parse("< >"), Ok(ReversePath::Null));
    assert!(ForwardPath::parse("<a @b.example>").is_err());
    assert!(ForwardPath::parse("<<user@example.org>>").is_err());
    let long = format!("<\"{}\"@example.org>", "a".repeat(PATH_OCTETS));
    assert_eq!(ForwardPath::parse(&long), Err(AddressError::TooLong));
}

#[test]
fn a_path_ends_at_the_first_bracket_outside_quotes() {
    assert_eq!(split_path("<a@b> SIZE=1"), Some(("<a@b>", " SIZE=1")));
    assert_eq!(split_path("<\"a> SIZE=1\"@b>"), Some(("<\"a> SIZE=1\"@b>", "")));
    assert_eq!(split_path("<\"a\\\">\"@b>x"), Some(("<\"a\\\">\"@b>", "x")));
    assert_eq!(split_path("<>"), Some(("<>", "")));
    assert_eq!(split_path("<a@b"), None);
    assert_eq!(split_path("<\"a@b>"), None);
    assert_eq!(split_path(" <a@b>"), None);
    assert_eq!(split_path("a@b"), None);
}

#[test]
fn a_path_without_brackets_ends_at_the_first_blank_outside_quotes() {
    assert_eq!(split_bare_path("a@b SIZE=1"), Some(("a@b", " SIZE=1")));
    assert_eq!(split_bare_path("a@b\tSIZE=1"), Some(("a@b", "\tSIZE=1")));
    assert_eq!(split_bare_path("\"a b\\\" c\"@d e"), Some(("\"a b\\\" c\"@d", " e")));
    assert_eq!(split_bare_path("a@b>x"), Some(("a@b>x", "")));
    for nothing in ["", " a@b", "\"a@b", "\"a b@c"] {
        assert_eq!(split_bare_path(nothing), None, "{nothing}");
    }
}

#[test]
fn domains_compare_by_their_a_labels() {
    let u_label = Domain::parse("bücher.example").unwrap();
    let a_label = Domain::parse("XN--BCHER-KVA.example").unwrap();
    assert_eq!(u_label, a_label);
    assert_eq!(u_label.ascii(), "xn--bcher-kva.example");
    assert_eq!(u_label.as_str(), "bücher.example");
    assert!(!Mailbox::parse("a@bücher.example").unwrap().is_ascii());
    assert!(Mailbox::parse("a@xn--bcher-kva.example").unwrap().is_ascii());
}

/// `Ⱥ` has two octets and `ⱥ` three: the domain fits the limit only before it is in lower case.
#[test]
fn the_limit_of_a_domain_holds_in_lower_case() {
    let domain = |count: usize| format!("{0}.{0}.example", "Ⱥ".repeat(count));
    assert!(domain(41).to_lowercase().len() <= DOMAIN_OCTETS);
    assert!(Domain::parse(&domain(41)).is_ok());
    assert!(domain(50).len() <= DOMAIN_OCTETS);
    assert_eq!(Domain::parse(&domain(50)), Err(DomainError::TooLong));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".*") {
        let _ = ReversePath::parse(&text);
        let _ = split_path(&text);
        let _ = Domain::parse(&text);
    }

    /// A parsed value is written so that parsing it again gives the same value: the queue must be
    /// able to read accepted addresses.
    #[test]
    fn a_written_path_parses_to_the_same_value(
        text in r#"("[ -~]{0,6}"|[a-zA-Z."\\!%]{1,8})@(([a-zü-]{1,5}|[ȺȾİΣßЖbB]{1,50})\.){1,3}[a-z]{2,3}"#,
    ) {
        let path = format!("<{text}>");
        if let Ok(sender) = ReversePath::parse(&path) {
            prop_assert_eq!(ReversePath::parse(&format!("<{sender}>")), Ok(sender));
        }
        if let Ok(recipient) = ForwardPath::parse(&path) {
            prop_assert_eq!(ForwardPath::parse(&format!("<{recipient}>")), Ok(recipient));
        }
    }
}
