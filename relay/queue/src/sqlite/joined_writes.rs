//! A layer under SQLite that brings a transaction to the log in one write.
//!
//! SQLite writes each page of a transaction to its log with two calls, one for the frame's header
//! and one for the page: eight for a small message, each of which copies into the file's cache and
//! costs more than the copy. Nothing of a transaction counts before the sync that ends it, so what
//! is written behind each other waits here for that sync, and goes out in front of it as one write.
//! Whatever else happens to the log finds in the file what SQLite had written.
//!
//! Only the log of the connection that writes is handled so. Readers have files of their own, and
//! learn of a transaction after its sync; every transaction ends with one, since the connection is
//! `synchronous = FULL`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};
use std::{mem, ptr};

use rusqlite::ffi::{
    self, SQLITE_IOERR, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_int64,
    sqlite3_io_methods, sqlite3_vfs,
};

use crate::limits;

/// The name of the layer over another one, by default SQLite's own.
///
/// # Errors
/// There is no such layer, or SQLite does not take another.
pub(super) fn over(base: Option<&str>) -> rusqlite::Result<&'static str> {
    static KNOWN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let name = format!("joined-writes-over-{}", base.unwrap_or("default"));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = known.iter().find(|&&known| known == name) {
        return Ok(known);
    }
    let base = base.map(CString::new).transpose()?;
    let layer_name: &'static CStr = Box::leak(CString::new(name.as_str())?.into_boxed_c_str());
    // SAFETY: the name is null or a string that lives during the call.
    let found = unsafe { ffi::sqlite3_vfs_find(base.as_ref().map_or(ptr::null(), |b| b.as_ptr())) };
    if found.is_null() {
        return Err(failure(ffi::SQLITE_NOTFOUND));
    }
    // SAFETY: a layer lives as long as it is registered, and nobody takes any away. Of the copied
    // functions only the one that opens files looks at its layer, and that one is ours, which calls
    // the base with the base.
    let layer = unsafe {
        sqlite3_vfs {
            szOsFile: (*found).szOsFile + size_of::<LogFile>() as c_int,
            pNext: ptr::null_mut(),
            zName: layer_name.as_ptr(),
            pAppData: found.cast(),
            xOpen: Some(open),
            ..*found
        }
    };
    // SAFETY: SQLite keeps the pointer; what it points to is leaked.
    match unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(layer)), 0) } {
        SQLITE_OK => {
            let name: &'static str = Box::leak(name.into_boxed_str());
            known.push(name);
            Ok(name)
        }
        code => Err(failure(code)),
    }
}

fn failure(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("no layer for the log".to_owned()))
}

/// What SQLite takes for its log's file. The base's own file lies right behind it.
#[repr(C)]
struct LogFile {
    /// First, since SQLite looks for it there.
    file: sqlite3_file,
    pending: Pending,
}

/// Octets that lie behind each other and are not yet in the file.
#[derive(Debug, Default)]
struct Pending {
    /// Where the first of them goes.
    offset: sqlite3_int64,
    octets: Vec<u8>,
}

impl Pending {
    /// May these follow what waits already?
    fn can_take(&self, octets: &[u8], offset: sqlite3_int64) -> bool {
        let end = self.offset + self.octets.len() as sqlite3_int64;
        self.octets.is_empty()
            || (offset == end && self.octets.len() + octets.len() <= limits::LOG_WRITE_OCTETS)
    }

    fn take(&mut self, octets: &[u8], offset: sqlite3_int64) {
        if self.octets.is_empty() {
            self.offset = offset;
        }
        self.octets.extend_from_slice(octets);
    }
}

impl LogFile {
    /// The base's file.
    fn base(&mut self) -> *mut sqlite3_file {
        // SAFETY: [`over`] asks SQLite for room for both, and both are aligned like pointers.
        unsafe { ptr::from_mut(self).add(1).cast() }
    }

    /// Calls a function of the base with the base's file.
    fn ask<F>(
        &mut self,
        function: impl FnOnce(&sqlite3_io_methods) -> Option<F>,
        call: impl FnOnce(F, *mut sqlite3_file) -> c_int,
    ) -> c_int {
        let base = self.base();
        // SAFETY: the file was opened, so it has functions, which live as long as it does.
        let methods = unsafe { (*base).pMethods.as_ref() };
        match methods.and_then(function) {
            Some(function) => call(function, base),
            None => SQLITE_IOERR,
        }
    }

    /// Brings what waits into the file. After an error it is forgotten: SQLite ends the transaction
    /// that it was of.
    fn write_pending(&mut self) -> c_int {
        if self.pending.octets.is_empty() {
            return SQLITE_OK;
        }
        let mut octets = mem::take(&mut self.pending.octets);
        let offset = self.pending.offset;
        let written = self.write(&octets, offset);
        octets.clear();
        self.pending.octets = octets;
        written
    }

