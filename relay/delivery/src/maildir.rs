//! Delivery into a Maildir: written to tmp, synced, renamed into new, directory synced.
//!
//! A name is used only once: it contains the queue id, which is never assigned twice, the index of
//! the recipient, and the time. So a crash between the rename and its record leads to a second
//! copy, and never to a damaged one.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use relay_mail::line_end::{LineMark, LinePosition, LineScanner};
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::reply::Enhanced;
use relay_message::section::{Part, SectionReader};
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
    let mut lines = Lines::of(entry);
    while let Some(piece) = message.next().await.map_err(io::Error::other)? {
        file.write_all(&lines.take(piece)).await?;
    }
    file.write_all(&lines.finish()).await?;
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
    scanner: LineScanner,
    /// The message is binary: its lines end with the empty line behind its header section.
    section: Option<SectionReader>,
    /// The empty line of a binary message has been written.
    in_body: bool,
}

impl Lines {
    fn of(entry: &Entry) -> Self {
        Self { section: entry.binary.then(SectionReader::default), ..Self::default() }
    }

    fn take(&mut self, piece: Bytes) -> Vec<u8> {
        let mut taken = Vec::with_capacity(piece.len() + 1);
        let Some(mut section) = self.section.take() else {
            self.convert(&piece, &mut taken);
            return taken;
        };
        let mut rest = piece;
        while let Some(part) = section.next(&mut rest) {
            self.take_part(part, &mut taken);
        }
        self.section = Some(section);
        taken
    }

    /// The rest after the message has ended.
    fn finish(mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(part) = self.section.as_mut().and_then(SectionReader::finish) {
            self.take_part(part, &mut taken);
        }
        if self.scanner.finish().is_some() {
            taken.push(b'\r');
        }
        taken
    }

    fn take_part(&mut self, part: Part, taken: &mut Vec<u8>) {
        match part {
            Part::MboxLines(octets) | Part::Name(octets) | Part::Value(octets) => {
                self.convert(&octets, taken);
            }
            Part::End { .. } => {}
            Part::Body(octets) if self.in_body => taken.extend_from_slice(&octets),
            Part::Body(octets) => {
                self.in_body = true;
                // The section reader hands out an empty line as a whole.
                let body = octets.strip_prefix(b"\r\n").inspect(|_| taken.push(b'\n'));
                taken.extend_from_slice(body.unwrap_or(&octets));
            }
        }
    }

    /// Writes octets with their line ends converted. A CR at their end waits for the next octet.
    fn convert(&mut self, octets: &[u8], taken: &mut Vec<u8>) {
        let mut rest = octets;
        while !rest.is_empty() {
            let cr_waits = self.scanner.position() == LinePosition::AfterCr;
            let found = self.scanner.next(rest);
            let (part, after) = rest.split_at(found.map_or(rest.len(), |(read, _)| read));
            if found.is_some_and(|(_, mark)| mark == LineMark::End) {
                let line = part.strip_suffix(b"\n").unwrap_or(part);
                taken.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                taken.push(b'\n');
            } else {
                if cr_waits {
                    taken.push(b'\r');
                }
                let is_last = self.scanner.position() == LinePosition::AfterCr;
                let waiting = if is_last { part.strip_suffix(b"\r") } else { None };
                taken.extend_from_slice(waiting.unwrap_or(part));
            }
            rest = after;
        }
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
                let section = Some(SectionReader::default());
                let mut lines = Lines { section, ..Lines::default() };
                let mut taken = Vec::new();
                for piece in message.as_bytes().chunks(size) {
                    taken.extend(lines.take(Bytes::copy_from_slice(piece)));
                }
                taken.extend(lines.finish());
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
                    taken.extend(lines.take(Bytes::copy_from_slice(piece)));
                }
                taken.extend(lines.finish());
                assert_eq!(taken, expected.as_bytes(), "{message:?} in pieces of {size}");
            }
        }
    }
}
