//! The tasks that deliver: the one by the configuration in force, and those that a reload has
//! replaced and that are bringing their attempts to an end.

use std::mem;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::delivery::{Settings, run};
use crate::queue::Queue;

/// Delivery, over all reloads.
pub(super) struct Delivery {
    queue: Queue,
    current: Task,
    /// Told to stop, and not known to have ended.
    retiring: Vec<Task>,
}

struct Task {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Delivery {
    pub(super) fn start(queue: Queue, settings: Settings) -> Self {
        let current = Task::start(queue.clone(), settings);
        Self { queue, current, retiring: Vec::new() }
    }

    /// Delivers by other settings from now on. What waits goes by them; attempts under way end
    /// in the background, which takes a while where a next hop is slow to reply.
    pub(super) fn replace(&mut self, settings: Settings) {
        self.retiring.retain(|task| !task.task.is_finished());
        // Before the new task starts, so that only that one is woken by what is put back.
        self.current.stop.send_replace(true);
        let next = Task::start(self.queue.clone(), settings);
        self.retiring.push(mem::replace(&mut self.current, next));
    }

    /// Lets attempts that are under way end, within `limit`. For the end of the daemon: nothing
    /// is delivered any more.
    pub(super) async fn stop(&mut self, limit: Duration) {
        for task in self.retiring.iter().chain([&self.current]) {
            task.stop.send_replace(true);
        }
        let all_end = async {
            for Task { task, .. } in self.retiring.iter_mut().chain([&mut self.current]) {
                if let Err(error) = task.await {
                    error!(%error, "delivery did not stop as it should");
                }
            }
        };
        if timeout(limit, all_end).await.is_err() {
            warn!("attempts are cut off that may be delivered already, and will be again");
            for task in self.retiring.iter().chain([&self.current]) {
                task.task.abort();
            }
        }
    }
}

impl Task {
    fn start(queue: Queue, settings: Settings) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(queue, settings, stopped)) }
    }
}

#[cfg(test)]
mod tests;
