//! Lines about the log itself: its begin, its end mark, and its gaps. A search without a result
//! learns from them which events may be missing.

use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use crate::ending::{self, EndingKind};
use crate::files::Series;
use crate::line::{TrackingLine, What, moment};
use crate::writer::disk::Open;
use crate::writer::{TrackingWriter, encoded};
use tracing::warn;

/// Why lines are missing after a log without an end mark.
const KILLED: &str = "the daemon was killed or the host lost power: its last lines may be missing";
const OFF: &str = "the log was switched off";
const REMOVED: &str = "files of the log were removed while it was written";
const NO_ROOM: &str = "old refusals were removed to make room for new ones";

/// Why a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogEnd {
    DaemonEnds,
    /// While the daemon runs.
    SwitchedOff,
}

impl TrackingWriter {
    /// Records that the log begins at this time, or continues after another daemon. An earlier gap
    /// is recorded first.
    pub(super) fn begin_log(&mut self, at: SystemTime) {
        // If the log cannot be read now, it cannot be written either, and that is reported.
        let before = ending::of(&self.settings.path).ok().flatten();
        if let Some(before) = &before {
            match before.kind {
                EndingKind::Open => self.record_missing(Series::Messages, &before.time, at, KILLED),
                EndingKind::Off if self.settings.enabled => {
                    self.record_missing(Series::Messages, &before.time, at, OFF);
                }
                EndingKind::Off | EndingKind::Closed => {}
            }
        }
        if self.settings.enabled {
            self.opening.extend_from_slice(&mark(at, What::Opened));
        } else if before.is_some_and(|before| before.kind != EndingKind::Off) {
            let mut lines = std::mem::take(&mut self.opening);
            lines.extend_from_slice(&mark(at, What::Closed { off: true }));
            self.write_mark(&lines);
        }
    }

    /// Records the end: all events are written, and no event follows.
    pub(super) fn end_log(&mut self, end: LogEnd) {
        if !self.opening.is_empty() {
            self.write();
        }
        // After a gap, the log gets no end mark, and the next daemon records the gap.
        if self.settings.enabled && self.gap.is_none() && self.opening.is_empty() {
            self.write_mark(&mark(
                SystemTime::now(),
                What::Closed { off: end == LogEnd::SwitchedOff },
            ));
        }
    }

    fn write_mark(&mut self, lines: &[u8]) {
        if let Err(error) = self.write_lines(Series::Messages, lines, &mut 0) {
            warn!(%error, "the message tracking log has no end mark");
        }
        self.messages.file = None;
    }

    /// Records that an unknown number of lines of this series is missing up to a time.
    fn record_missing(&mut self, series: Series, since: &str, until: SystemTime, because: &str) {
        let (since, because) = (since.to_owned(), because.to_owned());
        let refusals = series == Series::Refusals;
        let what = What::Lost { count: None, since, because, refusals };
        self.opening.extend_from_slice(&mark(until, what));
    }

    /// Records that refusals between these times have been removed.
    pub(super) fn record_removed_files(&mut self, since: SystemTime, until: SystemTime) {
        let (since, because) = (moment(since.min(until)), NO_ROOM.to_owned());
        let what = What::Lost { count: None, since, because, refusals: true };
        self.opening.extend_from_slice(&mark(until, what));
    }

    /// Closes files that were removed by another process, because lines in them would be lost.
    pub(super) fn close_removed_files(&mut self) {
        for series in Series::ALL {
            let file = self.stream(series).file.take_if(|file| is_removed(file));
            if let Some(file) = file {
                self.record_missing(series, &moment(file.began), SystemTime::now(), REMOVED);
            }
        }
    }
}

fn is_removed(open: &Open) -> bool {
    open.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// A line about the log itself.
fn mark(at: SystemTime, what: What) -> Vec<u8> {
    encoded(&TrackingLine { time: moment(at), id: None, what })
}
