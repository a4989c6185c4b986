//! The thread that writes the log: receives the waiting events, makes lines of them and writes them
//! at once.
//!
//! If it cannot write, for example because the disk is full or the directory is not writable, it
//! continues to receive events and drops them, and begins a new file as soon as possible. The first
//! line after a gap has the size of the gap.

mod disk;
mod marks;

use std::fs;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use crate::bounds::EventDetail;
use crate::budget::SourceLineBudget;
use crate::files::Series;
use crate::limits::{
    TRACKING_FILE_TIME, TRACKING_GATHER, TRACKING_RETRY, TRACKING_SUMMARY, TRACKING_WRITE_OCTETS,
};
use crate::line::{TrackingLine, What, moment};
use crate::{Gap, Happening, Message, Shared, TrackingEvent, TrackingSettings};
use disk::{Stream, WriteError};
use marks::LogEnd;
use relay_mail::printable::printable;
use relay_mail::queue_id::QueueId;

/// Writes lines into files.
pub(super) struct TrackingWriter {
    settings: TrackingSettings,
    shared: Weak<Shared>,
    messages: Stream,
    refusals: Stream,
    /// Lines about the log itself, written before other lines.
    opening: Vec<u8>,
    budget: SourceLineBudget,
    /// A new file must begin later than this, in milliseconds since 1970.
    highest: u64,
    /// The number of dropped events that the log has reported.
    told: u64,
    /// The begin and the cause of a gap that the log has not reported.
    gap: Option<(SystemTime, String)>,
    /// No event is missing up to this time.
    complete: SystemTime,
    /// The time of the next try to write; `None` if there is no problem.
    retry: Option<Instant>,
    /// The number of suppressed refusals that the log has reported.
    told_suppressed: u64,
    /// The time of the first suppressed refusal that it has not reported.
    suppressed_since: SystemTime,
    /// The time of the last report or check of suppressed refusals.
    summary: Instant,
    /// The time of the last event, or of the last removal of old files.
    busy: Instant,
}

impl TrackingWriter {
    pub(super) fn new(settings: TrackingSettings, highest: QueueId, shared: Weak<Shared>) -> Self {
        Self {
            settings,
            shared,
            messages: Stream::default(),
            refusals: Stream::default(),
            opening: Vec::new(),
            budget: SourceLineBudget::new(),
            highest: highest.milliseconds(),
            told: 0,
            gap: None,
            complete: SystemTime::now(),
            retry: None,
            told_suppressed: 0,
            suppressed_since: SystemTime::now(),
            summary: Instant::now(),
            busy: Instant::now(),
        }
    }

