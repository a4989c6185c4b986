//! The lines about one message, or about all messages that match. Files are read directly, with or
//! without a running daemon.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::candidates::Candidates;
use crate::files::{self, LogFile, Series};
use crate::limits::{TRACE_MESSAGES, TRACE_REFUSALS, TRACKING_LINE_OCTETS, TRACKING_READ_OCTETS};
use crate::line::{TrackingLine, What, moment};
use crate::query::{Criteria, QueryMatch};
use memchr::memmem::Finder;
use relay_mail::queue_id::QueueId;

/// The result of a search for one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchResult {
    /// The lines about the message, oldest first, with gaps of the log in the time of the message.
    pub lines: Vec<TrackingLine>,
    /// Gaps of the log in all files that could have lines about the message.
    pub gaps: Vec<TrackingLine>,
    /// The begin and the last write of the log; `None` for a log without files.
    pub span: Option<(String, String)>,
}

/// All lines of the log in this directory about a message.
///
/// # Errors
/// A file or the directory cannot be read.
pub fn find(directory: &Path, id: QueueId) -> io::Result<SearchResult> {
    let files = files::list(directory, Series::Messages)?;
    let name = id.to_string();
    let finders = [Finder::new(name.as_str()), Finder::new("\"event\":\"LOST\"")];
    let (mut lines, mut gaps): (Vec<TrackingLine>, Vec<TrackingLine>) = Default::default();
    for (place, file) in files.iter().enumerate() {
        let end = files.get(place + 1).map(|next| next.begin);
        if end.is_some_and(|end| end < id.milliseconds()) {
            continue;
        }
        search(file, &finders, |octets| {
            // A line that cannot be parsed was cut by the end of a daemon.
            let Ok(line) = serde_json::from_slice::<TrackingLine>(octets) else { return };
            match line.what {
                // This gap has no event of an accepted message.
                What::Lost { refusals: true, .. } => {}
                What::Lost { .. } => gaps.push(line),
                _ if line.is_about(id) => lines.push(line),
                _ => {}
            }
        })?;
        let has = |is: fn(&TrackingLine, QueueId) -> bool| lines.iter().any(|line| is(line, id));
        if has(TrackingLine::is_beginning_of) && has(TrackingLine::is_end_of) {
            break;
        }
    }
    if !lines.is_empty() {
        lines.extend(gaps.iter().cloned());
    }
    Ok(SearchResult { lines: in_order(lines, id), gaps, span: span(&files) })
}

/// Sorts by time, with the beginning first, because delivery may be faster than the session that
/// learns of the commit. Removes gaps that cannot be about the message.
fn in_order(mut lines: Vec<TrackingLine>, id: QueueId) -> Vec<TrackingLine> {
    let time_of = |is: fn(&TrackingLine, QueueId) -> bool| {
        lines.iter().find(|line| is(line, id)).map(|line| line.time.clone())
    };
    let (beginning, end) =
        (time_of(TrackingLine::is_beginning_of), time_of(TrackingLine::is_end_of));
    lines.retain(|line| match &line.what {
        What::Lost { since, .. } => {
            beginning.as_ref().is_none_or(|beginning| line.time >= *beginning)
                && end.as_ref().is_none_or(|end| since <= end)
        }
        _ => true,
    });
    lines.sort_by(|one, other| {
        let key = |line: &TrackingLine| (!line.is_beginning_of(id), line.is_end_of(id));
        key(one).cmp(&key(other)).then_with(|| one.time.cmp(&other.time))
    });
    lines
}

/// The messages and refusals that match.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// Each message with its lines, oldest first; the last [`TRACE_MESSAGES`] messages.
    pub messages: Vec<(QueueId, Vec<TrackingLine>)>,
    /// The number of older messages that match.
    pub messages_left_out: u64,
    /// The refusals that match, oldest first; the last [`TRACE_REFUSALS`].
    pub refusals: Newest,
    /// The same for refusals that happened before sender or recipient were known.
    pub unknown: Newest,
    /// Refusals in that time without a record of their own.
    pub suppressed: u64,
    /// Gaps of the log in that time.
    pub gaps: Vec<TrackingLine>,
    /// The begin and the last write of the log of messages; `None` without files.
    pub span: Option<(String, String)>,
    /// The begin of the log of refusals.
    pub refusals_since: Option<String>,
}

