//! What the log says of itself: where it begins, that all is written where it ends, and where
//! something is missing. Whoever searches it in vain learns by that what the log could not tell.

use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use crate::ending::{self, EndingKind};
use crate::files::Series;
use crate::line::{TrackingLine, What, moment};
use crate::writer::disk::Open;
use crate::writer::{TrackingWriter, encoded};
use tracing::warn;

/// Why lines are missing after a log without an end.
const KILLED: &str = "the daemon was killed or the host lost power: its last lines may be missing";
const OFF: &str = "the log was switched off";
const REMOVED: &str = "files of the log were removed while it was written";
const NO_ROOM: &str = "old refusals were removed to make room for new ones";

impl TrackingWriter {
    /// The log begins at this time, or goes on after another daemon. What is missing before is told
    /// first.
    pub(super) fn begin_log(&mut self, at: SystemTime) {
        // What cannot be read now cannot be written either, and that is told.
        let before = ending::of(&self.settings.path).ok().flatten();
        if let Some(before) = &before {
            match before.kind {
                EndingKind::Open => self.tell_missing(Series::Messages, &before.time, at, KILLED),
                EndingKind::Off if self.settings.enabled => {
                    self.tell_missing(Series::Messages, &before.time, at, OFF);
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

    /// All that was told is written, and nothing more will be.
    pub(super) fn end_log(&mut self, off: bool) {
        if !self.opening.is_empty() {
            self.write();
        }
        // Where something is missing the log has no end, and the next one to write it says so.
        if self.settings.enabled && self.gap.is_none() && self.opening.is_empty() {
            self.write_mark(&mark(SystemTime::now(), What::Closed { off }));
        }
    }

    fn write_mark(&mut self, lines: &[u8]) {
        if let Err(error) = self.write_lines(Series::Messages, lines, &mut 0) {
            warn!(%error, "the message tracking log is without its end mark");
        }
        self.messages.file = None;
    }

    /// Lines of this series are missing up to a time, nobody knows how many.
    fn tell_missing(&mut self, series: Series, since: &str, until: SystemTime, because: &str) {
        let (since, because) = (since.to_owned(), because.to_owned());
        let refusals = series == Series::Refusals;
        let what = What::Lost { count: None, since, because, refusals };
        self.opening.extend_from_slice(&mark(until, what));
    }

    /// Refusals from and to these times have been removed.
    pub(super) fn tell_removed(&mut self, since: SystemTime, until: SystemTime) {
        let (since, because) = (moment(since.min(until)), NO_ROOM.to_owned());
        let what = What::Lost { count: None, since, because, refusals: true };
        self.opening.extend_from_slice(&mark(until, what));
    }

    /// What is written to a file that somebody has removed is nowhere.
    pub(super) fn leave_removed_files(&mut self) {
        for series in Series::ALL {
            let file = self.stream(series).file.take_if(|file| is_removed(file));
            if let Some(file) = file {
                self.tell_missing(series, &moment(file.began), SystemTime::now(), REMOVED);
            }
        }
    }
}

fn is_removed(open: &Open) -> bool {
    open.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// A line of the log about itself.
fn mark(at: SystemTime, what: What) -> Vec<u8> {
    encoded(&TrackingLine { time: moment(at), id: None, what })
}