    fn write(&mut self, octets: &[u8], offset: sqlite3_int64) -> c_int {
        let Ok(length) = c_int::try_from(octets.len()) else { return SQLITE_IOERR };
        self.ask(
            |base| base.xWrite,
            // SAFETY: the octets are as many as it says.
            |write, base| unsafe { write(base, octets.as_ptr().cast(), length, offset) },
        )
    }

    /// Asks the base after what waits is in the file.
    fn write_and_ask<F>(
        &mut self,
        function: impl FnOnce(&sqlite3_io_methods) -> Option<F>,
        call: impl FnOnce(F, *mut sqlite3_file) -> c_int,
    ) -> c_int {
        match self.write_pending() {
            SQLITE_OK => self.ask(function, call),
            error => error,
        }
    }
}

/// Version 1: SQLite neither maps nor locks its log.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    layer: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: [`over`] put the base there.
    let base = unsafe { (*layer).pAppData.cast::<sqlite3_vfs>() };
    // SAFETY: the base lives as long as the process.
    let Some(open) = (unsafe { (*base).xOpen }) else { return SQLITE_IOERR };
    if flags & SQLITE_OPEN_WAL == 0 {
        // SAFETY: the arguments are SQLite's own, and the file has more room than the base needs.
        return unsafe { open(base, name, file, flags, out) };
    }
    let log: *mut LogFile = file.cast();
    // SAFETY: SQLite gives room for what [`over`] asked, aligned to eight octets.
    unsafe {
        log.write(LogFile {
            file: sqlite3_file { pMethods: ptr::null() },
            pending: Pending::default(),
        });
        let opened = open(base, name, (*log).base(), flags, out);
        // Without functions SQLite does not close it; nothing is allocated yet.
        if opened == SQLITE_OK {
            (*log).file.pMethods = &raw const METHODS;
        }
        opened
    }
}

/// The log behind a pointer that SQLite gives to a function of [`METHODS`].
///
/// # Safety
/// It is a file that [`open`] opened and that is not in use elsewhere.
unsafe fn log<'a>(file: *mut sqlite3_file) -> &'a mut LogFile {
    // SAFETY: see above.
    unsafe { &mut *file.cast::<LogFile>() }
}

/// What waits was never synced, and belongs to a transaction that never ended.
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite's own file, which it uses from one thread at a time and here the last time.
    unsafe {
        let closed = log(file).ask(|base| base.xClose, |close, base| close(base));
        ptr::drop_in_place(&raw mut log(file).pending);
        closed
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    octets: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's own file, which it uses from one thread at a time.
    let log = unsafe { log(file) };
    let Ok(length) = usize::try_from(length) else { return SQLITE_IOERR };
    // SAFETY: SQLite gives as many octets as it says.
    let octets = unsafe { std::slice::from_raw_parts(octets.cast::<u8>(), length) };
    if !log.pending.can_take(octets, offset) {
        let written = log.write_pending();
        if written != SQLITE_OK {
            return written;
        }
    }
    log.pending.take(octets, offset);
    SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).write_and_ask(|base| base.xSync, |sync, base| sync(base, flags)) }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    octets: *mut c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe {
        log(file).write_and_ask(|base| base.xRead, |read, base| read(base, octets, length, offset))
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).write_and_ask(|base| base.xTruncate, |truncate, base| truncate(base, size)) }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).write_and_ask(|base| base.xFileSize, |ask, base| ask(base, size)) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).ask(|base| base.xLock, |lock, base| lock(base, level)) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).ask(|base| base.xUnlock, |unlock, base| unlock(base, level)) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).ask(|base| base.xCheckReservedLock, |check, base| check(base, result)) }
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    what: c_int,
    with: *mut c_void,
) -> c_int {
    // SAFETY: SQLite's own file and arguments, from one thread at a time.
    unsafe { log(file).ask(|base| base.xFileControl, |control, base| control(base, what, with)) }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite's own file, from one thread at a time.
    unsafe { log(file).ask(|base| base.xSectorSize, |ask, base| ask(base)) }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite's own file, from one thread at a time.
    unsafe { log(file).ask(|base| base.xDeviceCharacteristics, |ask, base| ask(base)) }
}

#[cfg(test)]
mod tests {
    use crate::sqlite::joined_writes::*;

    #[test]
    fn what_lies_behind_the_other_is_one_write_up_to_a_limit() {
        let mut pending = Pending::default();
        assert!(pending.can_take(b"frame", 32));
        pending.take(b"frame", 32);
        assert!(pending.can_take(b"page", 37));
        pending.take(b"page", 37);
        assert_eq!((pending.offset, &pending.octets[..]), (32, &b"framepage"[..]));
        for offset in [0, 32, 40, 42, 1000] {
            assert!(!pending.can_take(b"next", offset), "{offset}");
        }
        let most = vec![0; limits::LOG_WRITE_OCTETS];
        assert!(!pending.can_take(&most, 41));
        assert!(Pending::default().can_take(&most, 41));
    }

    #[test]
    fn a_layer_is_made_once_and_over_one_that_exists() {
        assert_eq!(over(None).unwrap().as_ptr(), over(None).unwrap().as_ptr());
        assert!(over(Some("no such layer")).is_err());
    }
}
