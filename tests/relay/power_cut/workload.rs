//! The operations on the queue, and the conditions that must hold after a power cut.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::limits::CHECKPOINT_IDLE;
use relay_queue::schedule::Schedule;
use relay_queue::store::EntryChange;
use relay_queue::{Queue, QueueSettings, Recovery, StoreSettings};

use super::trace::{Call, Moment};

/// The beginning of each line in which the workload reports an operation.
const WORD: &str = "ledger";

/// The state of a message as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Begun,
    Kept,
    Held,
    Removing,
    Removed,
}

/// The reports of the workload so far.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<QueueId, (usize, Progress)>);

/// Works with a queue and reports each operation after it is complete.
pub fn run(directory: &Path) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (queue, _) = open(directory);
        work(&queue, 0).await;
        // This empties the log.
        drop(queue);
        let (queue, _) = open(directory);
        work(&queue, 1).await;
        // The content of the log moves into the database, and the log starts again over its old
        // frames.
        tokio::time::sleep(CHECKPOINT_IDLE + Duration::from_millis(500)).await;
        work(&queue, 2).await;
        std::process::exit(0);
    });
}

async fn work(queue: &Queue, part: usize) {
    const TASKS: usize = 4;
    const EACH: usize = 8;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let queue = queue.clone();
        tasks.spawn(async move {
            for round in 0..EACH {
                let number = (part * TASKS + task) * EACH + round;
                let id = keep(&queue, number).await;
                match number % 5 {
                    0 => {
                        say("removing", id, number);
                        queue.store().remove(id).await.unwrap();
                        say("removed", id, number);
                    }
                    1 => {
                        queue.store().change(id, EntryChange::Hold).await.unwrap();
                        say("held", id, number);
                    }
                    _ => {}
                }
            }
        });
    }
    tasks.join_all().await;
}

async fn keep(queue: &Queue, number: usize) -> QueueId {
    let mut incoming = queue.begin(envelope()).await.unwrap();
    let id = incoming.id();
    say("begun", id, number);
    for piece in message(number).chunks(50_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    incoming.commit().await.unwrap();
    say("kept", id, number);
    id
}

/// In one write: one call in the record.
fn say(what: &str, id: QueueId, number: usize) {
    let line = format!("{WORD} {what} {id} {number} .\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A message whose octets depend on its number; some messages are large.
fn message(number: usize) -> Vec<u8> {
    let length = if number % 13 == 6 { 280_000 } else { 100 + number * 379 % 9000 };
    let mut message = format!("message {number}\r\n").into_bytes().repeat(1 + length / 11);
    message.truncate(length);
    message
}

fn open(directory: &Path) -> (Queue, Recovery) {
    try_open(directory).unwrap()
}

fn try_open(directory: &Path) -> Result<(Queue, Recovery), String> {
    let store = StoreSettings { min_free_octets: 0, ..StoreSettings::new(directory) };
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    let settings = QueueSettings { hostname, schedule: Schedule::default() };
    Queue::open(&store, settings).map_err(|error| format!("the queue does not open: {error}"))
}

fn envelope() -> Envelope {
    Envelope {
        sender: ReversePath::parse("<sender@contoso.example>").unwrap(),
        recipients: vec![ForwardPath::parse("<one@fabrikam.example>").unwrap().into()],
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn: MailDsn::default(),
    }
}

impl Ledger {
    /// Processes a report of the workload. A report counts from the beginning of its write.
    pub fn hear(&mut self, call: &Call) {
        if call.moment != Moment::Entry || call.name != "write" || call.number(0) != 1 {
            return;
        }
        let text = String::from_utf8_lossy(&call.octets(1)).into_owned();
        let Some((_, line)) = text.split_once(&format!("{WORD} ")) else { return };
        let words: Vec<_> = line.split_whitespace().collect();
        let [what, id, number, "."] = words[..] else { panic!("not one line: {text}") };
        let progress = match what {
            "begun" => Progress::Begun,
            "kept" => Progress::Kept,
            "held" => Progress::Held,
            "removing" => Progress::Removing,
            _ => Progress::Removed,
        };
        self.0.insert(id.parse().unwrap(), (number.parse().unwrap(), progress));
    }

    pub fn messages(&self) -> usize {
        self.0.len()
    }

    /// Opens the queue after a power cut. Returns whether it reports damage.
    pub async fn check(&self, directory: &Path) -> Result<bool, String> {
        let (queue, recovery) = try_open(directory)?;
        let store = queue.store();
        let listed = store.list(None, usize::MAX).await.map_err(|error| error.to_string())?;
        if listed.len() as u64 != store.lengths().queued {
            return Err("an entry that the index has cannot be read".to_owned());
        }
        for entry in listed {
            let Some((number, progress)) = self.0.get(&entry.id) else {
                return Err(format!("no client sent {}", entry.id));
            };
            let octets = octets(&queue, entry.id).await;
            match (octets, progress) {
                (_, Progress::Removed) => return Err(format!("message {number} is back")),
                (Err(error), _) => return Err(format!("message {number} is listed: {error}")),
                (Ok(octets), _) if octets != message(*number) => {
                    return Err(format!("message {number} has other octets"));
                }
                (Ok(_), Progress::Held) if !entry.held => {
                    return Err(format!("message {number} is not held any more"));
                }
                _ => {}
            }
        }
        for (id, (number, progress)) in &self.0 {
            let is_there = store.find(*id).await.is_ok();
            if matches!(progress, Progress::Kept | Progress::Held) && !is_there {
                return Err(format!("message {number} is lost: {:?}", recovery.damages));
            }
            if *progress != Progress::Begun && store.highest_id() < id.to_u64() {
                return Err(format!("the id of message {number} may be given again"));
            }
        }
        Ok(!recovery.damages.is_empty())
    }
}

async fn octets(queue: &Queue, id: QueueId) -> Result<Vec<u8>, StoreError> {
    let mut reader = queue.store().read(id).await?;
    let mut octets = Vec::new();
    while let Some(piece) = reader.next().await? {
        octets.extend_from_slice(&piece);
    }
    Ok(octets)
}
