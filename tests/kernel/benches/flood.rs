//! `cargo xtask bench flood`: sessions of the relay connector while forged SYNs arrive, with and
//! without the guard.
//!
//! Every row has its own edge host, client and attacker, in network namespaces, with the real
//! daemon. All rows are run [`ROUNDS`] times, one after the other, so that other load on the
//! machine shows as a difference between two rows of one name.

use std::time::Duration;

use relay_kernel_tests::flood::client::percentile;
use relay_kernel_tests::flood::{self, Conditions, Cpus, Guard, Outcome, Plan};
use relay_tests::daemon::binary;

const PLAN: Plan = Plan { window: Duration::from_secs(8), syns_per_second: 150_000, clients: 4 };
const ROUNDS: usize = 2;

const ROWS: [(&str, Conditions); 6] = [
    ("no flood, no guard", row(false, Guard::Absent, true)),
    ("no flood, guard with budget", row(false, Guard::Budget, true)),
    ("flood, no guard, syncookies=1", row(true, Guard::Absent, true)),
    ("flood, no guard, syncookies=0", row(true, Guard::Absent, false)),
    ("flood, guard with budget", row(true, Guard::Budget, true)),
    ("flood of refused sources", row(true, Guard::Refuse, true)),
];

const fn row(flood: bool, guard: Guard, syncookies: bool) -> Conditions {
    Conditions { flood, guard, syncookies }
}

fn main() {
    introduce();
    let mut outcomes = Vec::new();
    for round in 1..=ROUNDS {
        for (name, conditions) in ROWS {
            eprintln!("round {round}: {name}");
            outcomes.push((round, name, flood::run(PLAN, conditions)));
        }
    }
    print_flood(&outcomes);
    print_sessions(&outcomes);
    let failures = outcomes.iter().flat_map(|(round, name, outcome)| {
        outcome.sessions.failures.first().map(|failure| (round, name, failure))
    });
    for (round, name, failure) in failures {
        println!("round {round}, {name}: the first that failed: {failure}");
    }
}

fn introduce() {
    // Built now if necessary, not during the first row.
    let daemon = binary().expect("a daemon to test");
    println!("{PLAN:?}, {ROUNDS} rounds, {}", daemon.display());
    match Cpus::available() {
        Some(Cpus { edge, world }) => println!(
            "CPU {edge} is the edge host's: the daemon, its next hop, and all that its kernel does \
             with\nwhat arrives. CPU {world} is the client's and the attacker's; what the flood costs \
             to send, and\nits answers to receive, slows the client down in every row with a flood."
        ),
        None => println!(
            "One CPU for edge host, client and attacker: what the flood costs to send is in every \
             row with a flood."
        ),
    }
    println!(
        "A budget is shared by all that a connector takes: during the flood, new clients of the \
         Default\nFrontend are dropped with it. The relay connector has no budget.\n"
    );
}

type Rows = [(usize, &'static str, Outcome)];

fn print_flood(outcomes: &Rows) {
    println!(
        "{:<32}{:>8}{:>10}{:>10}{:>12}{:>12}{:>13}{:>11}",
        "the flood",
        "SYNs/s",
        "on cable",
        "lost",
        "by guard",
        "by listener",
        "cookies sent",
        "guard"
    );
    for (round, name, outcome) in outcomes {
        let modes = &outcome.status.classifier.interfaces;
        println!(
            "{round} {name:<30}{:>8.0}{:>10}{:>10}{:>12}{:>12}{:>13}{:>11}",
            outcome.flood.rate(),
            outcome.flood.delivered,
            outcome.flood.lost,
            outcome.dropped(),
            outcome.listen_drops,
            outcome.cookies_sent,
            modes.get("edge-out").map_or("", String::as_str),
        );
    }
    println!(
        "on cable: taken by the edge's interface; lost: it had no room. by guard, by listener: \
         dropped there.\n"
    );
}

fn print_sessions(outcomes: &Rows) {
    println!(
        "{:<32}{:>7}{:>7}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>7}",
        "the relay connector",
        "/s",
        "ratio",
        "220 p50",
        "220 p99",
        "all p50",
        "all p99",
        "served",
        "failed",
        "CPU"
    );
    for (round, name, outcome) in outcomes {
        let quiet = outcomes.iter().find(|(other, ..)| other == round);
        let quiet = quiet.map_or(f64::NAN, |(_, _, quiet)| quiet.sessions.rate());
        let sessions = &outcome.sessions;
        let milliseconds =
            |list: &[Duration], percent| percentile(list, percent).as_secs_f64() * 1e3;
        let busy = outcome.edge_busy.map(|busy| format!("{:.0} %", busy * 100.0));
        println!(
            "{round} {name:<30}{:>7.0}{:>7.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8}{:>8}{:>7}",
            sessions.rate(),
            sessions.rate() / quiet,
            milliseconds(&sessions.greetings, 50),
            milliseconds(&sessions.greetings, 99),
            milliseconds(&sessions.whole, 50),
            milliseconds(&sessions.whole, 99),
            sessions.whole.len(),
            sessions.failures.len(),
            busy.unwrap_or_default(),
        );
    }
    println!(
        "ratio: to the first row of the round. 220, all: ms from connect to the greeting, and to the \
         end. CPU:\nbusy part of the edge host's, with all other work that the machine runs on it."
    );
}
