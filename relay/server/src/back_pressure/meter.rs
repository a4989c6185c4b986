//! Reads the resources, off the path of every session, and says in the log when a level changes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::back_pressure::{BackPressure, LevelChange, Readings};
use crate::limits::BACK_PRESSURE_INTERVAL;
use relay_mail::store_error::StoreError;
use relay_policy::pressure::PressureLevel;
use relay_queue::Queue;
use tracing::{info, warn};

/// Where the values come from.
#[derive(Clone, Debug)]
pub struct Meter {
    queue: Queue,
    /// Octets of memory that this process may have; `None`: unknown.
    memory: Option<u64>,
    /// Messages of the backlog that were there when this process began, as far as they may be there
    /// still.
    left_over: Arc<AtomicU64>,
}

impl Meter {
    /// For this queue and this process.
    pub fn new(queue: Queue) -> Self {
        Self { queue, memory: host_memory(), left_over: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Reads every resource once. It asks the file system of the queue, which may take its time.
    pub async fn read(&self) -> Readings {
        let store = self.queue.store();
        let usage = store.usage().await;
        if let Err(error) = &usage {
            warn!(%error, "cannot read how full the queue's file system is");
        }
        let disk = usage.as_ref().ok().map(|usage| percent(usage.used_octets, usage.octets));
        let backlog = usage.ok().map(|usage| self.growth(usage.backlog));
        // The kernel adds up what every mapping has.
        let used = tokio::task::spawn_blocking(private_memory).await.ok().flatten();
        let memory = used.zip(self.memory).map(|(used, all)| percent(used, all));
        let held = self.queue.message_memory();
        let messages = percent(held.octets_for_back_pressure(), held.budget());
        let refusal = store.accepts().await.err();
        Readings { values: [disk, backlog, memory, Some(messages)], refusal }
    }
}

impl Meter {
    /// How much longer a backlog is than what an earlier process has left of it. A backlog presses
    /// when mail comes faster than it goes; to refuse mail after a restart until all of a long queue
    /// has been looked at would help nobody.
    fn growth(&self, backlog: u64) -> u64 {
        let before = self.left_over.fetch_min(backlog, Ordering::AcqRel);
        backlog - before.min(backlog)
    }
}

/// Meters for as long as the daemon runs.
pub async fn run(pressure: Arc<BackPressure>, meter: Meter) {
    let mut ticks = tokio::time::interval(BACK_PRESSURE_INTERVAL);
    let mut refuses = false;
    loop {
        ticks.tick().await;
        let readings = meter.read().await;
        tell_refusal(&mut refuses, readings.refusal.as_ref());
        pressure.take(readings).iter().for_each(tell);
    }
}

/// Says when the queue begins to refuse mail, and when that is over.
fn tell_refusal(refuses: &mut bool, refusal: Option<&StoreError>) {
    match refusal {
        Some(error) if !*refuses => warn!(%error, "the queue takes no mail"),
        None if *refuses => warn!("the queue takes mail again"),
        Some(_) | None => {}
    }
    *refuses = refusal.is_some();
}

fn tell(change: &LevelChange) {
    let LevelChange { resource, from, to, value } = change;
    let unit = resource.unit();
    if to > from {
        warn!(%resource, %from, %to, value, unit, "back pressure rises: {}", effect(*to));
    } else {
        info!(%resource, %from, %to, value, unit, "back pressure falls: {}", effect(*to));
    }
}

const fn effect(level: PressureLevel) -> &'static str {
    match level {
        PressureLevel::Normal => "this resource keeps no mail away",
        PressureLevel::Medium => "mail is taken from servers only",
        PressureLevel::High => "no mail is taken, and connections are turned away",
    }
}

/// Rounded down; nothing of nothing is nothing.
fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// Octets of memory that no other process shares, as Exchange's private bytes.
fn private_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "RssAnon:")
}

/// Octets of memory of this host, or of the control group that this process is confined to.
fn host_memory() -> Option<u64> {
    let host = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:");
    let group = group_memory();
    host.into_iter().chain(group).min()
}

fn group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max")).ok()?;
    // `max` is no number, and no limit.
    limit.trim().parse().ok()
}

/// A line such as `MemTotal:  16318480 kB`, in octets.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use crate::back_pressure::meter::*;

    #[tokio::test]
    async fn what_was_there_before_presses_nobody() {
        let directory = tempfile::TempDir::new().unwrap();
        let settings = relay_queue::QueueSettings {
            hostname: relay_mail::path::Domain::parse("edge1.contoso.example").unwrap(),
            schedule: relay_queue::schedule::Schedule::default(),
        };
        let store = relay_queue::StoreSettings::new(directory.path());
        let meter = Meter::new(Queue::open(&store, settings).unwrap().0);
        let growth: Vec<_> =
            [100, 150, 40, 45, 0, 7].map(|backlog| meter.clone().growth(backlog)).into();
        assert_eq!(growth, [0, 50, 0, 5, 0, 7]);
    }

    #[test]
    fn this_host_can_be_read() {
        let (used, all) = (private_memory().unwrap(), host_memory().unwrap());
        assert!(used > 4096 && used < all, "{used} of {all}");
        assert_eq!(kibibytes("MemFree: 1 kB\nMemTotal:   16 kB\n", "MemTotal:"), Some(16_384));
        assert_eq!(kibibytes("MemTotal: many kB\n", "MemTotal:"), None);
    }

    #[test]
    fn percents_are_rounded_down() {
        let percents = [percent(89, 100), percent(899, 1000), percent(1, 0), percent(0, 0)];
        assert_eq!(percents, [89, 89, 100, 0]);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}
