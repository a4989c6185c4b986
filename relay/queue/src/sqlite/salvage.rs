//! The rows of a database that SQLite can no longer open or read completely.
//!
//! SQLite refuses a whole subtree because of one damaged page in it, and its own recovery tool is
//! not part of the library. This module reads the pages: from the roots down, and, if the tree is
//! broken, every leaf that was not reached and is not free. The checksum of each row decides
//! whether the row is accepted, so a wrong reading may lose a row but never invents one.
//!
//! The format: <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sqlite::database::{self, BodyRow, EntryRow, ROOT_PAGES};
use crate::sqlite::wal;
use bytes::Bytes;
use relay_mail::queue_id::QueueId;

use crate::limits;

const PAGE: usize = limits::DATABASE_PAGE_OCTETS;
/// First octet of a page of a table's tree.
const INTERIOR: u8 = 0x05;
const LEAF: u8 = 0x0d;
/// Octets of the database's header, which precedes the tree on page 1.
const DATABASE_HEADER: usize = 100;

/// One row or damaged page that was found.
#[derive(Debug)]
pub(super) enum SalvagedRow {
    Entry(EntryRow),
    Body(BodyRow),
    Reserved(QueueId),
    /// A row whose checksum does not fit.
    DamagedRow(QueueId),
    /// A page of a tree that cannot be parsed.
    DamagedPage(u32),
}

/// Passes every row of a database and its log to `take`.
///
/// # Errors
/// The errors of reading the files, and of `take`.
pub(super) fn read<E: From<io::Error>>(
    path: &Path,
    mut take: impl FnMut(SalvagedRow) -> Result<(), E>,
) -> Result<(), E> {
    let file = File::open(path)?;
    let in_file = file.metadata()?.len().div_ceil(PAGE as u64) as u32;
    let newer = wal::pages(path, PAGE)?;
    let count = newer.keys().copied().max().unwrap_or(0).max(in_file);
    let pages = Pages { file, newer, count };
    let free = pages.free();
    let mut reached = HashSet::new();
    let mut waiting: Vec<_> = ROOT_PAGES.into_iter().rev().collect();
    let mut broken = false;
    while let Some(number) = waiting.pop() {
        // A child that is free or has another parent: the pointer is damaged.
        let is_free = free.as_ref().is_some_and(|free| free.contains(&number));
        if is_free || !reached.insert(number) {
            broken = true;
            continue;
        }
        let page = pages.page(number)?;
        match page.first() {
            Some(&LEAF) => pages.leaf(number, &page, &mut take)?,
            Some(&INTERIOR) => match children(&page) {
                Some(children) => waiting.extend(children.into_iter().rev()),
                None => {
                    broken = true;
                    take(SalvagedRow::DamagedPage(number))?;
                }
            },
            _ => {
                broken = true;
                take(SalvagedRow::DamagedPage(number))?;
            }
        }
    }
    // Without the list of free pages, a leaf of messages delivered long ago looks like one in use.
    if let Some(free) = free.filter(|_| broken) {
        for number in 2..=pages.count {
            if free.contains(&number) || reached.contains(&number) {
                continue;
            }
            let page = pages.page(number)?;
            if page.first() == Some(&LEAF) {
                pages.leaf(number, &page, &mut take)?;
            }
        }
    }
    Ok(())
}

struct Pages {
    file: File,
    /// Pages in the log, which are newer than those in the file.
    newer: HashMap<u32, Vec<u8>>,
    count: u32,
}

enum Value<'a> {
    Integer(i64),
    Blob(&'a [u8]),
    Null,
}

