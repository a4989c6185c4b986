//! One file of the log: its header, appending to it, reading from it, and finding what is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::frame::{ALIGNMENT, Found, FrameError, Marker};
use crate::queue::store::StoreError;

/// What a segment begins with; the last octet is the version of the format.
const MAGIC: [u8; 8] = *b"RELAYQ\n\x01";
/// Octets of the header: magic, number, marker, highest id, checksum, padding.
pub(super) const HEADER: usize = 40;
/// How a segment's file is named.
const EXTENSION: &str = "segment";

/// A segment that can be read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) marker: Marker,
    file: File,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) length: u32,
    pub(super) offset: u64,
}

/// What the end of a segment is written through. A test puts a failing one in the way.
pub(super) trait Medium: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when everything written is on stable storage.
    fn sync(&mut self) -> io::Result<()>;
}

/// Makes the medium of a new segment.
pub(super) type OpenMedium = fn(File) -> Box<dyn Medium>;

/// The segment at the end of the log.
pub(super) struct ActiveSegment {
    pub(super) segment: Arc<Segment>,
    medium: Box<dyn Medium>,
    /// Where the next frame goes. Everything before it is on stable storage.
    pub(super) end: u64,
}

/// What a segment holds, in order.
#[derive(Debug)]
pub(super) enum Scanned<'a> {
    /// A whole record.
    Frame { offset: u64, found: Found<'a> },
    /// Bytes that are no record, up to the next whole one or the end.
    Bad { offset: u64, bytes: &'a [u8], error: FrameError, last: bool },
}

impl Medium for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl ActiveSegment {
    /// Makes the segment `number`, its space reserved, its header and its name on stable storage.
    pub(super) fn create(
        directory: &Path,
        number: u32,
        highest_id: u64,
        octets: u64,
        open_medium: OpenMedium,
    ) -> Result<Self, StoreError> {
        let path = directory.join(format!("{number:08}.{EXTENSION}"));
        let made = Self::make(directory, &path, number, highest_id, octets, open_medium);
        made.map_err(|error| {
            // Without a record in it the file only takes a number.
            let _ = fs::remove_file(&path);
            StoreError::io("create", &path, error)
        })
    }

    fn make(
        directory: &Path,
        path: &Path,
        number: u32,
        highest_id: u64,
        octets: u64,
        open_medium: OpenMedium,
    ) -> io::Result<Self> {
        let mut marker = [0; 8];
        rustix::rand::getrandom(&mut marker, rustix::rand::GetRandomFlags::empty())?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        // With its blocks reserved a segment cannot run out of space between two commits.
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, octets) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&number.to_le_bytes());
        header[12..20].copy_from_slice(&marker);
        header[20..28].copy_from_slice(&highest_id.to_le_bytes());
        let checksum = crc32fast::hash(&header[..28]);
        header[28..32].copy_from_slice(&checksum.to_le_bytes());
        let mut medium = open_medium(file.try_clone()?);
        medium.write_at(&header, 0)?;
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        let segment = Segment { number, path: path.to_owned(), marker: Marker(marker), file };
        Ok(Self { segment: Arc::new(segment), medium, end: HEADER as u64 })
    }

    /// Does it hold no record?
    pub(super) fn is_empty(&self) -> bool {
        self.end == HEADER as u64
    }

    /// Writes `bytes`, which are whole frames, and returns when they are on stable storage.
    /// After an error the segment must not be appended to again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = &self.segment.path;
        let written = self.medium.write_at(bytes, self.end);
        written.map_err(|error| StoreError::io("write", path, error))?;
        self.medium.sync().map_err(|error| StoreError::io("sync", path, error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Ends the segment: what was reserved or written beyond the last synced frame goes away,
    /// so that nobody will believe it.
    pub(super) fn seal(self) -> (Arc<Segment>, u64, io::Result<()>) {
        let file = &self.segment.file;
        let cut = file.set_len(self.end).and_then(|()| file.sync_all());
        (self.segment, self.end, cut)
    }
}

impl Segment {
    /// Opens a segment that an earlier run wrote, with the bytes of it and the highest id that
    /// its header names.
    pub(super) fn open(number: u32, path: &Path) -> io::Result<(Self, Vec<u8>, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = fs::read(path)?;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let header = bytes.get(..HEADER).ok_or_else(|| invalid("its header is cut off"))?;
        let field = |at: usize| -> [u8; 8] { std::array::from_fn(|i| header[at + i]) };
        let sound = header[..8] == MAGIC
            && header[8..12] == number.to_le_bytes()
            && header[28..32] == crc32fast::hash(&header[..28]).to_le_bytes();
        let (marker, highest_id) = if sound {
            (Marker(field(12)), u64::from_le_bytes(field(20)))
        } else {
            // The first record repeats the marker; a record that is whole proves it.
            let marker = Marker(
                bytes
                    .get(HEADER..HEADER + 8)
                    .map_or([0; 8], |bytes| std::array::from_fn(|i| bytes[i])),
            );
            Found::read(&bytes[HEADER..], marker).map_err(|_| invalid("its header is damaged"))?;
            (marker, 0)
        };
        let segment = Self { number, path: path.to_owned(), marker, file };
        Ok((segment, bytes, highest_id))
    }

    /// The segments in a directory, in the order in which they were written.
    pub(super) fn list(directory: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut segments = Vec::new();
        for file in fs::read_dir(directory)? {
            let path = file?.path();
            let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let (true, Some(number)) = (is_segment, number) {
                segments.push((number, path));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    /// Reads the bytes of one frame. The caller checks them.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; place.length as usize];
        let read = self.file.read_exact_at(&mut bytes, place.offset);
        read.map_err(|error| StoreError::io("read", &self.path, error))?;
        Ok(bytes)
    }

    /// Cuts a segment of an earlier run behind its last whole record.
    pub(super) fn cut(&self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.sync_all()
    }

    /// Everything in `bytes`, the whole file, in order.
    pub(super) fn scan<'a>(&self, bytes: &'a [u8]) -> Vec<Scanned<'a>> {
        let mut scanned = Vec::new();
        let mut offset = HEADER.min(bytes.len());
        while offset < bytes.len() {
            match Found::read(&bytes[offset..], self.marker) {
                Ok(found) => {
                    scanned.push(Scanned::Frame { offset: offset as u64, found });
                    offset += found.length;
                }
                Err(error) => {
                    let next = self.next_frame(bytes, offset + ALIGNMENT);
                    let bad = &bytes[offset..next.unwrap_or(bytes.len())];
                    // Reserved space that was never written is zero to the end.
                    if next.is_some() || bad.iter().any(|&octet| octet != 0) {
                        let last = next.is_none();
                        scanned.push(Scanned::Bad {
                            offset: offset as u64,
                            bytes: bad,
                            error,
                            last,
                        });
                    }
                    offset += bad.len();
                }
            }
        }
        scanned
    }

    /// Where the next whole frame begins at or after `from`.
    fn next_frame(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        memchr::memmem::find_iter(rest, &self.marker.0)
            .map(|at| from + at)
            .find(|&at| Found::read(&bytes[at..], self.marker).is_ok())
    }
}
