//! What a run consists of.

use std::time::Duration;

use relay_tests::benchmark::Workload;

const KIB: usize = 1024;
const LARGE: usize = 20_000_000;

/// How large the run is.
pub struct Plan {
    pub workloads: &'static [Workload],
    /// How long a workload is sent for.
    pub time: Duration,
    /// Counts of idle sessions.
    pub idle: &'static [usize],
    /// Messages in the queue of the restart; a peer gets as many as it takes in [`Plan::fill`].
    pub queue: usize,
    pub fill: Duration,
}

/// The run whose figures are kept: about ten minutes.
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

/// About two minutes, to see that everything works.
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
    /// A line each.
    pub fn describe(&self) -> Vec<String> {
        let time = self.time.as_secs_f64();
        vec![
            format!(
                "Each server starts anew for each workload, on an empty queue, and is warmed up with \
                 two messages for each session; then messages are sent for {time} s, and no new one \
                 after that. The rate is what was accepted until the last reply, or what had come to \
                 the sink until the last of it came, which is waited for no longer than 12 s."
            ),
            "The client sends MAIL, RCPT and DATA in one write where PIPELINING is offered, and the \
             message in one; a wait is from its last octet to the reply. Client and sink are one \
             thread each; the sink offers PIPELINING, keeps nothing and refuses nothing."
                .to_owned(),
            "Every queue is on the disk above. Logs of the peers go to memory, ours to that disk. Who \
             is held accepts as ever and delivers nothing; see the settings."
                .to_owned(),
            "Flushes are those that the disk counted for whatever this machine did, divided by the \
             messages; a server that syncs each message by itself cannot have less than one unless \
             the file system joins them."
                .to_owned(),
        ]
    }
}
