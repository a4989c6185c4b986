use proptest::prelude::*;

use crate::dsn::*;

#[test]
fn values_are_stored_as_written_and_decoded_for_display() {
    let id = EnvelopeId::parse("QQ314159+2B+20x").unwrap();
    assert_eq!((id.to_string(), id.decoded()), ("QQ314159+2B+20x".into(), "QQ314159+ x".into()));
    let original = OriginalRecipient::parse("rfc822;Bob+2Bx@b.example").unwrap();
    assert_eq!(original.to_string(), "rfc822;Bob+2Bx@b.example");
    assert_eq!(original.to_field(), "rfc822; Bob+x@b.example");
    let original = OriginalRecipient::parse("rfc822;SRS0=ab=c@b.example").unwrap();
    assert_eq!(original.to_string(), "rfc822;SRS0+3Dab+3Dc@b.example");
    assert_eq!(original.to_field(), "rfc822; SRS0=ab=c@b.example");
    assert_eq!(EnvelopeId::parse("QUJD=").unwrap().to_string(), "QUJD+3D");
    let original = OriginalRecipient::parse("utf-8;jörg\\x{2B}@b.example").unwrap();
    assert_eq!(original.to_ascii().to_string(), "utf-8;j\\x{F6}rg\\x{2B}@b.example");
    assert_eq!(original.to_field(), "utf-8; jörg\\x{2B}@b.example");
    for text in ["NEVER", "SUCCESS", "SUCCESS,FAILURE,DELAY", "FAILURE,DELAY"] {
        assert_eq!(Notify::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn invalid_values_are_refused() {
    for id in ["", "a b", "a+0", "a+0d+0A", "a+7F", "a+zz", "a+2b", "é", &"x".repeat(101)] {
        assert_eq!(EnvelopeId::parse(id), None, "{id:?}");
    }
    for original in [
        "a@b.example",
        ";a@b.example",
        "rfc822;",
        "rfc 822;a",
        "rfc822;a+0D+0AX-Injected:+20y",
        "rfc822;jörg@b.example",
        "utf-8;a+2Bb",
        "utf-8;a=b",
        "utf-8;a\\b",
        "utf-8;\\x{0D}\\x{0A}",
        "utf-8;\\x{85}",
        "utf-8;\\x{D800}",
        "utf-8;\\x{110000}",
        "utf-8;\\x{}",
        "utf-8;\u{2028}",
        &format!("rfc822;{}", "x".repeat(500)),
        &format!("rfc822;{}", "=".repeat(170)),
    ] {
        assert_eq!(OriginalRecipient::parse(original), None, "{original:?}");
    }
    for notify in ["", "NEVER,SUCCESS", "SUCCESS,SUCCESS", "SUCCESS,", "SOMETIMES", "DELAY FAILURE"]
    {
        assert_eq!(Notify::parse(notify), None, "{notify:?}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_decoded_is_a_line_of_its_own(value in "([a-c;+0-9A-F\\\\x{}é]|={1,170}){0,20}") {
        let value = format!("rfc822;{value}");
        if let Some(original) = OriginalRecipient::parse(&value) {
            prop_assert!(original.to_field().bytes().all(|octet| matches!(octet, b' '..=b'~')));
            prop_assert_eq!(original.to_string(), value.replace('=', "+3D"));
            prop_assert_eq!(OriginalRecipient::parse(&original.to_string()), Some(original));
        }
        if let Some(original) = OriginalRecipient::parse(&value.replace("rfc822", "utf-8")) {
            prop_assert!(!original.to_field().contains(char::is_control));
            let ascii = original.to_ascii();
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(OriginalRecipient::parse(&ascii.to_string()), Some(ascii));
        }
    }
}
