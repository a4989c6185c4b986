//! Files and directories, each with the content on the disk and the pending changes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use fastrand::Rng;

use super::trace::{Call, Moment};

/// Octets that a disk writes completely or not at all; many file systems have the same size.
const SECTOR: usize = 512;

/// The unsynced changes that survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// None of them.
    Synced,
    /// Names, and no contents.
    Names,
    /// All of them.
    Everything,
    /// Some writes, some of them in part, and some names.
    Some,
}

/// The file system below one directory.
pub struct Disk {
    folder: String,
    nodes: Vec<Node>,
    /// By number: the file or directory, its path when it was opened, and the write position.
    descriptors: HashMap<i64, Descriptor>,
    /// Changes that existed when a sync began, by its descriptor.
    covered: HashMap<i64, usize>,
    /// Changes so far.
    changes: usize,
}

struct Descriptor {
    node: usize,
    path: String,
    offset: usize,
}

enum Node {
    File { synced: Vec<u8>, pending: Vec<(usize, Write)> },
    Directory { synced: Names, now: Names, pending: Vec<(usize, Change)> },
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone)]
enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl Disk {
    /// Contains only the directory.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_str().unwrap().to_owned(),
            nodes: vec![directory()],
            descriptors: HashMap::new(),
            covered: HashMap::new(),
            changes: 0,
        }
    }

    /// Does a sync affect the directory?
    pub fn is_below(&self, sync: &Call) -> bool {
        self.descriptors.contains_key(&sync.number(0))
    }

    /// Applies a call. A sync of a path that `fault` selects has no effect.
    pub fn apply(&mut self, call: &Call, fault: impl Fn(&str) -> bool) {
        let name = call.name.as_str();
        if call.moment == Moment::Entry {
            match name {
                "close" => drop(self.descriptors.remove(&call.number(0))),
                "fsync" | "fdatasync" => {
                    self.covered.insert(call.number(0), self.changes);
                }
                _ => {}
            }
            return;
        }
        if call.result < 0 {
            return;
        }
        match name {
            "openat" => self.open(call),
            "write" => self.append(call),
            "pwrite64" => {
                let length = usize::try_from(call.result).unwrap();
                let at = usize::try_from(call.number(3)).unwrap();
                if let Some(node) = self.node(call.number(0)) {
                    let mut octets = call.octets(1);
                    octets.truncate(length);
                    self.change_file(node, Write::At(at, octets));
                }
            }
            "ftruncate" => {
                if let Some(node) = self.node(call.number(0)) {
                    let length = usize::try_from(call.number(1)).unwrap();
                    self.change_file(node, Write::Length(length));
                }
            }
            "fsync" | "fdatasync" => self.sync(call.number(0), fault),
            "mkdir" => {
                if let Some((parent, name)) = self.find_parent(&call.path(0)) {
                    self.nodes.push(directory());
                    self.change_names(parent, Change::Link(name, self.nodes.len() - 1));
                }
            }
            "unlink" => {
                if let Some((parent, name)) = self.find_parent(&call.path(0)) {
                    self.change_names(parent, Change::Unlink(name));
                }
            }
            "rename" => {
                let (from, to) = (self.find_parent(&call.path(0)), self.find_parent(&call.path(1)));
                let (Some((from, old)), Some((to, new))) = (from, to) else { return };
                assert_eq!(from, to, "a rename between directories is not part of the model");
                self.change_names(from, Change::Rename(old, new));
            }
            "close" => {}
            "mmap" => {
                let is_shared = call.arguments[3].split('|').any(|flag| flag == "MAP_SHARED");
                let is_written = call.arguments[2].contains("PROT_WRITE");
                if let Some(descriptor) = self.descriptors.get(&call.number(4)) {
                    let allowed = !is_shared || !is_written || descriptor.path.ends_with("-shm");
                    assert!(allowed, "{} is written through memory", descriptor.path);
                }
            }
            // Calls outside the model must not affect its files.
            _ => {
                let mut numbers =
                    call.arguments.iter().filter_map(|argument| argument.parse().ok());
                let is_path = |at: &usize| call.arguments[*at].starts_with('"');
                let mut paths = (0..call.arguments.len()).filter(is_path).map(|at| call.path(at));
                // The allocator reads the system's settings.
                let is_elsewhere =
                    |path: &str| ["/proc/", "/sys/"].iter().any(|it| path.starts_with(it));
                let known = numbers.any(|number| self.descriptors.contains_key(&number))
                    || paths.any(|path| !is_elsewhere(&path));
                assert!(!known, "not part of the model: {call:?}");
            }
        }
    }

    /// Writes the state after a cut into an empty directory.
    pub fn write(&self, cut: Cut, random: &mut Rng, target: &Path) {
        self.write_directory(0, cut, random, target);
    }

    fn write_directory(&self, node: usize, cut: Cut, random: &mut Rng, target: &Path) {
        let Node::Directory { synced, pending, .. } = &self.nodes[node] else { return };
        let mut names = synced.clone();
        let count = match cut {
            Cut::Synced => 0,
            Cut::Names | Cut::Everything => pending.len(),
            Cut::Some => random.usize(0..=pending.len()),
        };
        pending[..count].iter().for_each(|(_, change)| change.apply(&mut names));
        for (name, &node) in &names {
            let path = target.join(name);
            match &self.nodes[node] {
                Node::Directory { .. } => {
                    fs::create_dir(&path).unwrap();
                    self.write_directory(node, cut, random, &path);
                }
                Node::File { synced, pending } => {
                    let mut octets = synced.clone();
                    for (_, write) in pending {
                        match cut {
                            Cut::Synced | Cut::Names => {}
                            Cut::Everything => write.apply(&mut octets),
                            Cut::Some if random.bool() => write.apply(&mut octets),
                            Cut::Some if random.bool() => write.tear(&mut octets, random),
                            Cut::Some => {}
                        }
                    }
                    fs::write(&path, octets).unwrap();
                }
            }
        }
    }

    fn open(&mut self, call: &Call) {
        self.descriptors.remove(&call.result);
        let path = call.path(1);
        let has = |flag| call.arguments[2].split('|').any(|it| it == flag);
        let node = match self.find(&path) {
            Some(node) => node,
            None => {
                let Some((parent, name)) = self.find_parent(&path) else { return };
                assert!(has("O_CREAT"), "{path} is not known");
                self.nodes.push(Node::File { synced: Vec::new(), pending: Vec::new() });
                let node = self.nodes.len() - 1;
                self.change_names(parent, Change::Link(name, node));
                node
            }
        };
        assert!(!has("O_APPEND"), "{path} is appended to, which is not part of the model");
        if has("O_TRUNC") {
            self.change_file(node, Write::Length(0));
        }
        self.descriptors.insert(call.result, Descriptor { node, path, offset: 0 });
    }

    fn append(&mut self, call: &Call) {
        let length = usize::try_from(call.result).unwrap();
        let Some(descriptor) = self.descriptors.get_mut(&call.number(0)) else { return };
        let (node, at) = (descriptor.node, descriptor.offset);
        descriptor.offset += length;
        let mut octets = call.octets(1);
        octets.truncate(length);
        self.change_file(node, Write::At(at, octets));
    }

    fn sync(&mut self, number: i64, fault: impl Fn(&str) -> bool) {
        let covered = self.covered.remove(&number);
        let Some(descriptor) = self.descriptors.get(&number) else { return };
        if fault(descriptor.path.strip_prefix(&self.folder).unwrap_or_default()) {
            return;
        }
        let covered = covered.unwrap_or_default();
        match &mut self.nodes[descriptor.node] {
            Node::File { synced, pending } => {
                take_covered(pending, covered).for_each(|write| write.apply(synced));
            }
            Node::Directory { synced, pending, .. } => {
                take_covered(pending, covered).for_each(|change| change.apply(synced));
            }
        }
    }

    fn change_file(&mut self, node: usize, write: Write) {
        let Node::File { pending, .. } = &mut self.nodes[node] else {
            panic!("a directory is written to");
        };
        pending.push((self.changes, write));
        self.changes += 1;
    }

    fn change_names(&mut self, node: usize, change: Change) {
        let Node::Directory { now, pending, .. } = &mut self.nodes[node] else {
            panic!("a file has no names");
        };
        change.apply(now);
        pending.push((self.changes, change));
        self.changes += 1;
    }

    fn node(&self, number: i64) -> Option<usize> {
        self.descriptors.get(&number).map(|descriptor| descriptor.node)
    }

    /// The file or directory of a path below the directory.
    fn find(&self, path: &str) -> Option<usize> {
        let below = path.strip_prefix(&self.folder)?;
        below.split('/').filter(|name| !name.is_empty()).try_fold(0, |node, name| {
            match &self.nodes[node] {
                Node::Directory { now, .. } => now.get(name).copied(),
                Node::File { .. } => None,
            }
        })
    }

    /// The parent directory of a path below the directory, and the name in it.
    fn find_parent(&self, path: &str) -> Option<(usize, String)> {
        let (parent, name) = path.rsplit_once('/')?;
        Some((self.find(parent)?, name.to_owned()))
    }
}

