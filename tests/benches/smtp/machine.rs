//! The machine, for the beginning of the report.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use relay_tests::benchmark::percentile;

use crate::{cpus, disk};

/// A line for each fact. Refuses a file system that is not on a disk.
pub fn describe(folder: &Path) -> Result<Vec<String>> {
    let (device, kind) = disk::file_system(&fs::canonicalize(folder)?)?;
    ensure!(kind != "tmpfs" && kind != "overlay", "a queue on {kind} is not on a disk");
    let system = rustix::system::uname();
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let who = match cpus::shares() {
        Some(cpus::Shares { server, world }) => {
            format!("the server has CPU {server:?}, generator and sink have CPU {world}")
        }
        None => "one CPU for all".to_owned(),
    };
    let microseconds = |times: &[_], percent| percentile(times, percent).as_secs_f64() * 1e6;
    let append = disk::append_and_sync(folder, 500)?;
    let file = disk::file_and_sync(folder, 500)?;
    Ok(vec![
        format!("Linux {}, {processor}; {who}", system.release().to_string_lossy()),
        format!("all queues on {kind} on {device}"),
        format!(
            "4 KiB appended and synced: p50 {:.0} µs, p99 {:.0} µs; a file of 4 KiB created, \
             synced and renamed: p50 {:.0} µs, p99 {:.0} µs",
            microseconds(&append, 50),
            microseconds(&append, 99),
            microseconds(&file, 50),
            microseconds(&file, 99),
        ),
    ])
}
