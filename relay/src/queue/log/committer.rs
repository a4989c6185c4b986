//! The one thread that writes the log: it syncs once for everything that arrived while its last
//! sync ran, and moves what is still needed out of the oldest segment.
//!
//! A lone message waits for nothing but its own sync. After an error nothing is tried again in
//! the same segment, since a kernel may report a failed write-back once and then call the pages
//! clean: the segment is cut behind its last synced record, every waiting commit fails, and new
//! mail is refused until a new segment has been made, which is tried once a second.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, info, warn};

use super::Shared;
use super::frame::{Frame, Kind};
use super::index::{Body, Item};
use super::segment::{ActiveSegment, OpenMedium, Place, Segment};
use crate::limits;
use crate::queue::{MessageFile, QueueId, StoreError};

/// What is to be committed, all of it or nothing.
pub(super) struct Request {
    pub(super) steps: Vec<Step>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
    /// Bounds how many requests wait.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// One record and what it means for the index.
pub(super) enum Step {
    /// A message is new.
    Put { frame: Frame, due: SystemTime, file: Option<MessageFile> },
    /// Its entry has changed, and whoever claimed it is done.
    Update { frame: Frame, due: SystemTime, held: bool },
    /// It has left the queue.
    Remove { frame: Frame },
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    open_medium: OpenMedium,
    segment_octets: u64,
    /// None after an error, until a new one could be made.
    active: Option<ActiveSegment>,
    next_number: u32,
    /// No earlier than this is a new segment tried.
    retry_at: Instant,
    /// Messages in the oldest segment that are still to be moved out of it.
    moving: Vec<QueueId>,
}

impl Step {
    fn frame(&self) -> &Frame {
        match self {
            Self::Put { frame, .. } | Self::Update { frame, .. } | Self::Remove { frame } => frame,
        }
    }
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: Receiver<Request>,
        next_number: u32,
        segment_octets: u64,
        open_medium: OpenMedium,
    ) -> Self {
        let mut committer = Self {
            shared,
            requests,
            open_medium,
            segment_octets,
            active: None,
            next_number,
            retry_at: Instant::now(),
            moving: Vec::new(),
        };
        // Without space for a segment the start goes on; the refusal has been set.
        let _ = committer.renew();
        committer
    }

