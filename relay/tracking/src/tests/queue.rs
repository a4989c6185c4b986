//! The events of the queue in the log.

use std::sync::Arc;

use crate::line::{TrackingLine, What};
use crate::tests::*;
use crate::{TrackingEvent, timeline};
use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::BodyType;
use relay_mail::envelope::Envelope;
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::Outcome;
use relay_mail::outcome::OutcomeReason;
use relay_mail::path::Domain;
use relay_mail::reply::Enhanced;
use relay_mail::reply::Reply;
use relay_queue::event::{Attempt, NextHopConnection, QueueEvent};
use relay_queue::limits::MESSAGE_EXPIRATION_TIMEOUT;
use relay_queue::schedule::Schedule;
use relay_queue::{Entry, Queue, QueueSettings, StoreSettings};

use crate::limits;

const RECIPIENTS: [&str; 3] =
    ["<one@fabrikam.example>", "<two@fabrikam.example>", "<three@fabrikam.example>"];

fn busy() -> Outcome {
    let reply = Reply::new(450, Some(Enhanced(4, 2, 1)), "busy\u{1b}[31m");
    Outcome::Deferred(OutcomeReason::reply(
        "mail.fabrikam.example:25",
        reply,
        AnsweredCommand::Rcpt,
    ))
}

fn failed(text: &'static str) -> Outcome {
    let reply = Reply::new(550, Some(Enhanced(5, 1, 1)), text);
    Outcome::Failed(OutcomeReason::reply("mail.fabrikam.example:25", reply, AnsweredCommand::Rcpt))
}

async fn claimed(directory: &Path) -> (Queue, Entry) {
    let store = StoreSettings { min_free_octets: 0, ..StoreSettings::new(directory) };
    let hostname = Domain::parse("relay.example").unwrap();
    let settings = QueueSettings { hostname, schedule: Schedule::default() };
    let (queue, _) = Queue::open(&store, settings).unwrap();
    let envelope = Envelope {
        sender: ReversePath::parse("<sender@contoso.example>").unwrap(),
        recipients: RECIPIENTS
            .iter()
            .map(|path| ForwardPath::parse(path).unwrap().into())
            .collect(),
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn: MailDsn::default(),
    };
    let mut incoming = queue.begin(envelope).await.unwrap();
    incoming.write(Bytes::from_static(b"Subject: x\r\n\r\n")).await.unwrap();
    incoming.commit().await.unwrap();
    let entry = queue.store().claim_due(SystemTime::now(), 1).await.unwrap().remove(0);
    (queue, entry)
}

#[tokio::test]
async fn recipients_with_the_same_outcome_share_a_line() {
    let directory = TempDir::new().unwrap();
    let (_queue, entry) = claimed(directory.path()).await;
    let id = entry.id;
    let attempt = Attempt {
        entry: Arc::new(entry),
        next_hop: "MX of fabrikam.example".to_owned(),
        is_local: false,
        connection: Some(Arc::new(NextHopConnection {
            address: "192.0.2.1:25".parse().unwrap(),
            tls: Some("TLSv1_3 TLS13_AES_256_GCM_SHA384".to_owned()),
        })),
        outcomes: vec![(0, busy()), (1, failed("no such user")), (2, busy())],
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
    let lines = TrackingLine::of(TrackingEvent {
        at,
        id: Some(id),
        what: QueueEvent::Attempted(Box::new(attempt)).into(),
    });
    let json = format!(
        "{{\"time\":\"2027-01-15T08:00:00.123000Z\",\"id\":\"{id}\",\"event\":\"DEFER\",\"attempt\":1,\
         \"recipients\":[\"one@fabrikam.example\",\"three@fabrikam.example\"],\
         \"next_hop\":\"MX of fabrikam.example\",\"server\":\"mail.fabrikam.example:25\",\
         \"address\":\"192.0.2.1:25\",\"tls\":\"TLSv1_3 TLS13_AES_256_GCM_SHA384\",\
         \"reply\":\"450 4.2.1 busy\\u001b[31m\",\"to\":\"rcpt\"}}"
    );
    assert_eq!(serde_json::to_string(&lines[0]).unwrap(), json, "names that stay");
    assert_eq!(serde_json::from_str::<TrackingLine>(&json).unwrap(), lines[0]);
    assert!(
        matches!(&lines[1].what, What::Fail(tried) if tried.recipients == ["two@fabrikam.example"])
    );
    assert_eq!(lines.len(), 2);
    let text = timeline::text(id, &lines);
    let row = "2027-01-15T08:00:00.123Z  DEFER  one@fabrikam.example three@fabrikam.example  450 4.2.1 \
               busy?[31m     attempt 1, to RCPT at MX of fabrikam.example (mail.fabrikam.example:25 \
               [192.0.2.1:25], TLSv1_3 TLS13_AES_256_GCM_SHA384)";
    assert_eq!(text.lines().next(), Some(row), "nothing that a terminal obeys");
}

#[tokio::test]
async fn an_expired_message_fails_is_reported_and_ends() {
    let (directory, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (queue, entry) = claimed(directory.path()).await;
    let settings = TrackingSettings {
        enabled: true,
        path: log.path().to_owned(),
        max_directory_size: limits::TRACKING_DIRECTORY_OCTETS,
        max_file_size: limits::TRACKING_FILE_OCTETS,
        max_age: None,
        min_free_octets: 0,
    };
    let tracker = Tracker::start(settings, queue.highest_id());
    queue.set_observer(Arc::new(tracker.clone()));
    let (id, late) = (entry.id, SystemTime::now() + MESSAGE_EXPIRATION_TIMEOUT * 2);
    let outcomes = vec![(0, failed("no such user")), (1, busy()), (2, busy())];
    queue.record(entry, outcomes, late).await.unwrap();
    tracker.stop();

    let found = find(log.path(), id).unwrap();
    let whats: Vec<_> = found.lines.iter().map(|line| &line.what).collect();
    let [What::Fail(failed), What::Dsn { recipients, .. }, What::End] = whats[..] else {
        panic!("{whats:?}");
    };
    // The sender of the attempt's event reports the attempt and its failed recipient.
    assert_eq!(failed.recipients, ["two@fabrikam.example", "three@fabrikam.example"]);
    assert!(failed.because.as_ref().unwrap().starts_with("5.4.7 delivery time expired: 450"));
    assert_eq!(recipients.len(), 3);
}
