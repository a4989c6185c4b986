//! How does the log end: with an end mark, or without?

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
    /// The time of its last complete line.
    pub time: String,
    /// The meaning of that line.
    pub kind: EndingKind,
}

/// The meaning of the last line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingKind {
    /// The daemon has ended and has written all events.
    Closed,
    /// The log was switched off and is not written from then on.
    Off,
    /// No end mark: a daemon writes the log, or was killed, or the host lost power.
    Open,
}

/// The end of the log in this directory; `None` if the log has no files.
///
/// # Errors
/// A file or the directory cannot be read.
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
