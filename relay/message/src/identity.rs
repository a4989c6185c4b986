//! The identification of a message: its Message-ID and its From, as written, for logs.
//!
//! No decision depends on it: [`super::author`] reads the authors of a message.

use crate::header::HeaderSection;
use crate::limits::IDENTITY_OCTETS;

/// Message-ID and From from the header section, unfolded, [`IDENTITY_OCTETS`] of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The value of the first Message-ID.
    pub message_id: Option<String>,
    /// The values of all From fields; several are separated by `|`.
    pub from: Option<String>,
}

impl Identity {
    /// Reads both.
    pub fn of(section: &HeaderSection) -> Self {
        let values = |name: &'static str, most: usize| {
            let is_meant = move |field: &super::header::Field<'_>| {
                field.name().eq_ignore_ascii_case(name.as_bytes())
            };
            let values = section.fields().filter(is_meant).take(most);
            let values: Vec<_> = values.map(|field| unfolded(field.value())).collect();
            let text = values.join(" | ");
            (!text.is_empty()).then(|| bounded(text, IDENTITY_OCTETS))
        };
        // Two From fields are enough to show that there is more than one.
        Self { message_id: values("Message-ID", 1), from: values("From", 2) }
    }
}

/// One line, with single blanks.
fn unfolded(value: &[u8]) -> String {
    let value = &value[..value.len().min(4 * IDENTITY_OCTETS)];
    let text = String::from_utf8_lossy(value);
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most this many octets of a text, in whole characters; a cut is marked by `…`.
pub fn bounded(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::header::{Collected, HeaderCollector};
    use crate::identity::*;

    fn of(header: &str) -> (Option<String>, Option<String>) {
        match HeaderCollector::new(10_000).push(format!("{header}\r\n\r\n").as_bytes()) {
            Collected::Complete { section, .. } => {
                let Identity { message_id, from } = Identity::of(&section);
                (message_id, from)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_are_read_unfolded_and_bounded() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("Subject: x"), (None, None));
        assert_eq!(
            of("MESSAGE-ID:\r\n <1@a.example>\r\nFrom: Ann\r\n\t<a@b.example>"),
            (some("<1@a.example>"), some("Ann <a@b.example>"))
        );
        assert_eq!(
            of("From: a@b.example\r\nFrom: c@d.example").1,
            some("a@b.example | c@d.example")
        );
        assert_eq!(of("From: \r\nMessage-ID:").1, None);
        let long = of(&format!("From: {}", "ä".repeat(1000))).1.unwrap();
        assert!(long.len() <= IDENTITY_OCTETS + '…'.len_utf8() && long.ends_with('…'));
    }
}
