//! The queue as a whole: crashes, a full disk, reports.

mod adapting;
mod bulk;
mod delay;
mod dsn;
mod scanners;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::schedule::Schedule;
use crate::store::Store;
use crate::*;
use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::BodyType;
use relay_mail::outcome::OutcomeReason;
use relay_mail::outcome::{AnsweredCommand, Outcome};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::{Enhanced, Reply};
use tempfile::TempDir;

/// Names the directory for a child process that acts as the daemon.
const CHILD: &str = "RELAY_TEST_QUEUE_CHILD";

pub(super) fn envelope() -> Envelope {
    envelope_of("<sender@contoso.example>", &["<one@fabrikam.example>"])
}

fn envelope_of(sender: &str, recipients: &[&str]) -> Envelope {
    Envelope {
        sender: ReversePath::parse(sender).unwrap(),
        recipients: recipients
            .iter()
            .map(|path| ForwardPath::parse(path).unwrap().into())
            .collect(),
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn: MailDsn::default(),
    }
}

pub(super) fn queue_on(store: Arc<dyn Store>) -> Queue {
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    Queue::with_store(store, QueueSettings { hostname, schedule: Schedule::default() })
}

fn open(directory: &Path) -> (Queue, Recovery) {
    let settings = StoreSettings { min_free_octets: 0, ..StoreSettings::new(directory) };
    let (store, recovery) = SqliteStore::open(&settings).unwrap();
    (queue_on(Arc::new(store)), recovery)
}

async fn try_commit(
    queue: &Queue,
    envelope: Envelope,
    message: &[u8],
) -> Result<QueueId, BeginError> {
    let mut incoming = queue.begin(envelope).await?;
    for piece in message.chunks(50_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await?;
    }
    let id = incoming.id();
    incoming.commit().await?;
    Ok(id)
}

pub(super) async fn commit(queue: &Queue, message: &[u8]) -> QueueId {
    try_commit(queue, envelope(), message).await.unwrap()
}

pub(super) async fn bytes_of(queue: &Queue, id: QueueId) -> Result<Vec<u8>, StoreError> {
    let mut reader = queue.store().read(id).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// This test binary again, with one test as a child and `directory` as its queue.
fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, directory);
    command
}

/// A message whose bytes follow from a number; some are large.
fn numbered(number: usize) -> Vec<u8> {
    let length = if number % 40 == 39 { 300_000 } else { 100 + number * 37 % 9000 };
    format!("message {number}\r\n").into_bytes().into_iter().cycle().take(length).collect()
}

/// Commits and removes until it is killed. Prints each action only after it is done (or, for a
/// removal, just before).
fn commit_until_killed(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (queue, _) = open(directory);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let queue = queue.clone();
            tasks.spawn(async move {
                for round in 0.. {
                    let number = round * 8 + task;
                    let id = commit(&queue, &numbered(number)).await;
                    writeln!(std::io::stdout(), "\nkept {id} {number} .").unwrap();
                    if number % 3 == 0 {
                        writeln!(std::io::stdout(), "\nremoving {id} {number} .").unwrap();
                        queue.store().remove(id).await.unwrap();
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

#[test]
fn killed_at_any_moment_nothing_confirmed_is_lost() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return commit_until_killed(Path::new(&directory));
    }
    let directory = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut kept = std::collections::BTreeMap::new();
    for round in 0..20 {
        let test = "tests::killed_at_any_moment_nothing_confirmed_is_lost";
        let mut daemon = child(test, directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(daemon.stdout.take().unwrap());
        let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).collect());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        std::thread::sleep(Duration::from_millis(100 + u64::from(now.subsec_micros()) % 300));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let lines: Vec<String> = reader.join().unwrap();
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["kept", id, number, "."] => {
                    kept.insert(id.parse::<QueueId>().unwrap(), number.parse::<usize>().unwrap());
                }
                ["removing", id, _, "."] => {
                    kept.remove(&id.parse().unwrap());
                }
                _ => {}
            }
        }
        let (queue, recovery) = open(directory.path());
        // A kill during the write of the last transaction, which was not confirmed, leaves a part
        // of it. Its frames look like damaged ones, so the recovery reports them.
        let last = "its last transaction is not whole and was left out";
        let others = recovery.damages.iter().filter(|damage| damage.what != last);
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&Damage>::new(), "round {round}");
        runtime.block_on(async {
            for (id, number) in &kept {
                let bytes = bytes_of(&queue, *id).await;
                let bytes = bytes.unwrap_or_else(|error| panic!("round {round}: {error}"));
                assert!(bytes == numbered(*number), "round {round}: {id} has other bytes");
            }
        });
    }
    assert!(kept.len() > 20, "only {} messages were kept in all", kept.len());
}

