//! The record of all changes in the header section of a message, for logs and message tracking.
//! Every removal and every change of a received field has an entry here.

use crate::limits::{RECORDED_FIELDS, RECORDED_NAME_OCTETS};

/// The changes in one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of removed fields, safe to print, each with the number of fields.
    removed: Vec<(String, u32)>,
    /// Removed fields whose names there was no room for.
    removed_unnamed: u32,
    /// Lines of an mbox file that became fields.
    mbox_lines: u32,
    /// An empty line was added after the header section.
    separated: bool,
}

impl Changes {
    /// A field of this name was removed.
    pub fn removed(&mut self, name: &[u8]) {
        let is_it = |(removed, _): &&mut (String, u32)| removed.eq_ignore_ascii_case(&shown(name));
        if let Some((_, count)) = self.removed.iter_mut().find(is_it) {
            *count += 1;
        } else if self.removed.len() < RECORDED_FIELDS {
            self.removed.push((shown(name), 1));
        } else {
            self.removed_unnamed += 1;
        }
    }

    /// A line of an mbox file was made a field.
    pub fn renamed_mbox_line(&mut self) {
        self.mbox_lines += 1;
    }

    /// Records that an empty line was added after the header section.
    pub fn put_separator(&mut self) {
        self.separated = true;
    }

    /// Nothing was changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fields that were removed.
    pub fn removed_fields(&self) -> u32 {
        self.removed.iter().map(|(_, count)| count).sum::<u32>() + self.removed_unnamed
    }

    /// A short text for each kind of change.
    pub fn texts(&self) -> Vec<String> {
        let times = |count: u32| match count {
            1 => String::new(),
            count => format!(" ({count} fields)"),
        };
        let mut texts: Vec<_> = self
            .removed
            .iter()
            .map(|(name, count)| format!("removed {name}{}", times(*count)))
            .collect();
        if self.removed_unnamed > 0 {
            texts.push(format!("removed {} further fields", self.removed_unnamed));
        }
        if self.mbox_lines > 0 {
            texts.push(format!("renamed {} mbox line to X-Mailbox-Line", self.mbox_lines));
        }
        if self.separated {
            texts.push("added an empty line after the header section".to_owned());
        }
        texts
    }

    /// Octets of its allocations, without its own size.
    pub fn octets(&self) -> usize {
        self.removed.iter().map(|(name, _)| size_of::<(String, u32)>() + name.capacity()).sum()
    }
}

/// A name as a log can show it.
fn shown(name: &[u8]) -> String {
    let end = name.len().min(RECORDED_NAME_OCTETS);
    name[..end].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use crate::changes::*;

    #[test]
    fn names_are_counted_bounded_and_safe_to_print() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        changes.removed(b"Received");
        changes.removed(b"RECEIVED");
        changes.removed(b"From\x0b\x1b[2J");
        changes.removed(&[b'n'; 2 * RECORDED_NAME_OCTETS]);
        for number in 0..2 * RECORDED_FIELDS {
            changes.removed(format!("X-{number}").as_bytes());
        }
        assert_eq!(changes.removed_fields() as usize, 4 + 2 * RECORDED_FIELDS);
        changes.renamed_mbox_line();
        changes.put_separator();
        let texts = changes.texts();
        assert_eq!(texts.len(), RECORDED_FIELDS + 3);
        assert_eq!(texts[..2], ["removed Received (2 fields)", "removed From\\x0b\\x1b[2J"]);
        assert!(texts[2].ends_with(&format!(" {}", "n".repeat(RECORDED_NAME_OCTETS))));
        assert_eq!(
            texts[RECORDED_FIELDS],
            format!("removed {} further fields", RECORDED_FIELDS + 3)
        );
    }
}
