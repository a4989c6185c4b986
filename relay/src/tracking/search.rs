//! What the log knows of one message. Files are read as they are, whether or not the daemon runs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::Finder;

use super::files::{self, LogFile};
use super::line::{Line, What, moment};
use crate::limits::{TRACKING_LINE_OCTETS, TRACKING_READ_OCTETS};
use crate::queue::QueueId;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The lines about the message, oldest first; among them those about gaps of the log in its time.
    pub lines: Vec<Line>,
    /// When the log begins and when it was last written to; `None` for a log without files.
    pub span: Option<(String, String)>,
}

/// Everything that the log in this folder has about a message.
///
/// # Errors
/// A file or the folder cannot be read.
pub fn find(directory: &Path, id: QueueId) -> io::Result<Found> {
    let files = files::list(directory)?;
    let name = id.to_string();
    let finders = [Finder::new(name.as_str()), Finder::new("\"event\":\"LOST\"")];
    let mut lines: Vec<Line> = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let end = files.get(place + 1).map(|next| next.begin);
        if end.is_some_and(|end| end < id.milliseconds()) {
            continue;
        }
        search(file, &finders, |octets| {
            // What is no line was torn by the end of a daemon.
            let Ok(line) = serde_json::from_slice::<Line>(octets) else { return };
            if line.is_about(id) || matches!(line.what, What::Lost { .. }) {
                lines.push(line);
            }
        })?;
        let has = |is: fn(&Line, QueueId) -> bool| lines.iter().any(|line| is(line, id));
        if has(Line::is_beginning_of) && has(Line::is_end_of) {
            break;
        }
    }
    Ok(Found { lines: in_order(lines, id), span: span(&files) })
}

/// By time, the beginning first: delivery may be quicker than the session that hears of the commit.
/// Of gaps, those that can be about the message.
fn in_order(mut lines: Vec<Line>, id: QueueId) -> Vec<Line> {
    let time_of = |is: fn(&Line, QueueId) -> bool| {
        lines.iter().find(|line| is(line, id)).map(|line| line.time.clone())
    };
    let (beginning, end) = (time_of(Line::is_beginning_of), time_of(Line::is_end_of));
    let is_known = lines.iter().any(|line| line.is_about(id));
    lines.retain(|line| match &line.what {
        What::Lost { since, .. } => {
            is_known
                && beginning.as_ref().is_none_or(|beginning| line.time >= *beginning)
                && end.as_ref().is_none_or(|end| since <= end)
        }
        _ => true,
    });
    lines.sort_by(|one, other| {
        let key = |line: &Line| (!line.is_beginning_of(id), line.is_end_of(id));
        key(one).cmp(&key(other)).then_with(|| one.time.cmp(&other.time))
    });
    lines
}

fn span(files: &[LogFile]) -> Option<(String, String)> {
    let first = files.first()?;
    let begin = std::time::UNIX_EPOCH + std::time::Duration::from_millis(first.begin);
    let last = files.iter().map(|file| file.changed).max()?;
    Some((moment(begin), moment(last)))
}

fn search(file: &LogFile, finders: &[Finder<'_>], found: impl FnMut(&[u8])) -> io::Result<()> {
    match File::open(&file.path) {
        Ok(file) => scan(file, finders, found),
        // The daemon has removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", file.path.display())))
        }
    }
}

/// Gives every whole line that one of these texts is in. A line without an end is none.
fn scan(
    mut input: impl Read,
    finders: &[Finder<'_>],
    mut found: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut octets = Vec::with_capacity(2 * TRACKING_READ_OCTETS);
    // Within a line that is too long to be one of ours.
    let mut passes_over = false;
    loop {
        let read = input.by_ref().take(TRACKING_READ_OCTETS as u64).read_to_end(&mut octets)?;
        if read == 0 {
            return Ok(());
        }
        let Some(end) = memchr::memrchr(b'\n', &octets) else {
            if octets.len() > TRACKING_LINE_OCTETS {
                octets.clear();
                passes_over = true;
            }
            continue;
        };
        let start = match std::mem::take(&mut passes_over) {
            true => memchr::memchr(b'\n', &octets).map_or(end, |first| first + 1),
            false => 0,
        };
        // Empty where the line that was passed over is the only one that ends here.
        lines_with(octets.get(start..=end).unwrap_or_default(), finders, &mut found);
        octets.drain(..=end);
    }
}

/// Gives the lines of `lines` that one of these texts is in, each once, in order.
fn lines_with(lines: &[u8], finders: &[Finder<'_>], found: &mut impl FnMut(&[u8])) {
    let mut at = 0;
    while at < lines.len() {
        let rest = &lines[at..];
        let Some(hit) = finders.iter().filter_map(|finder| finder.find(rest)).min() else { return };
        let start = memchr::memrchr(b'\n', &rest[..hit]).map_or(0, |end| end + 1);
        let end = memchr::memchr(b'\n', &rest[hit..]).map_or(rest.len(), |end| hit + end);
        found(&rest[start..end]);
        at += end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that hold `x`, read with readers that give few octets at a time.
    fn scanned(text: &str) -> Vec<String> {
        let finders = [Finder::new("x"), Finder::new("lost")];
        let mut lines = Vec::new();
        scan(text.as_bytes(), &finders, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned())
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_are_whole_and_given_once() {
        assert_eq!(scanned(""), [""; 0]);
        assert_eq!(scanned("a\nxx x\nb\nlost x\nc\nx"), ["xx x", "lost x"], "the last one is torn");
        assert_eq!(scanned("x\n\nx\n"), ["x", "x"]);
    }

    #[test]
    fn lines_are_found_wherever_reads_end() {
        let filler = "y".repeat(TRACKING_READ_OCTETS - 2);
        assert_eq!(scanned(&format!("{filler}\nx1\nx2\n")), ["x1", "x2"]);
        assert_eq!(scanned(&format!("{filler}\n\nx1\nx2\n")), ["x1", "x2"]);
        let endless = "x".repeat(TRACKING_LINE_OCTETS + TRACKING_READ_OCTETS + 1);
        assert_eq!(scanned(&format!("{endless}\nx1\n{endless}")), ["x1"]);
        assert_eq!(scanned(&format!("{endless}\n")), [""; 0]);
    }
}
