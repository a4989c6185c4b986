//! Next hops that misbehave, each in its own manner: the outcome of every recipient; no message is
//! lost, sent twice or delayed by another next hop.
//!
//! All of them are next hops of one daemon at the same time. Then they become correct, the daemon
//! is started again, and deferred messages must arrive completely.

mod cases;
mod hop;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::sink::Message;
use serde_json::Value;

use self::cases::Becomes::{self, Deferred, Delivered, Failed};
use self::cases::{Case, all_cases};
use self::hop::Hop;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, queue_id};

/// Longest time of the whole test: a silent next hop has a second at each step.
const PATIENCE: Duration = Duration::from_secs(60);

const SENDER: &str = "sender@contoso.example";

#[test]
fn each_recipient_has_the_right_outcome_for_every_behaviour_of_a_next_hop() {
    let edge = Edge::new(Mode::Userspace);
    let cases = all_cases();
    let mut hops: Vec<_> = cases.iter().map(|case| Hop::start(case.manners.clone())).collect();
    let routes: String = cases
        .iter()
        .zip(&hops)
        .map(|(Case { name, tls, .. }, hop)| {
            let address = hop.address;
            format!(
                "[[route]]\nrecipient_domains = [\"{name}.example\"]\n\
                 smart_hosts = [\"{address}\"]\ntls = \"{tls}\"\n"
            )
        })
        .collect();
    // One attempt, and the next after a restart.
    let intervals = "initial_retry_interval = \"1s\"\nmaximum_retry_interval = \"1s\"\n";
    let mended = edge
        .configuration(ARTICLE)
        .replace(intervals, &format!("connection_inactivity_timeout = \"1s\"\n{intervals}"))
        .replace("[control]\n", &(routes + "[control]\n"));
    let hours = intervals.replace("1s", "1h");
    let daemon = edge.start_with(&mended.replace(intervals, &hours));

    let ids = submit_all(&edge, &cases);
    // Other mail, for a next hop that behaves correctly.
    for _ in 0..10 {
        edge.submit(SENDER, &["amy@fabrikam.example"], "Subject: neighbour\r\n\r\nx\r\n");
    }
    let neighbours = wait_for(&edge, 10, |message| message.text().contains("Subject: neighbour"));
    assert_eq!(neighbours.len(), 10);

    let recipients: usize = cases.iter().map(|case| case.recipients.len()).sum();
    let failing = cases.iter().filter(|case| case.has(|becomes| matches!(becomes, Failed(_))));
    let (failing, is_report) =
        (failing.count(), |message: &Message| message.sender.address.is_empty());
    let settled = |queue: &Value| {
        let count = |name: &str| queue[name].as_u64().unwrap();
        count("claimed") == 0
            && count("delivered") + count("deferred") + count("failed")
                >= (recipients + failing + 10) as u64
    };
    wait_until(&edge, settled);
    let reports = wait_for(&edge, failing, is_report);
    let mut wrong = Vec::new();
    let listed = edge.relay(&["queue", "list", "--json"]).json();
    for (case, id) in cases.iter().zip(&ids) {
        wrong.extend(case.faults(&edge, id, &listed, &reports));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(reports.len(), failing, "one report for each message that failed in part");

    for hop in &mut hops {
        hop.mend();
    }
    daemon.stop().unwrap();
    // With these intervals, messages that wait for an hour are due.
    let _daemon = edge.start_with(&mended);
    let staying = cases.iter().filter(|case| case.stays).count();
    wait_until(&edge, |queue| queue["queued"] == staying);
    for (case, hop) in cases.iter().zip(&hops) {
        wrong.extend(case.faults_of_arrivals(hop));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let reports = edge.sink.messages().into_iter().filter(is_report).count();
    assert_eq!(reports, failing, "delivered recipients cause no report");
}

impl Case {
    fn has(&self, wanted: impl Fn(&Becomes) -> bool) -> bool {
        self.recipients.iter().any(|(_, becomes)| wanted(becomes))
    }

    fn address(&self, local_part: &str) -> String {
        format!("{local_part}@{}.example", self.name)
    }

    /// The wrong results after the attempt.
    fn faults(&self, edge: &Edge, id: &str, listed: &Value, reports: &[Message]) -> Vec<String> {
        let mut listed = listed.as_array().unwrap().iter();
        let listed = listed.find(|row| row["id"] == id);
        if self.has(|becomes| matches!(becomes, Deferred(_))) != listed.is_some() {
            return vec![format!("{}: in the queue? {listed:?}", self.name)];
        }
        let mut states = BTreeMap::new();
        if let Some(listed) = listed {
            let pending = listed["pending"].as_array().unwrap();
            let because = listed["because"].as_str().unwrap();
            for address in pending {
                states.insert(address.as_str().unwrap().to_owned(), because.to_owned());
            }
            if pending.len() > 1 {
                let shown = edge.relay(&["queue", "show", id, "--json"]).json();
                for row in shown["recipients"].as_array().unwrap() {
                    let address = row["address"].as_str().unwrap();
                    if let Some(because) = states.get_mut(address) {
                        row["because"].as_str().unwrap().clone_into(because);
                    }
                }
            }
        }
        let of_this = |report: &&Message| report.text().contains(&self.address(""));
        let report = reports.iter().find(of_this).map(Message::text).unwrap_or_default();
        let mut faults = Vec::new();
        for (local_part, becomes) in &self.recipients {
            let address = self.address(local_part);
            let state = states.get(&address);
            let is_reported = report.contains(&format!("Final-Recipient: rfc822; {address}\r\n"));
            let is_right = match becomes {
                Delivered => !is_reported && state.is_none(),
                Deferred(told) => {
                    !is_reported && state.is_some_and(|because| because.contains(told))
                }
                Failed(told) => is_reported && state.is_none() && report.contains(told),
            };
            if !is_right {
                let report = report.lines().filter(|line| line.starts_with("Diagnostic-Code"));
                let told: Vec<_> = report.collect();
                faults.push(format!("{address}: not {becomes:?} but {state:?} {told:?}"));
            }
        }
        faults
    }

    /// The wrong results after everything has arrived.
    fn faults_of_arrivals(&self, hop: &Hop) -> Vec<String> {
        let taken = hop.taken();
        let mut faults = Vec::new();
        for (local_part, becomes) in &self.recipients {
            let address = self.address(local_part);
            let count = taken.iter().filter(|taken| taken.recipients.contains(&address)).count();
            let expected = usize::from(!self.stays && !matches!(becomes, Failed(_)));
            if count != expected {
                faults.push(format!("{address}: arrived {count} times"));
            }
        }
        if !taken.iter().all(|taken| taken.content.ends_with(self.content.as_bytes())) {
            faults.push(format!("{}: other octets have arrived", self.name));
        }
        faults
    }
}

/// Submits them over one connection, and returns their ids.
fn submit_all(edge: &Edge, cases: &[Case]) -> Vec<String> {
    let mut client = edge.connect(SCANNER);
    client.hello();
    let submit = |case: &Case| {
        let recipients: Vec<_> =
            case.recipients.iter().map(|(local_part, _)| case.address(local_part)).collect();
        let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
        let sender = format!("{SENDER}{}", case.parameters);
        queue_id(&client.message(&sender, &recipients, case.content.as_bytes()))
    };
    let ids = cases.iter().map(submit).collect();
    client.quit();
    ids
}

/// Waits until the queue has the expected state.
fn wait_until(edge: &Edge, wanted: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let queue = edge.status()["queue"].clone();
        if wanted(&queue) {
            return;
        }
        assert!(Instant::now() < deadline, "{queue:#} {}", edge.relay(&["queue", "list"]).out);
        sleep(Duration::from_millis(100));
    }
}

/// Waits until the sink of the other mail has this many of these.
fn wait_for(edge: &Edge, count: usize, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found: Vec<_> = edge.sink.messages().into_iter().filter(&wanted).collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{} of {count}", found.len());
        sleep(Duration::from_millis(50));
    }
}