/// Fills a small file system with mail, checks that more is refused with a temporary reply, removes
/// mail, and checks that mail is accepted again.
fn fill_the_disk(directory: &Path) {
    use rustix::mount::{MountFlags, mount};
    mount("queue", directory, "tmpfs", MountFlags::empty(), c"size=4m").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (queue, _) = open(directory);
        let mut kept = Vec::new();
        for large in [false, true] {
            let message = vec![b'x'; if large { 400_000 } else { 20_000 }];
            let refusal = loop {
                match try_commit(&queue, envelope(), &message).await {
                    Ok(id) => kept.push((id, message.len())),
                    Err(error) => break error,
                }
            };
            let full = matches!(refusal, BeginError::Store(StoreError::Full(_)));
            assert!(full, "a full disk gave: {refusal}");
        }
        assert!(kept.len() > 50);
        for (id, length) in &kept {
            assert_eq!(bytes_of(&queue, *id).await.unwrap().len(), *length);
        }
        for (id, _) in kept.drain(..kept.len() - 2) {
            queue.store().remove(id).await.unwrap();
        }
        let begin = SystemTime::now();
        while try_commit(&queue, envelope(), &[b'y'; 20_000]).await.is_err() {
            assert!(begin.elapsed().unwrap() < Duration::from_secs(10), "service did not resume");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(queue);
        let (queue, recovery) = open(directory);
        assert_eq!((recovery.messages, recovery.damages), (3, Vec::new()));
        for (id, length) in kept {
            assert_eq!(bytes_of(&queue, id).await.unwrap().len(), length);
        }
    });
}

#[test]
fn a_full_disk_refuses_mail_and_service_resumes() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return fill_the_disk(Path::new(&directory));
    }
    let directory = TempDir::new().unwrap();
    let test = "tests::a_full_disk_refuses_mail_and_service_resumes";
    let inner = child(test, directory.path());
    // A new mount namespace; without root, a user namespace around it.
    let flags: &[&str] = if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--map-root-user", "--mount"]
    };
    if !Command::new("unshare")
        .args(flags)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: unshare cannot make a mount namespace here");
        return;
    }
    let status = Command::new("unshare")
        .args(flags)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(CHILD, directory.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn failed(text: &'static str) -> Outcome {
    let reply = Reply::new(550, Some(Enhanced(5, 1, 1)), text);
    Outcome::Failed(OutcomeReason::reply("mail.fabrikam.example:25", reply, AnsweredCommand::Rcpt))
}

async fn claim_one(queue: &Queue) -> Entry {
    queue.store().claim_due(SystemTime::now(), 1).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_permanent_failure_is_reported_to_the_sender() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let recipients = ["<one@fabrikam.example>", "<two@fabrikam.example>"];
    let message = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n\
        Subject: hello\r\n\r\nThe body.\r\n";
    let envelope = envelope_of("<sender@contoso.example>", &recipients);
    let id = try_commit(&queue, envelope, message).await.unwrap();
    let entry = claim_one(&queue).await;
    let ok = OutcomeReason::reply(
        "mail.fabrikam.example:25",
        Reply::new(250, None, "ok"),
        AnsweredCommand::Rcpt,
    );
    let outcomes = vec![(0, failed("no\nsuch\ruser\nBcc: x")), (1, Outcome::Delivered(ok))];
    queue.record(entry, outcomes, SystemTime::now()).await.unwrap();
    assert!(matches!(queue.store().find(id).await, Err(StoreError::NotFound(_))));

    let report = claim_one(&queue).await;
    assert_eq!(report.sender, ReversePath::Null);
    assert_eq!(report.recipients[0].path.to_string(), "sender@contoso.example");
    let text = String::from_utf8(bytes_of(&queue, report.id).await.unwrap()).unwrap();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "a bare line ending");
    assert!(text.lines().all(|line| line.len() <= 998));
    for expected in [
        "Content-Type: multipart/report; report-type=delivery-status;\r\n",
        "\r\nReporting-MTA: dns; edge1.contoso.example\r\n",
        "\r\nFinal-Recipient: rfc822; one@fabrikam.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "\r\nDiagnostic-Code: smtp; 550 5.1.1 no such",
        "\r\nContent-Type: message/rfc822\r\n",
        "\r\n\r\nSubject: hello\r\n\r\nThe body.\r\n\r\n--=_report_",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains("two@fabrikam.example"));
    assert!(!text.contains("\r\nBcc:"), "a next hop's reply wrote a header");
    let parsed = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.parts.len(), 4);

    // The report itself fails: no further report is sent.
    queue.record(report, vec![(0, failed("gone"))], SystemTime::now()).await.unwrap();
    let counters = queue.counters();
    assert_eq!(counters.lengths.queued, 0);
    assert_eq!((counters.delivered, counters.failed, counters.reports), (1, 2, 1));
}

