use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use relay_delivery::limits::DELIVERY_CONCURRENCY_FIRST;
use relay_delivery::limits::RECORDS_PER_ATTEMPT;
use relay_delivery::testing::{Fault, TestNextHop, accept, by_address, open_queue, patient};
use relay_mail::path::Domain;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::schedule::Schedule;
use relay_queue::store::{EntryChange, Lengths, Message, Pending, Settlement, Store, Usage};
use relay_queue::{Entry, MessageFile, MessageReader};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::*;
use crate::daemon::resources;
use crate::limits;

const ONE: &str = "<one@fabrikam.example>";

/// A store that counts the recorded attempts, or whose disk refuses to record them.
#[derive(Debug)]
struct Watched {
    queue: Queue,
    refuses: bool,
    refused: Notify,
    records: AtomicUsize,
}

impl Watched {
    fn new(queue: Queue, refuses: bool) -> Arc<Self> {
        Arc::new(Self { queue, refuses, refused: Notify::new(), records: AtomicUsize::new(0) })
    }

    /// A queue on this store whose messages fail at the first deferral.
    fn impatient(self: &Arc<Self>) -> Queue {
        let hostname = Domain::parse("edge1.contoso.example").unwrap();
        let schedule = Schedule { lifetime: Duration::ZERO, ..Schedule::default() };
        let settings = relay_queue::QueueSettings { hostname, schedule };
        Queue::with_store(Arc::<Self>::clone(self), settings)
    }
}

impl Store for Watched {
    fn record(&self, settlement: Settlement) -> Pending<'_, ()> {
        self.records.fetch_add(1, Ordering::Relaxed);
        if !self.refuses {
            return self.queue.store().record(settlement);
        }
        self.refused.notify_one();
        let source = Arc::new(io::ErrorKind::ReadOnlyFilesystem.into());
        Box::pin(async { Err(StoreError::Io { doing: "write to", path: "queue".into(), source }) })
    }

    fn highest_id(&self) -> u64 {
        self.queue.store().highest_id()
    }

    fn create_file(&self, id: QueueId) -> Pending<'_, MessageFile> {
        self.queue.store().create_file(id)
    }

    fn accepts(&self) -> Pending<'_, ()> {
        self.queue.store().accepts()
    }

    fn damaged_files(&self) -> Pending<'_, u64> {
        self.queue.store().damaged_files()
    }

    fn usage(&self) -> Pending<'_, Usage> {
        self.queue.store().usage()
    }

    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()> {
        self.queue.store().enqueue(entry, message)
    }

    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.queue.store().claim_due(now, limit)
    }

    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.queue.store().put_back(id, due);
    }

    fn bring_forward(&self, ids: &[QueueId], due: SystemTime) {
        self.queue.store().bring_forward(ids, due);
    }

    fn read(&self, id: QueueId) -> Pending<'_, MessageReader> {
        self.queue.store().read(id)
    }

    fn find(&self, id: QueueId) -> Pending<'_, Entry> {
        self.queue.store().find(id)
    }

    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.queue.store().list(after, limit)
    }

    fn change(&self, id: QueueId, change: EntryChange) -> Pending<'_, ()> {
        self.queue.store().change(id, change)
    }

    fn remove(&self, id: QueueId) -> Pending<'_, ()> {
        self.queue.store().remove(id)
    }

    fn next_due(&self) -> Option<SystemTime> {
        self.queue.store().next_due()
    }

    fn became_due(&self) -> Arc<Notify> {
        self.queue.store().became_due()
    }

    fn lengths(&self) -> Lengths {
        self.queue.store().lengths()
    }
}

/// A port without a listener.
fn dead_end() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_disk_that_refuses() {
    let directory = TempDir::new().unwrap();
    let queue = open_queue(directory.path(), Duration::from_secs(60));
    let store = Watched::new(queue, true);
    let queue = store.impatient();
    for _ in 0..3 {
        accept(&queue, &[ONE], b"x\r\n").await;
    }
    let mut delivery = RunningDelivery::start(queue, patient(dead_end()));
    store.refused.notified().await;
    let limit = Duration::from_secs(1);
    timeout(10 * limit, delivery.stop(limit)).await.expect("it ends");
}

#[tokio::test]
async fn a_new_route_applies_to_waiting_messages() {
    let directory = TempDir::new().unwrap();
    let queue = open_queue(directory.path(), Duration::from_secs(60));
    let silent = [Fault::Silent; 20];
    let (_silent, silent_address) = TestNextHop::start(silent).await;
    let mut delivery = RunningDelivery::start(queue.clone(), patient(silent_address));
    for _ in 0..50 {
        accept(&queue, &[ONE], b"x\r\n").await;
    }
    while queue.counters().lengths.claimed < DELIVERY_CONCURRENCY_FIRST as u64 {
        sleep(Duration::from_millis(10)).await;
    }
    let (sink, address) = TestNextHop::start([]).await;
    let begin = Instant::now();
    delivery.replace(patient(address));
    assert!(begin.elapsed() < Duration::from_millis(100), "a reload waits for attempts");
    while queue.counters().lengths.queued > 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", queue.counters());
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sink.taken().len(), 50);
    delivery.stop(limits::DELIVERY_STOP).await;
}

#[tokio::test]
async fn a_message_to_many_next_hops_is_not_recorded_for_each() {
    const HOPS: usize = 640;
    // Both ends of each connection are in this process, so raise the limit: no attempt may fail for
    // lack of descriptors.
    resources::raise_descriptor_limit(0).unwrap();
    let directory = TempDir::new().unwrap();
    let store = Watched::new(open_queue(directory.path(), Duration::from_secs(600)), false);
    let queue = store.impatient();
    let (sink, address) = TestNextHop::start_on("0.0.0.0:0").await;
    let recipients: Vec<_> =
        (0..HOPS).map(|n| format!("<r@[127.1.{}.{}]>", n / 250, n % 250 + 1)).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    let begin = Instant::now();
    accept(&queue, &recipients, b"x\r\n").await;
    let mut delivery = RunningDelivery::start(queue.clone(), by_address(address.port()));
    while queue.counters().lengths.queued > 0 {
        assert!(begin.elapsed() < Duration::from_secs(300), "{:?}", queue.counters());
        sleep(Duration::from_millis(10)).await;
    }
    delivery.stop(limits::DELIVERY_STOP).await;
    // Every attempt is the last one here; on a busy machine a connection may be late.
    let delivered = queue.counters().delivered as usize;
    assert!(sink.taken().len() == delivered && delivered > HOPS / 2, "{delivered}");
    // One more for each second with few attempts.
    let most = RECORDS_PER_ATTEMPT + 2 * begin.elapsed().as_secs() as usize + 2;
    let records = store.records.load(Ordering::Relaxed);
    assert!(records <= most, "{records} records");
}
