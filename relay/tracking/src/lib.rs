//! The message tracking log: the events of each message, for `relay trace`, long after the message
//! has left the queue (Exchange's `MessageTrackingLog…` parameters).
//!
//! The log gives no guarantee: it is not synced, and senders of events never wait for it. [`event`]
//! has the events, [`mod@line`] the lines of the log, [`outcomes`] the lines of attempts,
//! [`bounds`] the length of lines, and [`budget`] the share of a source. [`writer`] decides when
//! lines are written, when events are dropped instead, and what the log records about its own gaps;
//! [`files`] decides which files exist and which are removed. [`search`] finds the lines of one
//! message or of all messages that [`query`] selects, [`candidates`] finds those messages,
//! [`ending`] tells whether the log has an end mark, and [`timeline`] prints a message.
//! [`relay_policy`] decides about messages and [`relay_queue`] delivers them; message contents and
//! secrets are not in the log.

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
    /// `path` (MessageTrackingLogPath): the directory of the files.
    pub path: PathBuf,
    /// `max_directory_size` (MessageTrackingLogMaxDirectorySize): octets of all files.
    pub max_directory_size: u64,
    /// `max_file_size` (MessageTrackingLogMaxFileSize): octets of one file.
    pub max_file_size: u64,
    /// `max_age` (MessageTrackingLogMaxAge): how long a file is kept; `None` if there is no limit
    /// of age.
    pub max_age: Option<Duration>,
    /// Octets that the file system must have free: a multiple of `min_free_space` of `[queue]`.
    pub min_free_octets: u64,
}

/// Receives events. Clones send to the same log.
#[derive(Clone, Debug, Default)]
pub struct Tracker(Option<Arc<Shared>>);

/// The state of the log for `relay status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingStatus {
    /// Is the log on?
    pub enabled: bool,
    /// The directory of the files.
    pub path: PathBuf,
    /// Lines about messages and refusals that have been written since the start of the daemon.
    pub written: u64,
    /// Lines that were shortened, because their source had used up its share of the log.
    #[serde(default)]
    pub shortened: u64,
    /// Refusals without a record of their own, because there were too many.
    #[serde(default)]
    pub suppressed: u64,
    /// Events that were dropped, because the writer was too slow or could not write.
    pub dropped: u64,
    /// Why lines cannot be written at the moment.
    pub problem: Option<String>,
    /// The dropped events that the log does not report yet.
    #[serde(default)]
    pub gap: Option<Gap>,
}

/// A gap of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The begin, in the form of [`line::moment`].
    pub since: String,
    /// The cause.
    pub because: String,
}

#[derive(Debug)]
struct Shared {
    to_writer: mpsc::Sender<Message>,
    enabled: AtomicBool,
    /// Octets of the events that wait for the writer.
    pending: AtomicUsize,
    written: AtomicU64,
    shortened: AtomicU64,
    suppressed: AtomicU64,
    dropped: AtomicU64,
    state: Mutex<State>,
}

/// The settings of the log, and its problem if there is one.
#[derive(Clone, Debug, Default)]
struct State {
    path: PathBuf,
    problem: Option<String>,
    gap: Option<Gap>,
}

/// A message to the writer.
#[derive(Debug)]
enum Message {
    Event(TrackingEvent),
    Settings(TrackingSettings),
    /// Write all events, and answer.
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
    /// A log that is off.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Starts the thread that writes the log. `highest` is the highest queue id so far: names of
    /// files continue after it, see [`files`].
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
                warn!(%error, "cannot start the thread of the message tracking log; the log is off");
                Self(None)
            }
        }
    }

    /// Sets other settings, for later events.
    pub fn set(&self, settings: TrackingSettings) {
        let Some(shared) = &self.0 else { return };
        shared.enabled.store(settings.enabled, Ordering::Relaxed);
        // The writer ends only with the daemon; without a writer there is nothing to set.
        let _ = shared.to_writer.send(Message::Settings(settings));
    }

    /// Reports an event. If the log is on, `happening` is called and its result is sent. The caller
    /// never waits, and nothing is formatted here.
    pub fn tell<H: Into<Happening>>(&self, id: QueueId, happening: impl FnOnce() -> H) {
        self.tell_about(Some(id), || happening().into());
    }

    /// Reports a refusal, after which there is no message.
    pub fn tell_refused(&self, refusal: impl FnOnce() -> RefusalEvent) {
        self.tell_about(None, || Happening::Refused(Box::new(refusal())));
    }

    /// Counts a refusal without a record of its own, because there were too many. The log has their
    /// number.
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

    /// The state of the log; `None` if there is none.
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

    /// Waits until all events are written, at most [`TRACKING_PATIENCE`]. Returns whether they are.
    /// True if the log is off.
    pub fn is_written(&self) -> bool {
        self.asks(Message::Write)
    }

    /// The same, and ends the log. For the end of the daemon.
    pub fn stop(&self) {
        if !self.asks(Message::Stop) {
            warn!("the message tracking log has no end mark: its disk does not answer");
        }
    }

    /// Did the writer answer in time, if there is one?
    fn asks(&self, message: impl FnOnce(mpsc::SyncSender<()>) -> Message) -> bool {
        let Some(shared) = &self.0 else { return true };
        let (done, is_done) = mpsc::sync_channel(1);
        shared.to_writer.send(message(done)).is_err()
            || is_done.recv_timeout(TRACKING_PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
impl Tracker {
    /// As [`Tracker::stop`], for tests that write themselves.
    fn stop_without_waiting(&self) {
        let message = Message::Stop(mpsc::sync_channel(1).0);
        self.0.as_ref().map(|shared| shared.to_writer.send(message));
    }
}

#[cfg(test)]
mod tests;