/// The newest of many lines, and the number of the others.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    /// Oldest first.
    pub lines: VecDeque<TrackingLine>,
    /// The number of lines beyond the limit.
    pub left_out: u64,
}

impl Newest {
    fn push(&mut self, line: TrackingLine, most: usize) {
        self.lines.push_back(line);
        if self.lines.len() > most {
            self.lines.pop_front();
            self.left_out += 1;
        }
    }
}

/// All lines of this log that match.
///
/// # Errors
/// A file or the directory cannot be read.
pub fn find_matches(directory: &Path, criteria: &Criteria) -> io::Result<Matches> {
    let messages = files::list(directory, Series::Messages)?;
    let refusals = files::list(directory, Series::Refusals)?;
    let mut found = Matches { span: span(&messages), ..Matches::default() };
    found.refusals_since = span(&refusals).map(|(begin, _)| begin);
    let mut candidates = Candidates::default();
    let events = ["RECEIVE", "SEND", "DELIVER", "DEFER", "FAIL", "DSN", "LOST"];
    let finders = events.map(named);
    for file in messages.iter().filter(|file| is_in_time(file, criteria)) {
        search(file, &finders, |octets| {
            let Ok(line) = serde_json::from_slice::<TrackingLine>(octets) else { return };
            if matches!(line.what, What::Lost { .. }) {
                if criteria.selects_gap(&line) {
                    found.gaps.push(line);
                }
            } else {
                candidates.add(criteria, line);
            }
        })?;
    }
    let finders = ["REFUSE", "ABORT", "SUPPRESSED"].map(named);
    for file in refusals.iter().filter(|file| is_in_time(file, criteria)) {
        search(file, &finders, |octets| {
            let Ok(line) = serde_json::from_slice::<TrackingLine>(octets) else { return };
            if let What::Suppressed { count, .. } = line.what {
                found.suppressed += if criteria.selects_time(&line.time) { count } else { 0 };
                return;
            }
            match criteria.matches(&line) {
                QueryMatch::Yes => found.refusals.push(line, TRACE_REFUSALS),
                QueryMatch::Unknown => found.unknown.push(line, TRACE_REFUSALS),
                QueryMatch::No => {}
            }
        })?;
    }
    let Candidates { begun, named, origins, .. } = &mut candidates;
    let ids: Vec<_> = begun.iter().chain(named.iter()).copied().collect();
    let mut histories = histories(&messages, &ids, std::mem::take(origins))?;
    // The beginning of a message that a later line named is known only now.
    histories.retain(|(id, lines)| {
        let mut beginnings = lines.iter().filter(|line| line.is_beginning_of(*id));
        !candidates.named.contains(id) || beginnings.all(|line| criteria.selects_message(line))
    });
    histories.sort_by_key(|(id, _)| *id);
    let surplus = histories.len().saturating_sub(TRACE_MESSAGES);
    found.messages_left_out = candidates.left_out + surplus as u64;
    found.messages = histories.split_off(surplus);
    Ok(found)
}

/// All lines about these messages.
fn histories(
    files: &[LogFile],
    ids: &[QueueId],
    mut origins: HashMap<QueueId, TrackingLine>,
) -> io::Result<Vec<(QueueId, Vec<TrackingLine>)>> {
    let Some(first) = ids.iter().min() else { return Ok(Vec::new()) };
    let mut lines: HashMap<QueueId, Vec<TrackingLine>> =
        ids.iter().map(|&id| (id, origins.remove(&id).into_iter().collect())).collect();
    let finder = [Finder::new(AFTER_TIME)];
    for (place, file) in files.iter().enumerate() {
        let end = files.get(place + 1).map(|next| next.begin);
        if end.is_some_and(|end| end < first.milliseconds()) {
            continue;
        }
        search(file, &finder, |octets| {
            // The id follows the time, so other lines need not be parsed.
            let Some(rest) = octets.get(TIME_OCTETS + AFTER_TIME.len()..) else { return };
            let id = rest.get(..QueueId::TEXT_OCTETS).and_then(|id| std::str::from_utf8(id).ok());
            let Some(id) = id.and_then(|id| id.parse().ok()) else { return };
            let Some(of_message) = lines.get_mut(&id) else { return };
            if let Ok(line) = serde_json::from_slice(octets) {
                of_message.push(line);
            }
        })?;
    }
    let history = |&id| (id, in_order(lines.remove(&id).unwrap_or_default(), id));
    Ok(ids.iter().map(history).collect())
}

