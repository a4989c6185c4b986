//! strace's record of one process, as calls in the order in which they began and ended.

use std::collections::HashMap;

/// Every call that can change a file, a name or a descriptor. The model knows those that the queue
/// uses, and fails the test for any other.
pub const CALLS: [&str; 29] = [
    "openat",
    "open",
    "creat",
    "close",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "symlink",
    "dup",
    "copy_file_range",
    "sendfile",
    "mmap",
];

/// The beginning or the end of a call. Its writes are pending between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Entry,
    Exit,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub moment: Moment,
    pub name: String,
    /// In strace's form, texts in hexadecimal.
    pub arguments: Vec<String>,
    /// Of an exit.
    pub result: i64,
}

impl Call {
    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// An argument that is a number.
    pub fn number(&self, place: usize) -> i64 {
        let argument = &self.arguments[place];
        argument.parse().unwrap_or_else(|_| panic!("no number: {argument} in {}", self.name))
    }

    /// An argument that is a text.
    pub fn octets(&self, place: usize) -> Vec<u8> {
        let argument = &self.arguments[place];
        let quoted = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let digits = quoted.unwrap_or_else(|| panic!("no whole text: {argument}"));
        digits.split("\\x").skip(1).map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
    }

    pub fn path(&self, place: usize) -> String {
        String::from_utf8(self.octets(place)).unwrap()
    }
}

/// Parses the output of `strace -f -xx`.
pub fn read(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    // Calls that a thread has begun and not ended.
    let mut begun: HashMap<&str, Call> = HashMap::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let mut call = begun.remove(thread).unwrap();
            let (_, after) = resumed.split_once(" resumed>").unwrap();
            let Some(result) = result(after) else { continue };
            (call.moment, call.result) = (Moment::Exit, result);
            calls.push(call);
            continue;
        }
        let (name, after) = rest.split_once('(').unwrap();
        let arguments = match after.strip_suffix(" <unfinished ...>") {
            Some(arguments) => arguments,
            None => &after[..after.rfind(") ").unwrap_or_else(|| panic!("{line}"))],
        };
        let call = Call {
            moment: Moment::Entry,
            name: name.to_owned(),
            // Texts are hexadecimal: no comma is part of one.
            arguments: arguments.split(',').map(|argument| argument.trim().to_owned()).collect(),
            result: 0,
        };
        calls.push(call.clone());
        if after.ends_with(" <unfinished ...>") {
            begun.insert(thread, call);
        } else if let Some(result) = result(after) {
            calls.push(Call { moment: Moment::Exit, result, ..call });
        }
    }
    calls
}

/// The text after the last `= `. None if the process ended within the call.
fn result(text: &str) -> Option<i64> {
    let result = text.rsplit_once("= ")?.1.split(' ').next()?;
    match result.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => result.parse().ok(),
    }
}
