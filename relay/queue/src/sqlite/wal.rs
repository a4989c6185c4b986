//! Which frames of SQLite's write-ahead log does a start trust?
//!
//! SQLite reads its log up to the first frame whose checksum does not match and silently ignores
//! the rest. That is right for a torn end, and wrong for a byte that was flipped long after the
//! following transactions were confirmed. So before SQLite opens the log, this module checks it
//! frame by frame and rewrites it:
//!
//! - Frames after the last transaction that was certainly synced are cut off.
//! - A damaged frame before that point stays in the chain, so that the damage costs its page and
//!   not everything after it. The checksums of rows show the loss on the page.
//! - Every frame that stays is written and synced again. Recovery does not trust the page cache
//!   after a failed sync: it may have frames marked as clean that the disk does not have.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. It has not changed
//! since 2010, and SQLite promises not to change it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets of the log's header, and of a frame's.
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first octets of a log; the lowest bit is the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

type Checksum = (u32, u32);

/// The findings in a log, and the action taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogRecovery {
    /// Frames that were kept.
    pub(super) frames: usize,
    /// Frames after them that were cut off.
    pub(super) cut: usize,
    /// The last transaction has its end, but not all frames before it: either a power cut
    /// interrupted it, or it was damaged later.
    pub(super) last_is_doubtful: bool,
    /// Pages whose newest contents are damaged.
    pub(super) damaged_pages: Vec<u32>,
    /// The header had to be rebuilt.
    pub(super) header_damaged: bool,
}

impl LogRecovery {
    /// Did anything suffer that may have been confirmed?
    pub(super) fn is_damaged(&self) -> bool {
        self.last_is_doubtful || self.header_damaged || !self.damaged_pages.is_empty()
    }
}

/// The log of a database.
pub(super) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Checks the log of a closed database and rewrites it. `believed` is the number of frames that
/// were synced, if it is known; later frames are cut off.
///
/// A damaged log is copied to `set_aside` first.
pub(super) fn rewrite_log(
    database: &Path,
    page_octets: usize,
    believed: Option<u32>,
    set_aside: &Path,
) -> io::Result<LogRecovery> {
    let path = path(database);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LogRecovery::default()),
        Err(error) => return Err(error),
    };
    let log = Log::read(&bytes, page_octets);
    let judgement = log.judge(believed.map(|frames| frames as usize));
    if judgement.is_damaged() {
        fs::write(set_aside, &bytes)?;
    }
    let rewritten = log.write(judgement.frames);
    if bytes.starts_with(&rewritten) {
        // The octets are equal and stay at their offsets: a crash cannot lose them, and a full disk
        // has room for them.
        let file = OpenOptions::new().write(true).open(&path)?;
        file.write_all_at(&rewritten, 0)?;
        file.set_len(rewritten.len() as u64)?;
        file.sync_all()?;
        return Ok(judgement);
    }
    let temporary = path.with_extension("renewed");
    let mut file = File::create(&temporary)?;
    file.write_all(&rewritten)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(judgement)
}

/// The newest contents of each page in the log of a database.
pub(super) fn pages(database: &Path, page_octets: usize) -> io::Result<HashMap<u32, Vec<u8>>> {
    let bytes = match fs::read(path(database)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let log = Log::read(&bytes, page_octets);
    let kept = log.judge(None).frames;
    Ok(log.frames[..kept].iter().map(|frame| (frame.page, frame.data.to_vec())).collect())
}

struct Log<'a> {
    header: [u8; HEADER],
    header_damaged: bool,
    big_endian: bool,
    frames: Vec<Frame<'a>>,
}

struct Frame<'a> {
    page: u32,
    /// Pages of the database after the transaction that this frame ends; 0 within one.
    commit: u32,
    data: &'a [u8],
    /// It is as it was written.
    whole: bool,
}

impl<'a> Log<'a> {
    fn read(bytes: &'a [u8], page_octets: usize) -> Self {
        let mut header = [0; HEADER];
        let length = bytes.len().min(HEADER);
        header[..length].copy_from_slice(&bytes[..length]);
        let raw: Vec<&[u8]> = bytes
            .get(HEADER..)
            .unwrap_or_default()
            .chunks_exact(FRAME_HEADER + page_octets)
            .collect();
        let big_endian = match word(&header, 0) & !1 {
            MAGIC => word(&header, 0) & 1 == 1,
            _ => cfg!(target_endian = "big"),
        };
        let stored = (word(&header, 24), word(&header, 28));
        let is_whole = sum((0, 0), &header[..24], big_endian) == stored
            && word(&header, 0) & !1 == MAGIC
            && word(&header, 8) as usize == page_octets;
        let salts = |frame: &[u8]| [word(frame, 8), word(frame, 12)];
        // A log that was restarted over an old one has an intact header and old frames. Only if the
        // header is damaged do two frames decide which salts are valid.
        let header_damaged =
            !is_whole && raw.len() > 1 && salts(raw[0]) == salts(raw[1]) && salts(raw[0]) != [0, 0];
        if header_damaged {
            header[..4].copy_from_slice(&(MAGIC | u32::from(big_endian)).to_be_bytes());
            header[4..8].copy_from_slice(&VERSION.to_be_bytes());
            header[8..12].copy_from_slice(&(page_octets as u32).to_be_bytes());
            header[16..24].copy_from_slice(&raw[0][8..16]);
        }
        let mut log = Self { header, header_damaged, big_endian, frames: Vec::new() };
        if is_whole || header_damaged {
            let seal = sum((0, 0), &log.header[..24], big_endian);
            // If the header is damaged, the first frame follows from the stored seal.
            let seed = if is_whole || log.verifies(stored, raw[0]) { stored } else { seal };
            log.read_frames(&raw, seed);
        }
        log
    }

