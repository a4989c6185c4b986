//! Where does a comment of a field end (RFC 5322 section 3.2.2)?
//!
//! Comments nest, and a backslash takes its meaning from the octet behind it. White space and
//! comments may stand between most words of a field. Which comments a field may hold is decided by
//! the readers of that field.

/// The octets of the comment at the beginning, with its parentheses. `None`: no comment begins here,
/// or the comment has no end.
pub(crate) fn octets(value: &[u8]) -> Option<usize> {
    let (mut depth, mut read) = (0_usize, 0);
    loop {
        match value.get(read)? {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b'\\' if depth > 0 => read += 1,
            _ => {}
        }
        read += 1;
        if depth == 0 {
            return value.starts_with(b"(").then_some(read);
        }
    }
}

/// What follows white space and comments. `None`: a comment has no end.
pub(crate) fn skip_with_blanks(mut value: &[u8]) -> Option<&[u8]> {
    loop {
        let blanks = value.iter().take_while(|octet| b" \t\r\n".contains(octet)).count();
        value = &value[blanks..];
        if !value.starts_with(b"(") {
            return Some(value);
        }
        value = &value[octets(value)?..];
    }
}

#[cfg(test)]
mod tests {
    use crate::comment::*;

    #[test]
    fn comments_nest_and_a_backslash_quotes() {
        for (value, expected) in [
            ("(a)b", Some(3)),
            ("()", Some(2)),
            ("(a (b) c)(d)", Some(9)),
            ("(a \\) b)", Some(8)),
            ("(a \\( b)", Some(8)),
            ("(\"a)", Some(4)),
            ("(a\r\n b)", Some(7)),
            ("(a", None),
            ("(a (b)", None),
            ("(a\\", None),
            ("(a\\)", None),
            ("a(b)", None),
            (")", None),
            ("", None),
        ] {
            assert_eq!(octets(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn blanks_and_comments_are_skipped_together() {
        for (value, expected) in
            [(" (a)\r\n\t(b (c)) d", Some("d")), ("d", Some("d")), ("", Some("")), (" (a", None)]
        {
            assert_eq!(
                skip_with_blanks(value.as_bytes()),
                expected.map(str::as_bytes),
                "{value:?}"
            );
        }
    }
}
