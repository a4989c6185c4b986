//! The thread that writes the log: takes what has gathered, makes lines of it and writes them at
//! once.
//!
//! Whatever keeps it from writing, a full disk or a folder that is not to be written to, it goes on
//! taking events and drops them, and begins a new file as soon as that is possible again. The
//! log's first line after a gap says how large the gap is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{PoisonError, Weak};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::line::{Line, What, moment};
use super::{Event, Message, Settings, Shared, files};
use crate::limits::{
    TRACKING_FILE_TIME, TRACKING_GATHER, TRACKING_MIN_FREE_OCTETS, TRACKING_RETRY,
    TRACKING_WRITE_OCTETS,
};
use crate::printable::printable;
use crate::privileges::directory::{self, Access, DirectoryError};
use crate::queue::QueueId;

/// Writes lines into files.
pub(super) struct Writer {
    settings: Settings,
    /// Octets that must be free.
    min_free: u64,
    shared: Weak<Shared>,
    file: Option<Open>,
    /// A new file begins later than this, in milliseconds since 1970.
    highest: u64,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
    /// Of the events that were dropped, those of which the log tells.
    told: u64,
    /// Since when events are dropped of which the log does not tell, and why.
    gap: Option<(SystemTime, String)>,
    /// Up to when at least no event is missing.
    complete: SystemTime,
    /// When it is tried again to write; `None` while nothing keeps us from it.
    retry: Option<Instant>,
}