    fn read_frames(&mut self, raw: &[&'a [u8]], mut seed: Checksum) {
        let salts = &self.header[16..24].to_owned()[..];
        let is_ours = |frame: Option<&&[u8]>| frame.is_some_and(|frame| &frame[8..16] == salts);
        for (number, &frame) in raw.iter().enumerate() {
            let next = raw.get(number + 1);
            // Frames of an earlier round follow the newest frames. A single foreign frame between
            // two valid ones is damaged, or a power cut prevented its write.
            if !is_ours(Some(&frame)) && !is_ours(next) {
                break;
            }
            let next = next.filter(|_| is_ours(next));
            let stored = (word(frame, 16), word(frame, 20));
            let computed = self.sum_frame(seed, &frame[..8], &frame[FRAME_HEADER..]);
            let mut head: [u8; 8] = [0; 8];
            head.copy_from_slice(&frame[..8]);
            let mut whole = computed == stored;
            if whole {
                seed = stored;
            } else if next.is_some_and(|next| self.verifies(computed, next)) {
                // The byte was flipped in the checksum itself.
                (whole, seed) = (true, computed);
            } else {
                if next.is_some_and(|next| self.verifies(stored, next))
                    && let Some(mended) = self.mend(seed, frame, stored)
                {
                    (whole, head) = (true, mended);
                }
                seed = stored;
                if !whole && !is_ours(Some(&frame)) {
                    // More than one byte of it is wrong: the frame was never written, and the
                    // octets are from an earlier round. The next frame does not follow from it and
                    // is invalid, and so is the transaction.
                    continue;
                }
            }
            let (page, commit) = (word(&head, 0), word(&head, 4));
            self.frames.push(Frame { page, commit, data: &frame[FRAME_HEADER..], whole });
        }
    }

    /// With a damaged page number, a page would replace another. The checksum is good, so it shows
    /// which single byte of the frame's header was changed.
    fn mend(&self, seed: Checksum, frame: &[u8], stored: Checksum) -> Option<[u8; 8]> {
        let mut head: [u8; 8] = frame.first_chunk().copied()?;
        for position in 0..head.len() {
            let damaged = head[position];
            for value in 0..=u8::MAX {
                head[position] = value;
                if self.sum_frame(seed, &head, &frame[FRAME_HEADER..]) == stored {
                    return Some(head);
                }
            }
            head[position] = damaged;
        }
        None
    }

    /// Which frames stay.
    ///
    /// A transaction is written only after the previous one was synced. So a transaction with a
    /// successor was confirmed, and any damage in it happened later. The last transaction may never
    /// have reached the disk: unless it is intact, it is cut off.
    fn judge(&self, believed: Option<usize>) -> LogRecovery {
        let known = &self.frames[..self.frames.len().min(believed.unwrap_or(usize::MAX))];
        let last = known.iter().rposition(|frame| frame.whole && frame.commit != 0);
        let begin = last.map_or(0, |last| {
            known[..last].iter().rposition(|frame| frame.commit != 0).map_or(0, |end| end + 1)
        });
        let last_is_whole = last.is_some_and(|last| known[begin..=last].iter().all(|f| f.whole));
        let frames = if last_is_whole { last.map_or(0, |last| last + 1) } else { begin };
        let mut newest = HashMap::new();
        for frame in &known[..frames] {
            newest.insert(frame.page, frame.whole);
        }
        let mut damaged_pages: Vec<_> =
            newest.into_iter().filter(|(_, whole)| !whole).map(|(page, _)| page).collect();
        damaged_pages.sort_unstable();
        LogRecovery {
            frames,
            cut: self.frames.len() - frames,
            last_is_doubtful: known[frames..].iter().any(|frame| frame.commit != 0),
            damaged_pages,
            header_damaged: self.header_damaged,
        }
    }

    /// The first `count` frames as a log with valid checksums. Empty without frames.
    fn write(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if count == 0 {
            return bytes;
        }
        let mut seed = sum((0, 0), &self.header[..24], self.big_endian);
        bytes.extend_from_slice(&self.header[..24]);
        push_checksum(&mut bytes, seed);
        for frame in &self.frames[..count] {
            let begin = bytes.len();
            bytes.extend_from_slice(&frame.page.to_be_bytes());
            bytes.extend_from_slice(&frame.commit.to_be_bytes());
            seed = self.sum_frame(seed, &bytes[begin..], frame.data);
            bytes.extend_from_slice(&self.header[16..24]);
            push_checksum(&mut bytes, seed);
            bytes.extend_from_slice(frame.data);
        }
        bytes
    }

    fn verifies(&self, seed: Checksum, frame: &[u8]) -> bool {
        let stored = (word(frame, 16), word(frame, 20));
        self.sum_frame(seed, &frame[..8], &frame[FRAME_HEADER..]) == stored
    }

    fn sum_frame(&self, seed: Checksum, head: &[u8], data: &[u8]) -> Checksum {
        sum(sum(seed, head, self.big_endian), data, self.big_endian)
    }
}

fn push_checksum(bytes: &mut Vec<u8>, (first, second): Checksum) {
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&second.to_be_bytes());
}

/// The big-endian word at an offset; 0 beyond the end.
fn word(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..offset + 4).and_then(|word| word.first_chunk());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

/// The checksum of the format, section 4.2: two sums over pairs of words.
fn sum((mut first, mut second): Checksum, bytes: &[u8], big_endian: bool) -> Checksum {
    let (pairs, _) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in pairs {
        let (left, right) = if big_endian {
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        } else {
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        };
        first = first.wrapping_add(left).wrapping_add(second);
        second = second.wrapping_add(right).wrapping_add(first);
    }
    (first, second)
}
