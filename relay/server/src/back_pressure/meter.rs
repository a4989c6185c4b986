//! Measures the resources, outside of sessions, and logs changed levels.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::back_pressure::{BackPressure, LevelChange, Readings};
use crate::limits::BACK_PRESSURE_INTERVAL;
use relay_mail::store_error::StoreError;
use relay_policy::pressure::PressureLevel;
use relay_queue::Queue;
use tracing::{info, warn};

/// The sources of the values.
#[derive(Clone, Debug)]
pub struct Meter {
    queue: Queue,
    /// Octets of memory that this process may use; `None`: unknown.
    memory: Option<u64>,
    /// Messages of the backlog that an earlier process left, as far as they may still be there.
    left_over: Arc<AtomicU64>,
}

impl Meter {
    /// A meter for this queue and this process.
    pub fn new(queue: Queue) -> Self {
        Self { queue, memory: host_memory(), left_over: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Measures every resource once. Asks the file system of the queue, which may be slow.
    pub async fn read(&self) -> Readings {
        let store = self.queue.store();
        let usage = store.usage().await;
        if let Err(error) = &usage {
            warn!(%error, "cannot read how full the queue's file system is");
        }
        let disk = usage.as_ref().ok().map(|usage| percent(usage.used_octets, usage.octets));
        let backlog = usage.ok().map(|usage| self.growth(usage.backlog));
        // The kernel adds up all mappings.
        let used = tokio::task::spawn_blocking(private_memory).await.ok().flatten();
        let memory = used.zip(self.memory).map(|(used, all)| percent(used, all));
        let held = self.queue.message_memory();
        let messages = percent(held.octets_for_back_pressure(), held.budget());
        let refusal = store.accepts().await.err();
        Readings { values: [disk, backlog, memory, Some(messages)], refusal }
    }
}

impl Meter {
    /// The growth of the backlog since the start of this process. A backlog matters if mail arrives
    /// faster than it is delivered. To refuse mail after a restart until a long queue has been
    /// worked off would help no client.
    fn growth(&self, backlog: u64) -> u64 {
        let before = self.left_over.fetch_min(backlog, Ordering::AcqRel);
        backlog - before.min(backlog)
    }
}

/// Measures as long as the daemon runs.
pub async fn run(pressure: Arc<BackPressure>, meter: Meter) {
    let mut ticks = tokio::time::interval(BACK_PRESSURE_INTERVAL);
    let mut refuses = false;
    loop {
        ticks.tick().await;
        let readings = meter.read().await;
        log_refusal(&mut refuses, readings.refusal.as_ref());
        pressure.update(readings).iter().for_each(log_change);
    }
}

/// Logs when the queue begins and ends to refuse mail.
fn log_refusal(refuses: &mut bool, refusal: Option<&StoreError>) {
    match refusal {
        Some(error) if !*refuses => warn!(%error, "the queue accepts no mail"),
        None if *refuses => warn!("the queue accepts mail again"),
        Some(_) | None => {}
    }
    *refuses = refusal.is_some();
}

fn log_change(change: &LevelChange) {
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
        PressureLevel::Normal => "this resource delays no mail",
        PressureLevel::Medium => "mail is accepted from servers only",
        PressureLevel::High => "no mail is accepted, and connections are refused",
    }
}

/// Rounded down; zero if the whole is zero.
fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// Octets of memory that this process does not share, like Exchange's private bytes.
fn private_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "RssAnon:")
}

/// Octets of memory of this host, or of the control group of this process.
fn host_memory() -> Option<u64> {
    let host = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:");
    let group = group_memory();
    host.into_iter().chain(group).min()
}

fn group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max")).ok()?;
    // `max` is not a number: there is no limit.
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
    async fn a_backlog_of_an_earlier_process_causes_no_pressure() {
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
