//! Delivery into a Maildir: written to tmp, synced, renamed into new, directory synced.
//!
//! A name is used only once: it contains the queue id, which is never assigned twice, the index of
//! the recipient, and the time. So a crash between the rename and its record leads to a second
//! copy, and never to a damaged one.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::reply::Enhanced;
use relay_queue::{Entry, MessageReader};
use tokio::fs;
use tokio::io::{AsyncWriteExt, BufWriter};

/// Writes one copy for one recipient.
pub(super) async fn deliver(
    directory: &Path,
    entry: &Entry,
    place: usize,
    message: MessageReader,
) -> Outcome {
    let hop = directory.display().to_string();
    match write(directory, entry, place, message).await {
        Ok(name) => {
            let text = format!("written to new/{name}");
            // No later system will report the delivery.
            Outcome::Relayed(OutcomeReason::local(Some(&hop), Enhanced(2, 0, 0), text))
        }
        Err(error) => {
            // X.3.1 of RFC 3463: mail system full; X.3.0: other errors of the system.
            let is_full =
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let status = Enhanced(4, 3, u16::from(is_full));
            let text = format!("cannot write to the Maildir: {error}");
            Outcome::Deferred(OutcomeReason::local(Some(&hop), status, text))
        }
    }
}

async fn write(
    directory: &Path,
    entry: &Entry,
    place: usize,
    mut message: MessageReader,
) -> io::Result<String> {
    prepare(directory).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("{}.M{}_{}_{place}.relay", now.as_secs(), now.subsec_micros(), entry.id);
    let temporary = Temporary(directory.join("tmp").join(&name));
    let mut new_file = fs::OpenOptions::new();
    let file = new_file.write(true).create_new(true).mode(0o600).open(&temporary.0).await?;
    let mut file = BufWriter::new(file);
    let recipient = entry.recipients.get(place).map(|recipient| recipient.path.to_string());
    let head = format!(
        "Return-Path: <{}>\nDelivered-To: {}\n",
        entry.sender,
        recipient.unwrap_or_default()
    );
    file.write_all(head.as_bytes()).await?;
    let mut lines = Lines { keeps_body: entry.binary, ..Lines::default() };
    while let Some(piece) = message.next().await.map_err(io::Error::other)? {
        file.write_all(&lines.take(&piece)).await?;
    }
    file.write_all(lines.rest()).await?;
    file.flush().await?;
    file.into_inner().sync_all().await?;
    fs::rename(&temporary.0, directory.join("new").join(&name)).await?;
    sync(&directory.join("new")).await?;
    Ok(name)
}

/// Creates the missing directories of a Maildir.
async fn prepare(directory: &Path) -> io::Result<()> {
    if fs::try_exists(directory.join("new")).await? {
        return Ok(());
    }
    let directory = directory.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        // The directory that is checked is created last.
        ["tmp", "cur", "new"].iter().try_for_each(|name| builder.create(directory.join(name)))?;
        for path in [Some(directory.as_path()), directory.parent()].into_iter().flatten() {
            std::fs::File::open(path)?.sync_all()?;
        }
        Ok(())
    });
    made.await.map_err(io::Error::other)?
}

async fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory).await?.sync_all().await
}

/// Lines of a Maildir end as on the host: CRLF becomes LF, and every other octet stays. A binary
/// body has no lines (RFC 3030 section 3), and is not changed.
#[derive(Debug, Default)]
struct Lines {
    /// The last octet was a CR.
    has_cr: bool,
    /// The message is binary: its lines end with its header section.
    keeps_body: bool,
    /// Octets of the line so far.
    line: usize,
    /// The empty line after the header section of such a message has been read.
    in_body: bool,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut taken = Vec::with_capacity(piece.len() + 1);
        if !self.keeps_body {
            self.convert(piece, &mut taken);
            return taken;
        }
        let mut rest = piece;
        while !self.in_body && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (part, after) = rest.split_at(end);
            let before = taken.len();
            self.convert(part, &mut taken);
            self.line += taken.len() - before;
            if part.ends_with(b"\n") {
                self.in_body = self.line == 1;
                self.line = 0;
            }
            rest = after;
        }
        taken.extend_from_slice(rest);
        taken
    }

    fn convert(&mut self, piece: &[u8], taken: &mut Vec<u8>) {
        for part in piece.split_inclusive(|&octet| octet == b'\r') {
            if std::mem::take(&mut self.has_cr) && !part.starts_with(b"\n") {
                taken.push(b'\r');
            }
            let without = part.strip_suffix(b"\r");
            self.has_cr = without.is_some();
            taken.extend_from_slice(without.unwrap_or(part));
        }
    }

    fn rest(&self) -> &'static [u8] {
        if self.has_cr { b"\r" } else { b"" }
    }
}

/// A file in tmp. If it is not renamed, it is removed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::maildir::*;

    #[test]
    fn a_binary_body_does_not_change() {
        for (message, expected) in [
            (
                "A: b\r\n c\r\n\r\n\u{1}PNG\r\n\u{1a}\n\0\r\n",
                "A: b\n c\n\n\u{1}PNG\r\n\u{1a}\n\0\r\n",
            ),
            ("A: b\r\n\r\n\r\n\r\r\n\r", "A: b\n\n\r\n\r\r\n\r"),
            ("\r\n\r\n", "\n\r\n"),
            ("A: b\r\n", "A: b\n"),
        ] {
            for size in 1..=message.len() {
                let mut lines = Lines { keeps_body: true, ..Lines::default() };
                let mut taken = Vec::new();
                for piece in message.as_bytes().chunks(size) {
                    taken.extend(lines.take(piece));
                }
                taken.extend(lines.rest());
                assert_eq!(taken, expected.as_bytes(), "{message:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn only_the_ends_of_lines_change() {
        for (message, expected) in [
            ("a\r\n\r\nb\r\n", "a\n\nb\n"),
            ("a\rb\r\r\nc\n", "a\rb\r\nc\n"),
            ("\r", "\r"),
            ("", ""),
        ] {
            for size in 1..=message.len().max(1) {
                let mut lines = Lines::default();
                let mut taken = Vec::new();
                for piece in message.as_bytes().chunks(size) {
                    taken.extend(lines.take(piece));
                }
                taken.extend(lines.rest());
                assert_eq!(taken, expected.as_bytes(), "{message:?} in pieces of {size}");
            }
        }
    }
}
