//! Which replies the clients got, which messages arrived, and whether both agree.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use relay_tests::sink::Message;

/// The field with a message's number, the first field that its client writes.
pub const NUMBER: &str = "X-Number: ";

/// The last step of a client with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client did not send the end of data. The message must not arrive.
    NotEnded,
    /// The client began to send the end of data and got no reply. The message may arrive or not.
    Unanswered,
    /// The daemon refused the message at its end. It must not arrive: the client sends it again.
    Refused,
    /// The client got a 250. The message must arrive.
    Accepted,
}

/// All sent and all arrived messages.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    arrivals: Vec<Arrival>,
}

#[derive(Debug)]
struct Sent {
    progress: Progress,
    checksum: u64,
    is_large: bool,
}

/// One message at the sink.
#[derive(Clone, Debug)]
pub struct Arrival {
    number: Option<usize>,
    /// Checksum of all octets from the field with the number on.
    checksum: u64,
    /// The host name of the daemon; each daemon has its own.
    daemon: String,
    /// The daemon's end of the connection.
    connection: SocketAddr,
}

/// The result of a ledger.
#[derive(Debug, Default)]
pub struct Verdict {
    pub messages: usize,
    pub large: usize,
    pub accepted: usize,
    pub unanswered: usize,
    pub unanswered_arrived: usize,
    pub not_ended: usize,
    pub refused: usize,
    /// Messages with a 250 that did not arrive.
    pub lost: Vec<String>,
    /// Messages that arrived and must not: unknown, refused, or without their end of data.
    pub foreign: Vec<String>,
    /// Messages that arrived with other octets.
    pub changed: Vec<String>,
    /// Copies beyond the first.
    pub duplicates: usize,
    /// Those copies whose delivery was not under way at a kill.
    pub forbidden: Vec<String>,
}

impl Ledger {
    /// The number of a new message.
    pub fn begin(&mut self) -> usize {
        let progress = Progress::NotEnded;
        self.sent.push(Sent { progress, checksum: 0, is_large: false });
        self.sent.len() - 1
    }

    /// The message that its client will send.
    pub fn content(&mut self, number: usize, content: &[u8], is_large: bool) {
        self.sent[number].checksum = checksum(content);
        self.sent[number].is_large = is_large;
    }

    pub fn progress(&mut self, number: usize, progress: Progress) {
        self.sent[number].progress = progress;
    }

    pub fn arrived(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
    }

    /// Called when no further message can arrive.
    pub fn judge(&self) -> Verdict {
        let mut verdict = Verdict { messages: self.sent.len(), ..Verdict::default() };
        let mut copies: HashMap<usize, Vec<usize>> = HashMap::new();
        for (place, arrival) in self.arrivals.iter().enumerate() {
            match arrival.number.and_then(|number| Some((number, self.sent.get(number)?))) {
                None => verdict.foreign.push(format!("{arrival}, which no client sent")),
                Some((_, sent)) if sent.checksum != arrival.checksum => {
                    verdict.changed.push(arrival.to_string());
                }
                Some((number, _)) => copies.entry(number).or_default().push(place),
            }
        }
        for (number, sent) in self.sent.iter().enumerate() {
            let places = copies.get(&number).map_or(&[][..], Vec::as_slice);
            let arrived = places.first().map(|&place| &self.arrivals[place]);
            verdict.large += usize::from(sent.is_large);
            match (sent.progress, arrived) {
                (Progress::Accepted, None) => verdict.lost.push(format!("message {number}")),
                (Progress::NotEnded | Progress::Refused, Some(arrival)) => {
                    verdict.foreign.push(format!("{arrival}, {:?}", sent.progress));
                }
                _ => {}
            }
            match sent.progress {
                Progress::Accepted => verdict.accepted += 1,
                Progress::NotEnded => verdict.not_ended += 1,
                Progress::Refused => verdict.refused += 1,
                Progress::Unanswered => {
                    verdict.unanswered += 1;
                    verdict.unanswered_arrived += usize::from(arrived.is_some());
                }
            }
            for pair in places.windows(2) {
                verdict.duplicates += 1;
                if !self.was_under_way(pair[0], pair[1]) {
                    let [first, again] = [0, 1].map(|copy| &self.arrivals[pair[copy]]);
                    verdict.forbidden.push(format!("{again}; before: {first}"));
                }
            }
        }
        verdict
    }

    /// Was the delivery of the first copy under way when its daemon was killed? A daemon records
    /// the outcome of an attempt before it sends the next message on the same connection. So only
    /// the last message of a connection may arrive again, and only from another daemon.
    fn was_under_way(&self, first: usize, again: usize) -> bool {
        let (first_copy, second_copy) = (&self.arrivals[first], &self.arrivals[again]);
        let same_connection = |other: &Arrival| {
            (&other.daemon, other.connection) == (&first_copy.daemon, first_copy.connection)
        };
        first_copy.daemon != second_copy.daemon
            && !self.arrivals[first + 1..].iter().any(same_connection)
    }
}

impl Arrival {
    pub fn of(message: &Message) -> Self {
        let field = memchr::memmem::find(&message.content, NUMBER.as_bytes());
        let sent = &message.content[field.unwrap_or_default()..];
        let number = sent.get(NUMBER.len()..).and_then(|rest| {
            let digits: String = rest
                .iter()
                .take_while(|octet| octet.is_ascii_digit())
                .map(|&octet| char::from(octet))
                .collect();
            digits.parse().ok()
        });
        Self {
            number: field.and(number),
            checksum: checksum(sent),
            daemon: message.helo.clone(),
            connection: message.client,
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, daemon, connection, .. } = self;
        match number {
            Some(number) => write!(f, "message {number} from {daemon} ({connection})"),
            None => write!(f, "a message without a number from {daemon} ({connection})"),
        }
    }
}

impl Verdict {
    pub fn holds(&self) -> bool {
        let faults = [&self.lost, &self.foreign, &self.changed, &self.forbidden];
        self.accepted > 0 && faults.iter().all(|fault| fault.is_empty())
    }
}

fn checksum(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}