/// The file that is written to.
struct Open {
    file: File,
    path: PathBuf,
    /// Octets of whole lines in it.
    size: u64,
    since: Instant,
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("less than {0} octets are free on the disk; they are left to the mail")]
    Short(u64),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Writer {
    pub(super) fn new(settings: Settings, highest: QueueId, shared: Weak<Shared>) -> Self {
        Self {
            settings,
            min_free: TRACKING_MIN_FREE_OCTETS,
            shared,
            file: None,
            highest: highest.milliseconds(),
            lines: Vec::new(),
            told: 0,
            gap: None,
            complete: SystemTime::now(),
            retry: None,
        }
    }

    /// Leaves so many octets of the disk to others.
    #[cfg(test)]
    pub(super) fn set_min_free(&mut self, octets: u64) {
        self.min_free = octets;
    }

    /// Writes until it is told to stop, or nobody is left to tell it anything.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let tries_again = self.settings.enabled && self.gap.is_some();
            let wait = if tries_again { TRACKING_RETRY } else { TRACKING_FILE_TIME };
            let first = match messages.recv_timeout(wait) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.idle();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if matches!(first, Message::Event(_)) {
                // Whoever tells something meanwhile need not wake anybody.
                thread::sleep(TRACKING_GATHER);
            }
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Event(event) => self.take(event),
                    Message::Settings(settings) => self.set(settings),
                    Message::Stop(done) => {
                        self.write();
                        // Who asked may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                }
            }
            self.write();
        }
    }

    fn take(&mut self, event: Event) {
        if let Some(shared) = self.shared.upgrade() {
            shared.pending.fetch_sub(event.octets(), Ordering::Relaxed);
        }
        let at = event.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.highest = self.highest.max(at).max(event.id.milliseconds());
        if !self.settings.enabled {
            return;
        }
        if self.waits() {
            return self.drop_events(1, String::new);
        }
        for line in Line::of(event) {
            // Strings, numbers and maps with string keys: JSON has them all. What a terminal would
            // act on stands in strings only, where JSON reads the escaped form as the same.
            if let Ok(text) = serde_json::to_string(&line) {
                self.lines.extend_from_slice(printable(&text).as_bytes());
                self.lines.push(b'\n');
            }
        }
        if self.lines.len() >= TRACKING_WRITE_OCTETS {
            self.write();
        }
    }

    fn set(&mut self, settings: Settings) {
        if settings == self.settings {
            return;
        }
        self.write();
        // What could not be written so far is told of in the new place.
        self.settings = settings;
        self.file = None;
        self.retry = None;
        self.show(None);
    }

    /// Nothing has happened for a while.
    fn idle(&mut self) {
        if self.gap.is_some() {
            return self.write();
        }
        if self.settings.enabled {
            // The next event begins a new file, so that this one can grow old.
            self.file = None;
            if let Err(error) = self.sweep(0) {
                warn!(%error, "old files of the message tracking log stay");
            }
        }
    }

    /// Is it too early to try again?
    fn waits(&self) -> bool {
        self.retry.is_some_and(|retry| retry > Instant::now())
    }

    /// Writes what there is, after what has to be said about events that were dropped.
    fn write(&mut self) {
        let lost = self.dropped().saturating_sub(self.told);
        if lost > 0 && self.gap.is_none() && self.settings.enabled {
            warn!("the message tracking log cannot keep up; events are dropped");
            self.gap = Some((self.complete, "the log could not keep up".to_owned()));
        }
        if lost == 0 {
            self.complete = SystemTime::now();
        }
        if !self.settings.enabled || self.waits() || (self.lines.is_empty() && self.gap.is_none()) {
            return;
        }
        let mut batch = Vec::new();
        let tells_gap = self.gap.is_some();
        if let Some((since, because)) = &self.gap {
            let what = What::Lost { count: lost, since: moment(*since), because: because.clone() };
            let line = Line { time: moment(SystemTime::now()), id: None, what };
            batch.extend(serde_json::to_vec(&line).unwrap_or_default());
            batch.push(b'\n');
        }
        batch.append(&mut self.lines);
        let mut written = 0;
        let result = self.write_lines(&batch, &mut written);
        let lines = |octets: &[u8]| memchr::memchr_iter(b'\n', octets).count() as u64;
        if written > 0 {
            if let Some(shared) = self.shared.upgrade() {
                shared.written.fetch_add(lines(&batch[..written]), Ordering::Relaxed);
            }
            self.told += lost;
            self.gap = None;
            if self.retry.take().is_some() {
                info!(dropped = lost, "the message tracking log is written again");
                self.show(None);
            }
        }
        if let Err(error) = result {
            // What is said about a gap is no event.
            let of_gap = u64::from(tells_gap && written == 0);
            self.fail(&error, lines(&batch[written..]).saturating_sub(of_gap));
        }
    }

    /// Writes whole lines, into as many files as they take. `written` is how far it came.
    fn write_lines(&mut self, batch: &[u8], written: &mut usize) -> Result<(), WriteError> {
        while *written < batch.len() {
            let rest = &batch[*written..];
            let most = self.settings.max_file_size;
            let file = match self.file.take() {
                Some(file) if file.since.elapsed() < TRACKING_FILE_TIME => file,
                _ => self.begin_file()?,
            };
            let room = usize::try_from(most.saturating_sub(file.size)).unwrap_or(usize::MAX);
            let end = if rest.len() <= room {
                rest.len()
            } else if let Some(end) = memchr::memrchr(b'\n', &rest[..room]) {
                end + 1
            } else if file.size > 0 {
                // The next line has a file of its own.
                continue;
            } else {
                memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
            };
            let file = self.file.insert(file);
            check_free(&self.settings.path, self.min_free)?;
            (&file.file)
                .write_all(&rest[..end])
                .map_err(|error| WriteError::io("write", &file.path, error))?;
            file.size += end as u64;
            *written += end;
        }
        Ok(())
    }

    /// A new file, once there is room for it.
    fn begin_file(&mut self) -> Result<Open, WriteError> {
        let folder = self.settings.path.clone();
        let io = |doing| {
            let folder = folder.clone();
            move |error| WriteError::io(doing, &folder, error)
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(io("make the folder"))?;
        // Administrators may be given the log by its group.
        directory::secure(&folder, Access::GroupReads)?;
        self.sweep(self.settings.max_file_size).map_err(io("remove old files from"))?;
        check_free(&folder, self.min_free)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = (now.as_millis() as u64).max(self.highest + 1);
        let path = files::path_of(&folder, begin);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(|error| WriteError::io("make", &path, error))?;
        self.highest = begin;
        Ok(Open { file, path, size: 0, since: Instant::now() })
    }

    /// Removes the files that have to go before one of `next` octets may come.
    fn sweep(&mut self, next: u64) -> io::Result<()> {
        let Settings { path, max_age, max_directory_size, .. } = &self.settings;
        let found = files::list(path)?;
        if let Some(last) = found.last() {
            self.highest = self.highest.max(last.begin);
        }
        let surplus =
            files::surplus(&found, SystemTime::now(), *max_age, *max_directory_size, next);
        found.iter().take(surplus).try_for_each(|file| fs::remove_file(&file.path))
    }

    /// Lets go of the file, without what is torn of it, and of what could not be written.
    fn fail(&mut self, error: &WriteError, lines: u64) {
        if let Some(open) = self.file.take() {
            // What cannot be mended now is a torn line, which is passed over.
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
        self.gap.get_or_insert_with(|| (SystemTime::now(), because()));
    }

    fn dropped(&self) -> u64 {
        self.shared.upgrade().map_or(self.told, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// What `relay status` says from now on.
    fn show(&self, problem: Option<String>) {
        if let Some(shared) = self.shared.upgrade() {
            let mut place = shared.place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = (self.settings.path.clone(), problem);
        }
    }
}

impl WriteError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Is there room for the log, and for the mail besides?
fn check_free(directory: &Path, min_free: u64) -> Result<(), WriteError> {
    let system = rustix::fs::statvfs(directory)
        .map_err(|error| WriteError::io("examine", directory, error.into()))?;
    match system.f_bavail.saturating_mul(system.f_frsize) < min_free {
        true => Err(WriteError::Short(min_free)),
        false => Ok(()),
    }
}
