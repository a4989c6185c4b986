//! The message tracking log: what became of each message, for `relay trace`, long after it has left
//! the queue (Exchange's `MessageTrackingLog…` parameters).
//!
//! This module decides that the log is a help and not a promise: it is not synced, and whoever
//! has something to tell never waits for it. [`event`] says what is told, [`mod@line`] what a line
//! of the log holds, [`outcomes`] those of attempts, [`bounds`] how long a line may be, [`budget`]
//! how much a source may fill of the log, [`writer`] when lines are written, when events are dropped
//! instead, and what the log says of its own gaps, [`files`] which files there are and which have to
//! go. [`search`] says what the log knows of one message or of all that [`query`] means,
//! [`candidates`] which messages those are, [`ending`] whether the log has an end mark, and
//! [`timeline`] how a message is shown. What was decided about a message is for [`relay_policy`] to
//! say, and what became of it for [`relay_queue`]; message contents and secrets are not in the log.

mod bounds;
mod budget;
mod candidates;
mod convert;
pub mod ending;
pub mod event;
pub mod files;
pub mod limits;
pub mod line;
mod outcomes;
pub mod query;
pub mod search;
pub mod timeline;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::event::RefusalEvent;
use crate::limits::{TRACKING_PATIENCE, TRACKING_PENDING_OCTETS};
use crate::writer::TrackingWriter;
use parking_lot::Mutex;
use relay_host::vital;
use relay_mail::queue_id::QueueId;
use relay_queue::event::{Observer, QueueEvent};
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use crate::event::{Happening, TrackingEvent};

/// `[message_tracking_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingSettings {
    /// `enabled` (MessageTrackingLogEnabled).
    pub enabled: bool,
    /// `path` (MessageTrackingLogPath): the folder that the files are in.
    pub path: PathBuf,
    /// `max_directory_size` (MessageTrackingLogMaxDirectorySize): octets of all files.
    pub max_directory_size: u64,
    /// `max_file_size` (MessageTrackingLogMaxFileSize): octets of one file.
    pub max_file_size: u64,
    /// `max_age` (MessageTrackingLogMaxAge): how long a file is kept; `None` for ever, as far as
    /// there is room.
    pub max_age: Option<Duration>,
    /// Octets that the file system must have free: a multiple of `min_free_space` of `[queue]`.
    pub min_free_octets: u64,
}

/// Where events are told. Clones tell the same log.
#[derive(Clone, Debug, Default)]
pub struct Tracker(Option<Arc<Shared>>);

/// What `relay status` shows of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingStatus {
    /// Are events told at all?
    pub enabled: bool,
    /// The folder of the files.
    pub path: PathBuf,
    /// Lines about messages and refusals that have been written since the daemon began.
    pub written: u64,
    /// Lines that were shortened: their source had used up its share of the log.
    #[serde(default)]
    pub shortened: u64,
    /// Refusals that were not recorded one by one, since there were too many.
    #[serde(default)]
    pub suppressed: u64,
    /// Events that were dropped: the writer could not keep up, or could not write.
    pub dropped: u64,
    /// Why lines cannot be written at the moment.
    pub problem: Option<String>,
    /// What the log does not tell yet of the events that were dropped.
    #[serde(default)]
    pub gap: Option<Gap>,
}

/// Events are missing in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Since this time, as [`line::moment`] writes it.
    pub since: String,
    /// Why.
    pub because: String,
}

#[derive(Debug)]
struct Shared {
    to_writer: mpsc::Sender<Message>,
    enabled: AtomicBool,
    /// Octets of the events that the writer has not taken.
    pending: AtomicUsize,
    written: AtomicU64,
    shortened: AtomicU64,
    suppressed: AtomicU64,
    dropped: AtomicU64,
    state: Mutex<State>,
}

/// Where the log is, and what keeps it from being written or whole.
#[derive(Clone, Debug, Default)]
struct State {
    path: PathBuf,
    problem: Option<String>,
    gap: Option<Gap>,
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    Event(TrackingEvent),
    Settings(TrackingSettings),
    /// Write what there is, and answer.
    Write(mpsc::SyncSender<()>),
    /// The same, and end.
    Stop(mpsc::SyncSender<()>),
}

impl Observer for Tracker {
    fn is_listening(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.enabled.load(Ordering::Relaxed))
    }

    fn observe(&self, id: QueueId, event: QueueEvent) {
        self.tell(id, || event);
    }
}