impl Pages {
    /// One page; zeros beyond the end of the file.
    fn page(&self, number: u32) -> io::Result<Vec<u8>> {
        if let Some(page) = self.newer.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE];
        let begin = u64::from(number.saturating_sub(1)) * PAGE as u64;
        let mut filled = 0;
        while filled < PAGE {
            match self.file.read_at(&mut page[filled..], begin + filled as u64)? {
                0 => break,
                octets => filled += octets,
            }
        }
        Ok(page)
    }

    /// The free pages. None if the list of them is damaged.
    fn free(&self) -> Option<HashSet<u32>> {
        let first = self.page(1).ok()?;
        if !first.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let count = word(&first, 36)?;
        let mut free = HashSet::new();
        let mut trunk = word(&first, 32)?;
        while trunk != 0 {
            let page = self.page(trunk).ok()?;
            let leaves = word(&page, 4)? as usize;
            if trunk > self.count || leaves > PAGE / 4 - 2 || !free.insert(trunk) {
                return None;
            }
            for leaf in 0..leaves {
                let leaf = word(&page, 8 + 4 * leaf)?;
                if leaf == 0 || leaf > self.count || !free.insert(leaf) {
                    return None;
                }
            }
            trunk = word(&page, 0)?;
        }
        (free.len() == count as usize).then_some(free)
    }

    fn leaf<E: From<io::Error>>(
        &self,
        number: u32,
        page: &[u8],
        take: &mut impl FnMut(SalvagedRow) -> Result<(), E>,
    ) -> Result<(), E> {
        for cell in 0..cell_count(page) {
            let offset = half(page, 8 + 2 * cell).map_or(PAGE, usize::from);
            let found = self.cell(page, offset)?;
            take(found.unwrap_or(SalvagedRow::DamagedPage(number)))?;
        }
        Ok(())
    }

    /// The row of one cell; none if even its id cannot be read.
    fn cell(&self, page: &[u8], offset: usize) -> io::Result<Option<SalvagedRow>> {
        let Some((octets, rest)) = page.get(offset..).and_then(varint) else { return Ok(None) };
        let Some((rowid, rest)) = varint(rest) else { return Ok(None) };
        let id = database::id_of(rowid.cast_signed());
        let damaged = Ok(Some(SalvagedRow::DamagedRow(id)));
        let Ok(octets) = usize::try_from(octets) else { return damaged };
        if octets > limits::DATABASE_ROW_OCTETS {
            return damaged;
        }
        let local = local_octets(octets);
        let Some(begin) = rest.get(..local) else { return damaged };
        let mut payload = Vec::with_capacity(octets);
        payload.extend_from_slice(begin);
        let mut next = if local < octets { word(rest, local) } else { None };
        while payload.len() < octets {
            let Some(number) = next.filter(|&number| number > 1 && number <= self.count) else {
                return damaged;
            };
            let page = self.page(number)?;
            next = word(&page, 0);
            let take = (octets - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&page[4..4 + take]);
        }
        Ok(Some(row(id, &payload).unwrap_or(SalvagedRow::DamagedRow(id))))
    }
}

/// The row, when its checksum fits.
fn row(id: QueueId, payload: &[u8]) -> Option<SalvagedRow> {
    let (checksum, computed, found) = match values(payload)?[..] {
        [
            Value::Null,
            Value::Integer(sum),
            Value::Integer(due),
            Value::Integer(held),
            Value::Blob(record),
        ] => {
            let row = EntryRow { id, due, held: held != 0, record: record.to_vec() };
            (sum, row.checksum(), SalvagedRow::Entry(row))
        }
        [Value::Null, Value::Integer(sum), Value::Blob(message)] => {
            let row = BodyRow { id, message: Bytes::copy_from_slice(message) };
            (sum, row.checksum(), SalvagedRow::Body(row))
        }
        [Value::Null, Value::Integer(sum)] => {
            (sum, database::reserved_checksum(id), SalvagedRow::Reserved(id))
        }
        _ => return None,
    };
    (checksum == i64::from(computed)).then_some(found)
}

/// The columns of a record, of the kinds that our tables have.
fn values(payload: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, _) = varint(payload)?;
    let header = usize::try_from(header).ok()?;
    let mut types = payload.get(..header)?;
    (_, types) = varint(types)?;
    let mut content = payload.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let octets = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 => 8,
            12.. if kind % 2 == 0 => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let (bytes, rest) = content.split_at_checked(octets)?;
        content = rest;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            12.. => Value::Blob(bytes),
            _ => {
                let sign =
                    if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
                Value::Integer(bytes.iter().fold(sign, |sum, &b| sum << 8 | i64::from(b)))
            }
        });
    }
    Some(values)
}

/// Octets of a row that are on its leaf; the rest is on overflow pages.
fn local_octets(octets: usize) -> usize {
    let (most, least) = (PAGE - 35, (PAGE - 12) * 32 / 255 - 23);
    if octets <= most {
        return octets;
    }
    let fitting = least + (octets - least) % (PAGE - 4);
    if fitting <= most { fitting } else { least }
}

fn children(page: &[u8]) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for cell in 0..cell_count(page) {
        children.push(word(page, usize::from(half(page, 12 + 2 * cell)?))?);
    }
    children.push(word(page, 8)?);
    Some(children)
}

/// The number of cells in the page's header, bounded by the room for their pointers.
fn cell_count(page: &[u8]) -> usize {
    half(page, 3).map_or(0, usize::from).min((PAGE - DATABASE_HEADER) / 2)
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|half| u16::from_be_bytes(*half))
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// SQLite's variable-length integer: seven bits per octet, eight in the ninth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (position, &octet) in bytes.iter().enumerate().take(9) {
        if position == 8 {
            return Some((value << 8 | u64::from(octet), &bytes[9..]));
        }
        value = value << 7 | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}