#[tokio::test]
async fn a_large_original_is_returned_as_headers_only() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let message = ["Subject: large\r\n\r\n", &"The body.\r\n".repeat(50_000)].concat();
    commit(&queue, message.as_bytes()).await;
    let entry = claim_one(&queue).await;
    queue.record(entry, vec![(0, failed("no"))], SystemTime::now()).await.unwrap();
    let report = claim_one(&queue).await;
    let text = String::from_utf8(bytes_of(&queue, report.id).await.unwrap()).unwrap();
    assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
    assert!(text.contains("\r\n\r\nSubject: large\r\n\r\n--=_report_"), "{text}");
    assert!(!text.contains("The body."));
}

#[tokio::test]
async fn a_message_that_stays_undelivered_too_long_is_reported() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    commit(&queue, b"Subject: x\r\n\r\n").await;
    let entry = claim_one(&queue).await;
    let busy = OutcomeReason::reply("hop", Reply::new(450, None, "busy"), AnsweredCommand::Rcpt);
    let late = entry.arrived + Schedule::default().lifetime;
    let entry = queue.record(entry, vec![(0, Outcome::Deferred(busy))], late).await.unwrap();
    assert!(matches!(entry.recipients[0].state, RecipientState::Failed(_)));
    let report = queue.store().claim_due(late, 1).await.unwrap().remove(0);
    let text = String::from_utf8(bytes_of(&queue, report.id).await.unwrap()).unwrap();
    assert!(text.contains("Status: 5.4.7\r\n"), "{text}");
    assert!(text.contains("delivery time expired: 450 busy, to RCPT (hop)"));
}

#[tokio::test]
async fn only_addresses_and_headers_need_smtputf8() {
    for (sender, message, needed) in [
        ("<sender@contoso.example>", "Subject: x\r\n\r\nCaf\u{e9}\r\n", false),
        ("<sender@contoso.example>", "Subject: Caf\u{e9}\r\n\r\nx\r\n", true),
        ("<caf\u{e9}@contoso.example>", "Subject: x\r\n\r\nx\r\n", true),
    ] {
        let directory = TempDir::new().unwrap();
        let (queue, _) = open(directory.path());
        let envelope =
            Envelope { smtputf8: true, ..envelope_of(sender, &["<one@fabrikam.example>"]) };
        let id = try_commit(&queue, envelope, message.as_bytes()).await.unwrap();
        // As it was stored, too.
        drop(queue);
        let (queue, _) = open(directory.path());
        let entry = queue.store().find(id).await.unwrap();
        assert_eq!(entry.message_needs_smtputf8(), needed, "{sender} {message:?}");
    }
}

#[test]
fn a_record_that_does_not_tell_header_and_body_apart_is_read_carefully() {
    let json = br#"{"sender":"","recipients":[{"path":"a@b.example","state":"pending"}],
        "eight_bit_mime":true,"smtputf8":true,"eight_bit":true,"size":9,"arrived":0,
        "attempts":0,"due":0,"held":false}"#;
    let (entry, _) = record::decode(QueueId::from_u64(1), json).unwrap();
    assert!(entry.message_needs_smtputf8());
}