impl Write {
    fn apply(&self, octets: &mut Vec<u8>) {
        match self {
            Self::Length(length) => octets.resize(*length, 0),
            Self::At(at, written) => put(octets, *at, written),
        }
    }

    /// Only some of its sectors reach the disk.
    fn tear(&self, octets: &mut Vec<u8>, random: &mut Rng) {
        let Self::At(at, written) = self else { return };
        if written.len() <= SECTOR {
            return;
        }
        let mut done = 0;
        while done < written.len() {
            let sector = SECTOR - (at + done) % SECTOR;
            let end = written.len().min(done + sector);
            if random.bool() {
                put(octets, at + done, &written[done..end]);
            }
            done = end;
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Unlink(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// Removes the changes that existed when a sync began. Pending changes are in order.
fn take_covered<T>(pending: &mut Vec<(usize, T)>, covered: usize) -> impl Iterator<Item = T> {
    let count = pending.partition_point(|(number, _)| *number < covered);
    pending.drain(..count).map(|(_, it)| it)
}

fn put(octets: &mut Vec<u8>, at: usize, written: &[u8]) {
    octets.resize(octets.len().max(at + written.len()), 0);
    octets[at..at + written.len()].copy_from_slice(written);
}

fn directory() -> Node {
    Node::Directory { synced: Names::new(), now: Names::new(), pending: Vec::new() }
}
