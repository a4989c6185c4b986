//! The parts of a run.

use std::time::Duration;

use relay_tests::benchmark::Workload;

const KIB: usize = 1024;
const LARGE: usize = 20_000_000;

/// The size of the run.
pub struct Plan {
    pub workloads: &'static [Workload],
    /// The sending time of a workload.
    pub time: Duration,
    /// Counts of idle sessions.
    pub idle: &'static [usize],
    /// Messages in the queue for the restart; a peer gets as many as it accepts in [`Plan::fill`].
    pub queue: usize,
    pub fill: Duration,
}

/// The run for the published figures: about ten minutes.
pub const WHOLE: Plan = Plan {
    workloads: &[
        accept(1, 4 * KIB, false),
        accept(20, 4 * KIB, false),
        accept(20, 4 * KIB, true),
        accept(200, 4 * KIB, false),
        accept(200, 4 * KIB, true),
        accept(20, 1024 * KIB, false),
        accept(4, LARGE, false),
        deliver(1, 4 * KIB, false),
        deliver(20, 4 * KIB, false),
        deliver(20, 4 * KIB, true),
        deliver(200, 4 * KIB, false),
        deliver(20, 1024 * KIB, false),
    ],
    time: Duration::from_secs(4),
    idle: &[500, 5_000],
    queue: 100_000,
    fill: Duration::from_secs(8),
};

/// About two minutes, to check that everything works.
pub const QUICK: Plan = Plan {
    workloads: &[
        accept(1, 4 * KIB, false),
        accept(20, 4 * KIB, false),
        accept(20, 4 * KIB, true),
        accept(4, LARGE, false),
        deliver(20, 4 * KIB, false),
        deliver(20, 4 * KIB, true),
    ],
    time: Duration::from_millis(1500),
    idle: &[500],
    queue: 5_000,
    fill: Duration::from_secs(2),
};

const fn accept(sessions: usize, size: usize, connect_each: bool) -> Workload {
    Workload { sessions, size, connect_each, deliver: false }
}

const fn deliver(sessions: usize, size: usize, connect_each: bool) -> Workload {
    Workload { sessions, size, connect_each, deliver: true }
}

impl Plan {
    /// The method, a line for each fact.
    pub fn describe(&self) -> Vec<String> {
        let time = self.time.as_secs_f64();
        vec![
            format!(
                "Each server is started for each workload, with an empty queue, and warmed \
                 up with two messages for each session. Then the client begins messages for \
                 {time} s. The rate counts the messages accepted until the last reply, or \
                 delivered to the sink until the last one arrives, for at most 12 s more."
            ),
            "The client sends MAIL, RCPT and DATA in one write if PIPELINING is offered, and the \
             message in another. A latency is the time from the message's last octet to the \
             reply. Client and sink are one thread each; the sink offers PIPELINING, stores \
             nothing and refuses nothing."
                .to_owned(),
            "Every queue is on the disk above. Logs of the peers are in memory, ours are on that \
             disk. If only acceptance is measured, a server accepts as usual and delivers \
             nothing; see the settings."
                .to_owned(),
            "Flushes are those that the disk counted for all programs of this machine, divided by \
             the messages. A server that syncs each message separately cannot have less than one, \
             unless the file system merges them."
                .to_owned(),
        ]
    }
}