/// The text between the time and the id of a line.
const AFTER_TIME: &str = "\",\"id\":\"";
/// Octets before this text.
const TIME_OCTETS: usize = "{\"time\":\"2026-11-24T18:15:42.123456Z".len();

fn named(event: &str) -> Finder<'static> {
    Finder::new(&format!("\"event\":\"{event}\"")).into_owned()
}

/// Can a file have lines of the searched time? The time of the last write is its end.
fn is_in_time(file: &LogFile, criteria: &Criteria) -> bool {
    criteria.since.as_ref().is_none_or(|since| moment(file.changed) >= *since)
}

fn span(files: &[LogFile]) -> Option<(String, String)> {
    let first = files.first()?;
    // The name can be ahead of the clock, as queue ids can.
    let named = || moment(std::time::UNIX_EPOCH + std::time::Duration::from_millis(first.begin));
    let begin = first_time(&first.path).unwrap_or_else(named);
    let last = files.iter().map(|file| file.changed).max()?;
    Some((begin, moment(last)))
}

/// The time of the first line of a file.
fn first_time(path: &Path) -> Option<String> {
    let mut beginning = [0; TIME_OCTETS];
    File::open(path).ok()?.read_exact(&mut beginning).ok()?;
    let time = std::str::from_utf8(&beginning).ok()?.strip_prefix("{\"time\":\"")?;
    time.starts_with(|first: char| first.is_ascii_digit()).then(|| time.to_owned())
}

fn search(file: &LogFile, finders: &[Finder<'_>], found: impl FnMut(&[u8])) -> io::Result<()> {
    match File::open(&file.path) {
        Ok(file) => scan(file, finders, found),
        // The daemon has removed the file in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", file.path.display())))
        }
    }
}

/// Passes every complete line with one of these texts. A line without an end is incomplete.
fn scan(
    mut input: impl Read,
    finders: &[Finder<'_>],
    mut found: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut octets = Vec::with_capacity(2 * TRACKING_READ_OCTETS);
    // True within a line that is too long.
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
        // Empty if the skipped line is the only one that ends here.
        lines_with(octets.get(start..=end).unwrap_or_default(), finders, &mut found);
        octets.drain(..=end);
    }
}

/// Passes each line of `lines` with one of these texts once, in order.
fn lines_with(lines: &[u8], finders: &[Finder<'_>], found: &mut impl FnMut(&[u8])) {
    // The next position of each text. A rare text is not searched again after each line.
    let mut hits: Vec<_> = finders.iter().map(|finder| finder.find(lines)).collect();
    let mut at = 0;
    while let Some(hit) = hits.iter().flatten().copied().min() {
        let start = memchr::memrchr(b'\n', &lines[at..hit]).map_or(at, |end| at + end + 1);
        let end = memchr::memchr(b'\n', &lines[hit..]).map_or(lines.len(), |end| hit + end);
        found(&lines[start..end]);
        at = (end + 1).min(lines.len());
        for (hit, finder) in hits.iter_mut().zip(finders) {
            if hit.is_some_and(|hit| hit < at) {
                *hit = finder.find(&lines[at..]).map(|hit| at + hit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::search::*;

    /// The lines with an `x`, with readers that return few octets at a time.
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
    fn each_complete_line_is_passed_once() {
        assert_eq!(scanned(""), [""; 0]);
        assert_eq!(scanned("a\nxx x\nb\nlost x\nc\nx"), ["xx x", "lost x"], "the last one is torn");
        assert_eq!(scanned("x\n\nx\n"), ["x", "x"]);
        assert_eq!(scanned("x\nlost\nx lost\na\nlost\n"), ["x", "lost", "x lost", "lost"]);
    }

    #[test]
    fn lines_are_found_across_reads() {
        let filler = "y".repeat(TRACKING_READ_OCTETS - 2);
        assert_eq!(scanned(&format!("{filler}\nx1\nx2\n")), ["x1", "x2"]);
        assert_eq!(scanned(&format!("{filler}\n\nx1\nx2\n")), ["x1", "x2"]);
        let endless = "x".repeat(TRACKING_LINE_OCTETS + TRACKING_READ_OCTETS + 1);
        assert_eq!(scanned(&format!("{endless}\nx1\n{endless}")), ["x1"]);
        assert_eq!(scanned(&format!("{endless}\n")), [""; 0]);
    }
}