    /// Writes until it is told to stop, or no sender of events is left.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        // Begin with the time of the first events, which may be a moment ago.
        self.begin_log(self.complete);
        // Begin at once: a problem must show before the first event.
        self.write();
        loop {
            let tries_again = self.settings.enabled && self.gap.is_some();
            let wait = if tries_again { TRACKING_RETRY } else { TRACKING_SUMMARY };
            let first = match messages.recv_timeout(wait) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.summarize();
                    if tries_again || self.busy.elapsed() >= TRACKING_FILE_TIME {
                        self.busy = Instant::now();
                        self.idle();
                    } else {
                        self.write();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return self.end_log(LogEnd::DaemonEnds);
                }
            };
            self.busy = Instant::now();
            if matches!(first, Message::Event(_)) {
                // Senders of events in the meantime need not wake the thread.
                thread::sleep(TRACKING_GATHER);
            }
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Event(event) => self.take(event),
                    Message::Settings(settings) => self.set(settings),
                    Message::Write(done) => {
                        // A search needs all refusals, also those of this minute.
                        self.report_suppressed();
                        self.write();
                        // The sender may have stopped waiting.
                        let _ = done.send(());
                    }
                    Message::Stop(done) => {
                        self.report_suppressed();
                        self.write();
                        self.end_log(LogEnd::DaemonEnds);
                        let _ = done.send(());
                        return;
                    }
                }
            }
            self.summarize();
            self.write();
        }
    }

    fn take(&mut self, event: TrackingEvent) {
        if let Some(shared) = self.shared.upgrade() {
            shared.pending.fetch_sub(event.octets(), Ordering::Relaxed);
        }
        let at = event.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.highest = self.highest.max(at).max(event.id.map_or(0, QueueId::milliseconds));
        if !self.settings.enabled {
            return;
        }
        if self.waits() {
            return self.drop_events(1, String::new);
        }
        let id = event.id;
        let source = match &event.what {
            Happening::Received(receipt) => Some(receipt.connection.client().ip()),
            _ => None,
        };
        let is_short = id.is_some_and(|id| self.budget.is_short(id));
        for line in TrackingLine::of(event) {
            let line = line.within(EventDetail::Whole);
            let octets = encoded(&line);
            let allows = match source.zip(id) {
                Some((source, id)) => {
                    let (now, directory) = (Instant::now(), self.settings.max_directory_size);
                    self.budget.allows(now, source, id, octets.len(), directory)
                }
                None => !is_short,
            };
            let stream = match line.what {
                What::Refuse(_) | What::Abort(_) => &mut self.refusals,
                _ => &mut self.messages,
            };
            if allows {
                stream.lines.extend_from_slice(&octets);
                continue;
            }
            let short = encoded(&line.within(EventDetail::Short));
            let is_shorter = short.len() < octets.len();
            stream.lines.extend_from_slice(&short);
            if is_shorter && let Some(shared) = self.shared.upgrade() {
                shared.shortened.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.messages.lines.len() + self.refusals.lines.len() >= TRACKING_WRITE_OCTETS {
            self.write();
        }
    }

    /// Regularly reports the number of refusals without a record of their own.
    fn summarize(&mut self) {
        if self.summary.elapsed() >= TRACKING_SUMMARY {
            self.report_suppressed();
        }
    }

    fn report_suppressed(&mut self) {
        self.summary = Instant::now();
        let suppressed = self
            .shared
            .upgrade()
            .map_or(self.told_suppressed, |shared| shared.suppressed.load(Ordering::Relaxed));
        let count = suppressed - self.told_suppressed;
        let since = std::mem::replace(&mut self.suppressed_since, SystemTime::now());
        if count == 0 {
            return;
        }
        self.told_suppressed = suppressed;
        info!(count, since = moment(since), "refusals without a record of their own");
        if self.settings.enabled && !self.waits() {
            let what = What::Suppressed { count, since: moment(since) };
            let line = TrackingLine { time: moment(SystemTime::now()), id: None, what };
            self.refusals.lines.extend_from_slice(&encoded(&line));
        }
    }

    fn set(&mut self, settings: TrackingSettings) {
        if settings == self.settings {
            return;
        }
        self.write();
        let is_other =
            (settings.enabled, &settings.path) != (self.settings.enabled, &self.settings.path);
        if is_other {
            self.end_log(LogEnd::SwitchedOff);
        }
        // The new directory has the report of lines that could not be written.
        self.settings = settings;
        (self.messages.file, self.refusals.file) = (None, None);
        self.retry = None;
        self.show(None);
        if is_other {
            self.opening.clear();
            self.begin_log(SystemTime::now());
            self.write();
        }
    }

    /// No event has arrived for a while.
    fn idle(&mut self) {
        if self.gap.is_some() {
            return self.write();
        }
        if self.settings.enabled {
            // The next event begins a new file, so that this one can expire.
            (self.messages.file, self.refusals.file) = (None, None);
            if let Err(error) = self.sweep(Series::Messages, 0) {
                warn!(%error, "cannot remove old files of the message tracking log");
            }
        }
    }

    /// Is it too early to try again?
    fn waits(&self) -> bool {
        self.retry.is_some_and(|retry| retry > Instant::now())
    }

    /// Writes the waiting lines, after the report of dropped events.
    fn write(&mut self) {
        let lost = self.dropped().saturating_sub(self.told);
        if lost > 0 && self.gap.is_none() && self.settings.enabled {
            warn!("the message tracking log is too slow; events are dropped");
            self.gap = Some((self.complete, "the log was too slow".to_owned()));
            self.show_gap();
        }
        if lost == 0 {
            self.complete = SystemTime::now();
        }
        let is_empty = [&self.opening, &self.messages.lines, &self.refusals.lines]
            .into_iter()
            .all(Vec::is_empty);
        if !self.settings.enabled || self.waits() || (is_empty && self.gap.is_none()) {
            return;
        }
        self.close_removed_files();
        // Files that are removed now to make room are reported the next time.
        let opening = std::mem::take(&mut self.opening);
        let mut batch = opening.clone();
        if let Some((since, because)) = self.gap.as_ref().filter(|_| lost > 0) {
            let (since, because) = (moment(*since), because.clone());
            let what = What::Lost { count: Some(lost), since, because, refusals: false };
            let line = TrackingLine { time: moment(SystemTime::now()), id: None, what };
            batch.extend_from_slice(&encoded(&line));
        }
        // A line about the log itself is not an event.
        let own = batch.len();
        batch.append(&mut self.messages.lines);
        let refusals = std::mem::take(&mut self.refusals.lines);
        let (mut written, mut written_refusals) = (0, 0);
        let result = self.write_lines(Series::Messages, &batch, &mut written);
        let result = result
            .and_then(|()| self.write_lines(Series::Refusals, &refusals, &mut written_refusals));
        let lines = |octets: &[u8]| memchr::memchr_iter(b'\n', octets).count() as u64;
        if let Some(shared) = self.shared.upgrade() {
            let all = lines(&batch[own.min(written)..written]);
            let all = all + lines(&refusals[..written_refusals]);
            shared.written.fetch_add(all, Ordering::Relaxed);
        }
        if written < own {
            self.opening.splice(..0, opening);
        } else if result.is_ok() || written + written_refusals > 0 {
            self.told += lost;
            self.gap = None;
            self.show_gap();
            if self.retry.take().is_some() {
                info!(dropped = lost, "the message tracking log is written again");
                self.show(None);
            }
        }
        if let Err(error) = result {
            let left = lines(&batch[own.max(written)..]) + lines(&refusals[written_refusals..]);
            self.fail(&error, left);
        }
    }

    fn stream(&mut self, series: Series) -> &mut Stream {
        match series {
            Series::Messages => &mut self.messages,
            Series::Refusals => &mut self.refusals,
        }
    }

    /// Closes the file, without its torn line, and drops the lines that could not be written.
    fn fail(&mut self, error: &WriteError, lines: u64) {
        let files = [self.messages.file.take(), self.refusals.file.take()];
        for open in files.into_iter().flatten() {
            // If the torn line cannot be removed now, it stays and is skipped by searches.
            let _ = match open.size {
                0 => fs::remove_file(&open.path),
                size => open.file.set_len(size),
            };
        }
        if self.retry.is_none() {
            warn!(%error, "the message tracking log cannot be written; events are dropped");
        }
        self.retry = Some(Instant::now() + TRACKING_RETRY);
        self.show(Some(error.to_string()));
        self.drop_events(lines, || error.to_string());
    }

    fn drop_events(&mut self, count: u64, because: impl FnOnce() -> String) {
        if let Some(shared) = self.shared.upgrade() {
            shared.dropped.fetch_add(count, Ordering::Relaxed);
        }
        if self.gap.is_none() {
            self.gap = Some((SystemTime::now(), because()));
            self.show_gap();
        }
    }

    fn dropped(&self) -> u64 {
        self.shared.upgrade().map_or(self.told, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Sets the state for `relay status`.
    fn show(&self, problem: Option<String>) {
        if let Some(shared) = self.shared.upgrade() {
            let mut state = shared.state.lock();
            state.path.clone_from(&self.settings.path);
            state.problem = problem;
        }
    }

    fn show_gap(&self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut state = shared.state.lock();
            let gap = self.gap.clone();
            state.gap = gap.map(|(since, because)| Gap { since: moment(since), because });
        }
    }
}

/// Encodes strings, numbers and maps with string keys, all of which JSON can express. Control
/// characters occur only in strings, where JSON allows the escaped form.
fn encoded(line: &TrackingLine) -> Vec<u8> {
    let Ok(text) = serde_json::to_string(line) else { return Vec::new() };
    let mut octets = printable(&text).into_owned().into_bytes();
    octets.push(b'\n');
    octets
}
