//! The speed of the disk without a mail server: the limit of every durable 250.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Times of 4 KiB appended and synced, one after the other.
pub fn append_and_sync(folder: &Path, rounds: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join("append");
    let mut file = File::create(&path)?;
    let block = [b'x'; 4096];
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

/// Times of a file of 4 KiB created, synced and renamed, one after the other, as Postfix, Exim and
/// most other servers store a message.
pub fn file_and_sync(folder: &Path, rounds: usize) -> io::Result<Vec<Duration>> {
    let block = [b'x'; 4096];
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let (temporary, path) = (folder.join("temporary"), folder.join(format!("file-{round}")));
        let begun = Instant::now();
        let mut file = File::create(&temporary)?;
        file.write_all(&block)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        times.push(begun.elapsed());
        fs::remove_file(path)?;
    }
    Ok(times)
}

/// The mount point of a directory, its device and its file system.
pub fn file_system(folder: &Path) -> io::Result<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let below = |line: &str| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        let found = (device.to_owned(), kind.to_owned());
        folder.starts_with(point).then_some((point.len(), found))
    };
    // Of several mounts on the same path the last one is visible.
    let deepest = mounts.lines().filter_map(below).max_by_key(|(length, _)| *length);
    deepest.map(|(_, found)| found).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Cache flushes that the disk of a file has completed since the system started, if the kernel
/// counts them.
pub fn flushes(folder: &Path) -> Option<u64> {
    let device = rustix::fs::stat(folder).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}");
    // The kernel counts them for the disk, not for its partitions.
    let whole = Path::new(&path).join("../stat");
    let text = match Path::new(&path).join("partition").exists() {
        true => fs::read_to_string(whole),
        false => fs::read_to_string(Path::new(&path).join("stat")),
    };
    text.ok()?.split_whitespace().nth(15)?.parse().ok()
}