    /// Commits until the last sender is gone.
    pub(super) fn run(mut self) {
        loop {
            let more = self.clean();
            let refuses = self.active.is_none() || self.shared.refusal().is_some();
            let first = match (refuses, more) {
                (false, false) => self.requests.recv().map_err(RecvTimeoutError::from),
                (false, true) => self.requests.recv_timeout(limits::LOG_CLEANING_PAUSE),
                (true, _) => self.requests.recv_timeout(limits::LOG_RETRY),
            };
            match first {
                Ok(first) => self.commit(first),
                Err(RecvTimeoutError::Timeout) if refuses => {
                    // A failure has set the refusal, which is all that matters here.
                    let _ = self.renew();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(active) = self.active.take() {
            self.seal(active);
        }
    }

    /// Commits one request and everything that waits behind it.
    fn commit(&mut self, first: Request) {
        let mut octets = first.octets();
        let mut batch = vec![first];
        while octets < limits::COMMIT_OCTETS
            && let Ok(request) = self.requests.try_recv()
        {
            octets += request.octets();
            batch.push(request);
        }
        if let Err(error) = self.make_room(octets) {
            // Without room for new mail there is still some for what makes room.
            let is_new = |request: &mut Request| request.is_new_mail() || self.active.is_none();
            for request in batch.extract_if(.., is_new) {
                let _ = request.done.send(Err(error.clone()));
            }
        }
        if batch.is_empty() {
            return;
        }
        let frames: Vec<_> =
            batch.iter().flat_map(|request| request.steps.iter().map(Step::frame)).collect();
        match self.append(&frames) {
            Ok(places) => {
                let mut places = places.into_iter();
                for request in batch {
                    self.apply(request.steps, &mut places);
                    // Whoever asked may have gone; the commit stands.
                    let _ = request.done.send(Ok(()));
                }
                self.shared.became_due.notify_one();
            }
            Err(error) => {
                for request in batch {
                    let _ = request.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// Sees to it that the active segment has room for so much new mail.
    fn make_room(&mut self, octets: usize) -> Result<(), StoreError> {
        match &self.active {
            Some(active) => {
                let room = self.segment_octets - self.segment_octets / limits::LOG_RESERVE;
                let fits = active.end + octets as u64 <= room;
                // A batch that is larger than a segment gets one that grows beyond its size.
                if fits || active.is_empty() { Ok(()) } else { self.renew() }
            }
            None if Instant::now() >= self.retry_at => self.renew(),
            None => Err(self.shared.refusal().unwrap_or(StoreError::Refusing)),
        }
    }

    /// Writes and syncs frames. After an error the segment is given up.
    fn append(&mut self, frames: &[&Frame]) -> Result<Vec<Place>, StoreError> {
        let Some(active) = &mut self.active else { return Err(StoreError::Refusing) };
        let octets = frames.iter().map(|frame| frame.length()).sum();
        let mut buffer = Vec::with_capacity(octets);
        let mut places = Vec::with_capacity(frames.len());
        for frame in frames {
            places.push(Place {
                segment: active.segment.number,
                length: frame.length() as u32,
                offset: active.end + buffer.len() as u64,
            });
            frame.write(active.segment.marker, &mut buffer);
        }
        if let Err(error) = active.append(&buffer) {
            error!(%error, "the queue's log failed; refusing mail until it has a new segment");
            self.shared.set_refusal(Some(StoreError::Refusing));
            self.retry_at = Instant::now() + limits::LOG_RETRY;
            if let Some(active) = self.active.take() {
                self.seal(active);
            }
            return Err(error);
        }
        let (number, end) = (active.segment.number, active.end);
        self.shared.index().set_segment_length(number, end);
        Ok(places)
    }

    /// Follows a committed request in the index and among the message files.
    fn apply(&self, steps: Vec<Step>, places: &mut impl Iterator<Item = Place>) {
        let mut index = self.shared.index();
        for (step, place) in steps.into_iter().zip(places) {
            match step {
                Step::Put { frame, due, file } => {
                    let body = match &file {
                        Some(file) => Body::InFile { size: file.size(), checksum: file.checksum() },
                        None => Body::InLog(place),
                    };
                    file.into_iter().for_each(MessageFile::keep);
                    index.put(frame.id, Item::new(due, false, place, body));
                }
                Step::Update { frame, due, held } => {
                    if let Ok(old) = index.find(frame.id) {
                        index.put(frame.id, Item::new(due, held, place, old.body));
                    }
                }
                Step::Remove { frame } => {
                    if let Some(Item { body: Body::InFile { .. }, .. }) = index.remove(frame.id) {
                        let path = self.shared.message_path(frame.id);
                        if let Err(error) = fs::remove_file(&path) {
                            // The sweep at the next start removes it.
                            warn!(path = %path.display(), %error, "cannot remove a message file");
                        }
                    }
                }
            }
        }
    }

    /// Puts a new segment at the end of the log. On failure the present one stays, and new mail
    /// is refused.
    fn renew(&mut self) -> Result<(), StoreError> {
        let directory = self.shared.log_directory();
        let highest = self.shared.highest_id.load(Ordering::Acquire);
        let number = self.next_number;
        let octets = self.segment_octets;
        let made = ActiveSegment::create(&directory, number, highest, octets, self.open_medium);
        let active = made.inspect_err(|error| {
            self.retry_at = Instant::now() + limits::LOG_RETRY;
            if self.shared.set_refusal(Some(error.clone())).is_none() {
                error!(%error, "the queue's log cannot grow; refusing new mail until it can");
            }
        })?;
        self.next_number += 1;
        self.shared.index().add_segment(Arc::clone(&active.segment));
        if let Some(old) = self.active.replace(active) {
            self.seal(old);
        }
        if self.shared.set_refusal(None).is_some() {
            info!(segment = number, "the queue's log has a new segment; taking mail again");
        }
        Ok(())
    }

    fn seal(&self, active: ActiveSegment) {
        let (segment, end, cut) = active.seal();
        self.shared.index().set_segment_length(segment.number, end);
        if let Err(error) = cut {
            let path = segment.path.display();
            warn!(%path, %error, "cannot cut a segment; unconfirmed records may reappear in it");
        }
    }

    /// Removes segments that nothing needs and moves messages out of the oldest one when the log
    /// is mostly waste. Only the oldest segment is ever removed, so the record that a message has
    /// gone outlives every record that brought it. True when there is more to do.
    fn clean(&mut self) -> bool {
        let Some(active) = self.active.as_ref().map(|active| active.segment.number) else {
            return false;
        };
        loop {
            let (oldest, live, usage) = {
                let index = self.shared.index();
                let Some((oldest, live)) = index.oldest_segment() else { return false };
                (oldest, live, index.usage())
            };
            if oldest.number == active {
                return false;
            }
            if live > 0 {
                return is_wasteful(usage, self.segment_octets) && self.move_out_of(&oldest);
            }
            self.moving.clear();
            let removed = fs::remove_file(&oldest.path)
                .and_then(|()| File::open(self.shared.log_directory())?.sync_all());
            if let Err(error) = removed {
                warn!(path = %oldest.path.display(), %error, "cannot remove an old segment");
                return false;
            }
            self.shared.index().remove_segment(oldest.number);
        }
    }

    /// Writes some of the messages that the oldest segment holds again, at the end of the log.
    fn move_out_of(&mut self, oldest: &Segment) -> bool {
        if self.moving.is_empty() {
            self.moving = self.shared.index().in_segment(oldest.number);
        }
        let mut frames = Vec::new();
        let mut octets = 0;
        while octets < limits::LOG_CLEANING_OCTETS
            && let Some(id) = self.moving.pop()
        {
            match self.copy(id, oldest.number) {
                Ok(Some(frame)) => {
                    octets += frame.length();
                    frames.push(frame);
                }
                Ok(None) => {}
                Err(StoreError::Damaged { what, .. }) => {
                    let kept = self.shared.set_aside(id);
                    error!(%id, what, kept, "a queued message is damaged and leaves the queue");
                    self.shared.index().remove(id);
                }
                Err(error) => {
                    // It may be readable later; until then the segment stays.
                    warn!(%id, %error, "cannot move a queued message");
                    self.moving.clear();
                    return false;
                }
            }
        }
        if frames.is_empty() {
            return !self.moving.is_empty();
        }
        // Without room for a new segment, the reserve of the present one makes some.
        let _ = self.make_room(octets);
        let Ok(places) = self.append(&frames.iter().collect::<Vec<_>>()) else { return false };
        let mut index = self.shared.index();
        for (frame, place) in frames.iter().zip(places) {
            if let Ok(item) = index.find(frame.id) {
                let body = if frame.kind == Kind::Message { Body::InLog(place) } else { item.body };
                index.relocate(frame.id, place, body);
            }
        }
        true
    }

    /// A frame that says all about a message, unless nothing of it is in segment `number` now.
    fn copy(&self, id: QueueId, number: u32) -> Result<Option<Frame>, StoreError> {
        let Ok(item) = self.shared.index().find(id) else { return Ok(None) };
        let message_is_there = match item.body {
            Body::InLog(place) => place.segment == number,
            Body::InFile { .. } => false,
        };
        if !message_is_there && item.entry.segment != number {
            return Ok(None);
        }
        let entry = self.shared.read_frame(id, |item| item.entry)?.entry.to_vec();
        if !message_is_there {
            return Ok(Some(Frame::new(Kind::Entry, id, entry, Vec::new())));
        }
        let message = self.shared.read_frame(id, Item::message_place)?.message;
        Ok(Some(Frame::new(Kind::Message, id, entry, vec![message])))
    }
}

impl Request {
    /// Does it bring mail that can still be refused?
    fn is_new_mail(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Put { .. }))
    }

    fn octets(&self) -> usize {
        self.steps.iter().map(|step| step.frame().length()).sum()
    }
}

/// Is so little of the log needed that moving it costs less than keeping it?
fn is_wasteful((segments, octets, live): (usize, u64, u64), segment_octets: u64) -> bool {
    let slack = segment_octets * limits::LOG_SLACK_SEGMENTS;
    (octets > slack || segments as u64 > limits::LOG_SEGMENTS) && octets > 2 * live
}
