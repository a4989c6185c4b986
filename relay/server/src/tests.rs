use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::back_pressure::Readings;
use crate::*;
use relay_config::Config;
use relay_connector::{ConnectorId, ConnectorIds};
use relay_mail::path::Domain;
use relay_queue::schedule::Schedule;
use relay_queue::{QueueSettings, StoreSettings};
use relay_session::limits::HEADER_BEYOND_MEMORY;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Much longer than any wait in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most octets that an idle session of these tests counts as: the client's name.
const IDLE_OCTETS: u64 = 64;

struct Host {
    server: Arc<Server>,
    queue: Queue,
    counts: Arc<Counts>,
    ids: ConnectorIds,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Host {
    fn start(connector: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = StoreSettings {
            min_free_octets: 0,
            ..StoreSettings::new(directory.path().join("queue"))
        };
        let hostname = Domain::parse("relay.example").unwrap();
        let settings = QueueSettings { hostname, schedule: Schedule::default() };
        let (queue, _) = Queue::open(&store, settings).unwrap();
        let counts: Arc<Counts> = Arc::default();
        let mut ids = ConnectorIds::default();
        let address = address_of_its_own();
        let rules = rules(&mut ids, 1, address, connector);
        let classifier = Arc::new(Classifier::userspace(Arc::clone(&rules)));
        let server =
            Arc::new(Server::new(classifier, queue.clone(), Arc::clone(&counts), Tracker::none()));
        server.listen(&rules).unwrap();
        Self { server, queue, counts, ids, address, _directory: directory }
    }

    async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    async fn wait_until_idle(&self) {
        let idle = async {
            while self.server.sessions() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, idle).await.expect("every session ends");
    }
}

fn rules(
    ids: &mut ConnectorIds,
    generation: u32,
    address: SocketAddr,
    connector: &str,
) -> Arc<Rules> {
    let text = format!(
        "hostname = \"relay.example\"\n\
         [delivery]\nsmart_host = \"127.0.0.1:25\"\n\
         [[accepted_domain]]\nname = \"accepted.example\"\n\
         [[connector]]\nname = \"Test\"\nbindings = [\"{address}\"]\n\
         permission_groups = [\"AnonymousUsers\"]\ntarpit_interval = \"0s\"\n{connector}"
    );
    let config = Config::parse(&text, "relay.toml").unwrap_or_else(|refusals| panic!("{refusals}"));
    config.rules(ids, generation).unwrap()
}

const EVERYBODY: &str = "remote_ip_ranges = [\"127.0.0.0/8\"]\n";

/// Tests run in parallel, in several processes; each uses its own address of 127.2.0.0/16.
fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let port = 30_000 + u16::from(high);
    let ip = Ipv4Addr::new(127, 2, low, NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::new(IpAddr::V4(ip), port)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The last line of the next reply; empty at the end of the connection.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a reply").unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// The commands up to 354.
    async fn begin_message(&mut self) {
        assert!(self.reply().await.starts_with("220 "));
        for line in ["EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@accepted.example>", "DATA"] {
            let reply = self.say(line).await;
            assert!(reply.starts_with("250") || reply.starts_with("354"), "{line}: {reply}");
        }
    }
}

#[tokio::test]
async fn a_message_rate_holds_over_connections_and_for_its_source_only() {
    let host = Host::start(&format!("{EVERYBODY}message_rate_limit = 3\n"));
    let mail = "MAIL FROM:<a@b>";
    for replies in [["250 ", "250 "], ["250 ", "421 4.4.2 "]] {
        let mut client = host.connect().await;
        assert!(client.reply().await.starts_with("220 "));
        client.say("EHLO c").await;
        for expected in replies {
            let reply = client.say(mail).await;
            assert!(reply.starts_with(expected), "{reply}");
            if expected == "250 " {
                client.say("RSET").await;
            }
        }
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.9.9.9:0".parse().unwrap()).unwrap();
    let mut other = Client(BufReader::new(socket.connect(host.address).await.unwrap()));
    assert!(other.reply().await.starts_with("220 "));
    other.say("EHLO c").await;
    assert!(other.say(mail).await.starts_with("250 "));
}

#[tokio::test]
async fn connections_are_refused_at_back_pressure_high() {
    let host = Host::start(EVERYBODY);
    let readings = |disk| Readings { values: [Some(disk), None, None, None], refusal: None };
    for (disk, greeting) in [
        (95, "220 "),
        (99, "421 4.3.2 Insufficient system resources, closing transmission channel"),
        (95, "421 "),
        (90, "220 "),
    ] {
        host.server.back_pressure().update(readings(disk));
        let mut client = host.connect().await;
        let reply = client.reply().await;
        assert!(reply.starts_with(greeting), "{disk}: {reply}");
    }
    assert_eq!(host.counts.read(ConnectorId(1)).connections_refused, 2);
}

/// A client that slowly sends a long header section holds memory. With the budget used up, such
/// clients are deferred, and messages in files are still accepted.
#[tokio::test]
async fn beyond_the_budget_header_sections_are_deferred_and_bodies_go_to_disk() {
    let host = Host::start(EVERYBODY);
    let memory = host.queue.message_memory();
    memory.set_budget(HEADER_BEYOND_MEMORY as u64);
    let mut client = host.connect().await;
    client.begin_message().await;
    client.send(&format!("Subject: {}\r\n", "x".repeat(100))).await;
    let held = async {
        while memory.octets() < 100 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, held).await.expect("what the session keeps is counted");
    client.send(&"A: b\r\n".repeat(HEADER_BEYOND_MEMORY / 5)).await;
    let reply = client.say("\r\nbody\r\n.").await;
    assert_eq!(reply, "452 4.3.1 Insufficient system resources");
    assert!(memory.octets() < IDLE_OCTETS);

    let body = format!("Subject: x\r\n\r\n{}.", "0123456789\r\n".repeat(10_000));
    for line in ["MAIL FROM:<a@b>", "RCPT TO:<c@accepted.example>", "DATA"] {
        client.say(line).await;
    }
    let reply = client.say(&body).await;
    assert!(reply.starts_with("250 2.6.0 "), "{reply}");
    assert!(memory.octets() < IDLE_OCTETS);
}

/// Recipients with long parameters need the most memory of a transaction. With the budget used up,
/// the first few are accepted, further ones are deferred, and all memory is released.
#[tokio::test]
async fn beyond_the_budget_a_few_recipients_are_accepted_and_more_are_deferred() {
    let host = Host::start(EVERYBODY);
    let memory = host.queue.message_memory();
    memory.set_budget(64 * 1024);
    let mut client = host.connect().await;
    assert!(client.reply().await.starts_with("220 "));
    client.say("EHLO c").await;
    client.say("MAIL FROM:<a@b>").await;
    let original = "x".repeat(450);
    let rcpt = |number: usize| {
        format!("RCPT TO:<r{number}@accepted.example> ORCPT=rfc822;{original}@accepted.example")
    };
    let mut accepted = 0;
    let refusal = loop {
        let reply = client.say(&rcpt(accepted)).await;
        if !reply.starts_with("250 ") {
            break reply;
        }
        accepted += 1;
    };
    assert_eq!(refusal, "452 4.3.1 Insufficient system resources");
    // Half of the budget is this connector's; each recipient needs at least 500 octets.
    assert!((16..64).contains(&accepted), "{accepted}");
    assert!(memory.octets() > 500 * accepted as u64, "{} for {accepted}", memory.octets());

    let mut other = host.connect().await;
    assert!(other.reply().await.starts_with("220 "));
    other.say("EHLO c").await;
    other.say("MAIL FROM:<a@b>").await;
    for number in 0..5 {
        assert!(other.say(&rcpt(number)).await.starts_with("250 "), "{number}");
    }
    // The refusal of one recipient does not affect the message.
    client.say("DATA").await;
    let reply = client.say("Subject: x\r\n\r\nhello\r\n.").await;
    assert!(reply.starts_with("250 2.6.0 "), "{reply}");
    drop((client, other));
    host.wait_until_idle().await;
    assert_eq!(memory.octets(), 0);
}

/// Chunks stay in memory until the header section is complete.
#[tokio::test]
async fn beyond_the_budget_a_header_section_in_chunks_is_deferred() {
    let host = Host::start(EVERYBODY);
    let memory = host.queue.message_memory();
    memory.set_budget(HEADER_BEYOND_MEMORY as u64);
    let mut client = host.connect().await;
    assert!(client.reply().await.starts_with("220 "));
    for line in ["EHLO client.example", "MAIL FROM:<a@b>", "RCPT TO:<c@accepted.example>"] {
        client.say(line).await;
    }
    let chunk = "A: b\r\n".repeat(HEADER_BEYOND_MEMORY / 12);
    let bdat = format!("BDAT {}\r\n{}", chunk.len(), chunk.trim_end_matches("\r\n"));
    assert_eq!(
        client.say(&bdat).await,
        format!("250 2.6.0 CHUNK received OK, {} octets", chunk.len())
    );
    let held = async {
        while memory.octets() < chunk.len() as u64 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, held).await.expect("what the session keeps is counted");
    for _ in 0..2 {
        assert!(client.say(&bdat).await.starts_with("250 "), "what has come already was taken");
    }
    assert_eq!(client.say(&bdat).await, "452 4.3.1 Insufficient system resources");
    assert!(memory.octets() < IDLE_OCTETS);
    assert_eq!(client.say("RSET").await, "250 2.0.0 Resetting");
}

#[tokio::test]
async fn a_message_is_in_the_queue_at_its_250() {
    let host = Host::start(EVERYBODY);
    let mut client = host.connect().await;
    client.begin_message().await;
    let reply = client.say("Subject: x\r\n\r\nhello\r\n.").await;
    let id = reply.strip_prefix("250 2.6.0 ").and_then(|rest| rest.split(' ').next()).unwrap();
    let entry = host.queue.store().find(id.parse().unwrap()).await.unwrap();
    assert_eq!(entry.recipients[0].path.to_string(), "c@accepted.example");
    assert!(client.say("QUIT").await.starts_with("221 "));
    assert_eq!(client.reply().await, "");
    host.wait_until_idle().await;
    assert_eq!(host.counts.read(ConnectorId(1)).messages_accepted, 1);
}

#[tokio::test]
async fn a_source_over_its_limit_is_refused() {
    let host = Host::start(&format!("{EVERYBODY}max_inbound_connection_per_source = 2\n"));
    let mut first = host.connect().await;
    let mut second = host.connect().await;
    assert!(first.reply().await.starts_with("220 "));
    assert!(second.reply().await.starts_with("220 "));
    let mut third = host.connect().await;
    assert!(third.reply().await.starts_with("421 4.3.2 "), "the third is one too many");
    assert_eq!(third.reply().await, "");
    drop(first);
    drop(second);
    host.wait_until_idle().await;
    assert!(host.connect().await.reply().await.starts_with("220 "));
    assert_eq!(host.counts.read(ConnectorId(1)).connections_refused, 1);
}

#[tokio::test]
async fn a_client_without_a_connector_is_refused() {
    let host = Host::start("remote_ip_ranges = [\"192.0.2.1\"]\n");
    let mut client = host.connect().await;
    assert_eq!(client.reply().await, "421 4.3.2 Service not available");
    assert_eq!(client.reply().await, "");
    assert_eq!(host.counts.read(ConnectorId::NONE).connections_refused, 1);
}

#[tokio::test]
async fn a_client_that_disconnects_within_a_message_leaves_nothing() {
    let host = Host::start(EVERYBODY);
    let mut client = host.connect().await;
    client.begin_message().await;
    client.send("Subject: x\r\n\r\nhalf a mess").await;
    drop(client);
    host.wait_until_idle().await;
    assert_eq!(host.queue.store().lengths().queued, 0);
}

#[tokio::test]
async fn a_stopping_server_finishes_the_current_message() {
    let host = Host::start(EVERYBODY);
    let mut idle = host.connect().await;
    let mut busy = host.connect().await;
    assert!(idle.reply().await.starts_with("220 "));
    busy.begin_message().await;
    let server = Arc::clone(&host.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE).await });
    assert!(idle.reply().await.starts_with("421 4.3.2 "));
    assert!(TcpStream::connect(host.address).await.is_err(), "the listener is closed");
    assert!(!draining.is_finished());
    assert!(busy.say(".").await.starts_with("250 2.6.0 "));
    assert!(busy.reply().await.starts_with("421 4.3.2 "));
    drop((idle, busy));
    timeout(PATIENCE, draining).await.expect("it ends").unwrap();
    assert_eq!(host.queue.store().lengths().queued, 1);
}