impl Tracker {
    /// A log that nobody keeps.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Starts the thread that writes the log. `highest` is the highest queue id that there ever was
    /// here: files are named by what comes after it, see [`files`].
    pub fn start(settings: TrackingSettings, highest: QueueId) -> Self {
        let (to_writer, messages) = mpsc::channel();
        let shared = Arc::new(Shared {
            to_writer,
            enabled: AtomicBool::new(settings.enabled),
            pending: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            shortened: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            state: Mutex::new(State { path: settings.path.clone(), ..State::default() }),
        });
        let writer = TrackingWriter::new(settings, highest, Arc::downgrade(&shared));
        let thread = thread::Builder::new().name("tracking".to_owned());
        match thread.spawn(move || vital::thread("message tracking log", || writer.run(&messages)))
        {
            Ok(_) => Self(Some(shared)),
            Err(error) => {
                warn!(%error, "there is no thread for the message tracking log; it is not kept");
                Self(None)
            }
        }
    }

    /// Other settings from now on, for what is told from now on.
    pub fn set(&self, settings: TrackingSettings) {
        let Some(shared) = &self.0 else { return };
        shared.enabled.store(settings.enabled, Ordering::Relaxed);
        // The writer ends with the daemon only; without it there is nothing to set.
        let _ = shared.to_writer.send(Message::Settings(settings));
    }

    /// Tells what has just happened. Where the log is kept, `happening` is asked for and handed
    /// over; nobody waits, and nothing is formatted here.
    pub fn tell<H: Into<Happening>>(&self, id: QueueId, happening: impl FnOnce() -> H) {
        self.tell_about(Some(id), || happening().into());
    }

    /// The same of a refusal, of which no message has come.
    pub fn tell_refused(&self, refusal: impl FnOnce() -> RefusalEvent) {
        self.tell_about(None, || Happening::Refused(Box::new(refusal())));
    }

    /// A refusal is not told of, since there were too many. The log says how many there were.
    pub fn suppress(&self, refusals: u64) {
        if let Some(shared) = &self.0 {
            shared.suppressed.fetch_add(refusals, Ordering::Relaxed);
        }
    }

    fn tell_about(&self, id: Option<QueueId>, happening: impl FnOnce() -> Happening) {
        let Some(shared) = &self.0 else { return };
        if !shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        let event = TrackingEvent { at: SystemTime::now(), id, what: happening() };
        let octets = event.octets();
        if shared.pending.fetch_add(octets, Ordering::Relaxed) + octets > TRACKING_PENDING_OCTETS {
            shared.pending.fetch_sub(octets, Ordering::Relaxed);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if shared.to_writer.send(Message::Event(event)).is_err() {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the log is doing; `None` where there is none.
    pub fn status(&self) -> Option<TrackingStatus> {
        let shared = self.0.as_ref()?;
        let state = shared.state.lock().clone();
        let State { path, problem, gap } = state;
        Some(TrackingStatus {
            enabled: shared.enabled.load(Ordering::Relaxed),
            path,
            written: shared.written.load(Ordering::Relaxed),
            shortened: shared.shortened.load(Ordering::Relaxed),
            suppressed: shared.suppressed.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
            problem,
            gap,
        })
    }

    /// Waits until everything that was told is written, [`TRACKING_PATIENCE`] at most. Is it? True
    /// where no log is kept.
    pub fn is_written(&self) -> bool {
        self.asks(Message::Write)
    }

    /// The same, and keeps no log from then on. For the end of the daemon.
    pub fn stop(&self) {
        if !self.asks(Message::Stop) {
            warn!("the message tracking log lacks its end: its disk does not answer");
        }
    }

    /// Has the writer answered in time, where there is one?
    fn asks(&self, message: impl FnOnce(mpsc::SyncSender<()>) -> Message) -> bool {
        let Some(shared) = &self.0 else { return true };
        let (done, is_done) = mpsc::sync_channel(1);
        shared.to_writer.send(message(done)).is_err()
            || is_done.recv_timeout(TRACKING_PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
impl Tracker {
    /// As [`Tracker::stop`], for a test that writes itself.
    fn stop_without_waiting(&self) {
        let message = Message::Stop(mpsc::sync_channel(1).0);
        self.0.as_ref().map(|shared| shared.to_writer.send(message));
    }
}

#[cfg(test)]
mod tests;
