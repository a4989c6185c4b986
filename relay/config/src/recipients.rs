//! Reads the files of `recipients_file`, completely or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::RECIPIENTS_FILE_OCTETS;
use relay_policy::{AcceptedDomains, InvalidRecipientList, RecipientList};

/// Why a `recipients_file` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipientsError {
    /// The file cannot be read, or is not UTF-8.
    #[error("recipients_file: {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than the limit.
    #[error("recipients_file: {path}: the file is larger than {RECIPIENTS_FILE_OCTETS} octets")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is not a recipient.
    #[error("recipients_file: {path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line and the problem.
        source: InvalidRecipientList,
    },
}

/// Reads the files of all these domains.
pub(super) fn read(domains: &mut AcceptedDomains) -> Result<(), RecipientsError> {
    for domain in domains.iter_mut() {
        let Some(file) = &mut domain.recipients_file else { continue };
        let text = text(&file.path)?;
        let list = RecipientList::parse(&text, &domain.pattern)
            .map_err(|source| RecipientsError::Invalid { path: file.path.clone(), source })?;
        file.list = Some(Arc::new(list));
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, RecipientsError> {
    let unreadable = |source| RecipientsError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(RECIPIENTS_FILE_OCTETS + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > RECIPIENTS_FILE_OCTETS {
        return Err(RecipientsError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}