#[tokio::test]
async fn a_stopping_server_waits_no_longer_than_the_limit() {
    let host = Host::start(EVERYBODY);
    let mut client = host.connect().await;
    client.begin_message().await;
    timeout(PATIENCE, host.server.drain(Duration::from_millis(50))).await.expect("it gives up");
    assert_eq!(host.server.sessions(), 1);
}

#[tokio::test]
async fn the_server_listens_on_the_bindings_of_the_rules() {
    let mut host = Host::start(EVERYBODY);
    let mut session = host.connect().await;
    assert!(session.reply().await.starts_with("220 "));
    let elsewhere = address_of_its_own();
    let rules_elsewhere = rules(&mut host.ids, 2, elsewhere, EVERYBODY);
    host.server.listen(&rules_elsewhere).unwrap();
    sleep(Duration::from_millis(10)).await;
    assert!(TcpStream::connect(host.address).await.is_err());
    assert!(TcpStream::connect(elsewhere).await.is_ok());
    assert_eq!(session.say("NOOP").await, "250 2.0.0 OK", "sessions go on");

    // Another program has bound the address.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let error = host.server.listen(&rules(&mut host.ids, 3, taken, EVERYBODY)).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    assert!(TcpStream::connect(elsewhere).await.is_ok(), "nothing has changed");
}

#[tokio::test]
async fn prepared_listeners_alone_change_nothing() {
    let mut host = Host::start(EVERYBODY);
    let elsewhere = address_of_its_own();
    let rules_elsewhere = rules(&mut host.ids, 2, elsewhere, EVERYBODY);
    drop(host.server.prepare(&rules_elsewhere).unwrap());
    assert!(TcpStream::connect(elsewhere).await.is_err());
    assert!(host.connect().await.reply().await.starts_with("220 "), "the old address still serves");
}

#[test]
fn a_wildcard_covers_the_other_bindings_of_its_port() {
    let addresses = |bindings: &[&str]| -> Vec<_> {
        let bindings: Vec<_> = bindings.iter().map(|text| text.parse().unwrap()).collect();
        addresses(&bindings).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        addresses(&["0.0.0.0:25", "10.0.0.1:25", "10.0.0.1:587", "[::]:25", "[::1]:25"]),
        ["0.0.0.0:25", "10.0.0.1:587", "[::]:25"]
    );
}
