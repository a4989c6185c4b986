//! How the log ends: with a mark that all is written, or in the midst of things.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::files::{self, LogFile, Series};
use crate::limits::TRACKING_TAIL_OCTETS;
use crate::line::{TrackingLine, What, moment};

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEnding {
    /// When its last whole line was written.
    pub time: String,
    /// What that line says.
    pub kind: EndingKind,
}

/// What the last line of a log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingKind {
    /// A daemon has ended, and all that was told is written.
    Closed,
    /// The log was switched off, and is not written from then on.
    Off,
    /// No such thing: a daemon writes it, or was killed, or the host lost power.
    Open,
}

/// How the log in this folder ends; `None` where it has no files.
///
/// # Errors
/// A file or the folder cannot be read.
pub fn of(directory: &Path) -> io::Result<Option<MessageEnding>> {
    let files = files::list(directory, Series::Messages)?;
    for file in files.iter().rev() {
        if let Some(ending) = of_file(file)? {
            return Ok(Some(ending));
        }
    }
    Ok(None)
}

/// `None` for an empty file.
fn of_file(file: &LogFile) -> io::Result<Option<MessageEnding>> {
    let mut input = File::open(&file.path)?;
    let length = input.metadata()?.len();
    input.seek(SeekFrom::Start(length.saturating_sub(TRACKING_TAIL_OCTETS)))?;
    let mut tail = Vec::new();
    input.take(TRACKING_TAIL_OCTETS).read_to_end(&mut tail)?;
    if tail.is_empty() {
        return Ok(None);
    }
    let is_torn = !tail.ends_with(b"\n");
    let mut pieces = tail.rsplit(|&octet| octet == b'\n').skip(1);
    let last = pieces.find_map(|line| serde_json::from_slice::<TrackingLine>(line).ok());
    let Some(last) = last else {
        let time = moment(UNIX_EPOCH + Duration::from_millis(file.begin));
        return Ok(Some(MessageEnding { time, kind: EndingKind::Open }));
    };
    let kind = match last.what {
        What::Closed { off: false } if !is_torn => EndingKind::Closed,
        What::Closed { off: true } if !is_torn => EndingKind::Off,
        _ => EndingKind::Open,
    };
    Ok(Some(MessageEnding { time: last.time, kind }))
}
