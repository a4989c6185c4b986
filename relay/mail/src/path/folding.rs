//! Text in the form to which a server may fold it before it compares or parses it.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// In lower case, in NFKC of Unicode, as for file names and accounts, and without invisible
/// characters.
pub fn folded(text: &str) -> Cow<'_, str> {
    let is_small = |octet: u8| octet.is_ascii() && !octet.is_ascii_uppercase();
    if text.bytes().all(is_small) {
        return Cow::Borrowed(text);
    }
    let seen = text.chars().filter(|character| !is_ignorable(*character));
    Cow::Owned(seen.nfkc().collect::<String>().to_lowercase())
}

/// Default_Ignorable_Code_Point of Unicode 16, except the highest planes.
const fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_or_read_alike_fold_to_the_same() {
        for (text, expected) in [
            ("a@b", "a@b"),
            ("A\u{ff20}B", "a@b"),
            ("IMCEA\u{17f}MTP", "imceasmtp"),
            ("\u{ff29}MC\u{ad}EA\u{200b}SMTP\u{ff0d}", "imceasmtp-"),
            ("f\u{ff1a}\u{ff1a}b", "f::b"),
            ("jo\u{308}rg", "j\u{f6}rg"),
        ] {
            assert_eq!(folded(text), expected, "{text}");
        }
    }
}
