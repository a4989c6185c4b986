//! Does a live session reply as `relay explain` predicts? Random questions are explained, and then
//! asked over a socket: reply by reply, both must have the same octets.
//!
//! The seeds are fixed, so that a difference can be repeated.

mod made_up;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use relay_config::{Config, users};
use relay_connector::{ConnectorId, ConnectorIds, TableMatch};
use relay_explanation::{ExplainedCommand, Explanation, HostState, Question, explain_with};
use relay_kernel::classifier::Classifier;
use relay_mail::reply::QUEUED;
use relay_policy::Rules;
use relay_queue::Queue;
use relay_queue::schedule::Schedule;
use relay_queue::store::Store;
use relay_server::Server;
use relay_server::back_pressure::Readings;
use relay_server::counts::Counts;
use relay_server::tls::TlsCredentials;
use relay_smtp::command::SaslMessage;
use relay_tracking::Tracker;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::memory_queue::{Behaviour, MemoryStore};
use crate::profile::USERS;
use crate::socket::{Client, PATIENCE, free_address, make_certificate};

const CONFIGURATIONS: u64 = 100;
const QUESTIONS: usize = 30;
/// Differences that are shown in full.
const SHOWN: usize = 5;

pub fn run() -> Result<(), String> {
    let begun = Instant::now();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let certificate = make_certificate(directory.path())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut questions = 0;
    for seed in 0..CONFIGURATIONS {
        let mut rng = Rng::with_seed(seed);
        let host = Host::start(&mut rng, directory.path(), &runtime)?;
        for number in 0..QUESTIONS {
            let question = made_up::question(&mut rng, host.plain, host.implicit);
            let place = |problem| format!("seed {seed}, question {number}: {problem}");
            host.press(&mut rng, &runtime);
            let held = (rng.u8(..20) == 0).then(|| host.hold(&question)).transpose()?;
            let explanation = host.explain(&question, &runtime);
            if let Err(difference) = host.ask(&question, &explanation, &certificate) {
                differences.push(place(format!("{difference}\n{question:?}\n{}", host.text)));
            }
            drop(held);
            host.wait_until_idle().map_err(place)?;
            *outcomes.entry(outcome(&explanation)).or_default() += 1;
            questions += 1;
        }
        runtime.block_on(host.server.drain(PATIENCE));
    }
    let time = begun.elapsed().as_secs_f32();
    println!("explained: {questions} questions, {} differences, {time:.1} s", differences.len());
    println!("explained: {outcomes:?}");
    if !differences.is_empty() {
        differences.truncate(SHOWN);
        return Err(differences.join("\n\n"));
    }
    for kind in ["accepted", "connect", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "data"]
    {
        if !outcomes.contains_key(kind) {
            return Err(format!("no question had this result: {kind}"));
        }
    }
    Ok(())
}

/// The result of a question: accepted, or the first command that was refused.
fn outcome(explanation: &Explanation) -> String {
    let refused = |step: &&ExplainedCommand| !step.decision.reply.is_positive();
    match explanation.steps.iter().find(refused).map(|step| step.command.as_str()) {
        None if explanation.accepted => "accepted".to_owned(),
        None => "neither".to_owned(),
        Some("") => "connect".to_owned(),
        Some("(end of data)") => "data".to_owned(),
        Some(command) => command.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// A server with a made-up configuration.
struct Host {
    server: Arc<Server>,
    rules: Arc<Rules>,
    store: Arc<MemoryStore>,
    plain: SocketAddr,
    implicit: SocketAddr,
    /// Its configuration.
    text: String,
}

impl Host {
    fn start(rng: &mut Rng, directory: &Path, runtime: &Runtime) -> Result<Self, String> {
        let (plain, implicit) = (free_address(), free_address());
        let (text, mut config) = loop {
            let text = made_up::configuration(rng, directory, plain, implicit);
            if let Ok(config) = Config::parse(&text, "relay.toml") {
                break (text, config);
            }
        };
        let users = users::parse(USERS, "users.toml").map_err(|refusals| refusals.to_string())?;
        config.users = Arc::new(users);
        let rules =
            config.rules(&mut ConnectorIds::default(), 1).map_err(|error| error.to_string())?;
        let counts: Arc<Counts> = Arc::default();
        let classifier = Arc::new(Classifier::userspace(Arc::clone(&rules)));
        let behaviour = match rng.u8(..10) {
            0 => Behaviour::Full,
            _ => Behaviour::Working,
        };
        let store = Arc::new(MemoryStore::new(behaviour));
        let hostname = config.hostname.clone();
        let settings = relay_queue::QueueSettings { hostname, schedule: Schedule::default() };
        let queue = Queue::with_store(Arc::clone(&store) as _, settings);
        let server = Arc::new(Server::new(classifier, queue, counts, Tracker::none()));
        // Without credentials there is no certificate, as after a reload that cannot read it.
        if rng.u8(..6) > 0 {
            let credentials = TlsCredentials::load(&config.tls, Arc::clone(&rules));
            server.set_credentials(credentials.map_err(|error| error.to_string())?);
        }
        let in_runtime = runtime.enter();
        server.listen(&rules).map_err(|error| error.to_string())?;
        drop(in_runtime);
        Ok(Self { server, rules, store, plain, implicit, text })
    }

    /// The disk of the queue fills up or empties. The meter may or may not have noticed it yet.
    fn press(&self, rng: &mut Rng, runtime: &Runtime) {
        let thresholds = relay_policy::BackPressureSettings::default().disk_use;
        let disk = match rng.u8(..40) {
            0 => thresholds.medium_to_high,
            1 => thresholds.high_to_medium,
            _ => thresholds.medium_to_low,
        };
        let refusal = runtime.block_on(self.store.accepts()).err().filter(|_| rng.bool());
        // A level falls by one at a time.
        for _ in 0..2 {
            let values = [Some(disk), None, None, None];
            self.server.back_pressure().update(Readings { values, refusal: refusal.clone() });
        }
    }

    /// Another connection of the client.
    fn hold(&self, question: &Question) -> Result<Client, String> {
        let client = Client::connect_from(question.remote.ip(), self.plain);
        let mut client = client.map_err(|error| error.to_string())?;
        client.read_line()?;
        Ok(client)
    }

    fn explain(&self, question: &Question, runtime: &Runtime) -> Explanation {
        let state = self.server.host_state(question.local, question.remote);
        let state = HostState { storage: runtime.block_on(self.store.accepts()), ..state };
        let id = match self.rules.table.classify(question.local, question.remote) {
            TableMatch::Connector { connector, .. } => connector,
            TableMatch::NoBinding | TableMatch::NoConnector => ConnectorId::NONE,
        };
        let find_out =
            &mut |inquiry| runtime.block_on(self.server.find_out(inquiry, id, question.remote));
        explain_with(Instant::now(), &self.rules, question, &state, find_out)
    }

    /// Asks a session the same question; an error describes a different reply.
    fn ask(
        &self,
        question: &Question,
        explanation: &Explanation,
        certificate: &CertificateDer<'static>,
    ) -> Result<(), String> {
        let mut client = match Client::connect_from(question.remote.ip(), question.local) {
            // There is no listener: `explain` says that no connector serves the connection.
            Err(_) if explanation.binding.is_none() && is_refused(explanation) => return Ok(()),
            client => client.map_err(|error| error.to_string())?,
        };
        let encrypt = |client: Client| client.start_tls(Some(certificate.clone()), None);
        if question.local == self.implicit {
            client = encrypt(client)?;
        }
        for step in &explanation.steps {
            let octets = match step.command.as_str() {
                "" => Vec::new(),
                "AUTH PLAIN" => auth(question).into_bytes(),
                "(end of data)" => message(question).into_bytes(),
                command => format!("{command}\r\n").into_bytes(),
            };
            // The reply shows if a session does not accept more octets.
            let _ = client.write_all(&octets);
            let mut expected = Vec::new();
            step.decision.reply.encode(&mut expected);
            let expected = String::from_utf8(expected).map_err(|error| error.to_string())?;
            let command = &step.command;
            let lived = match reply(&mut client) {
                // A client that waits for a handshake gets no reply: `explain` gives the reason
                // nevertheless.
                Err(_) if question.local == self.implicit && is_refused(explanation) => {
                    return Ok(());
                }
                lived => lived.map_err(|problem| {
                    format!("{command:?}: explained as {expected:?}, but the session: {problem}")
                })?,
            };
            if without_name(&lived) != expected {
                return Err(format!(
                    "{command:?}: explained as {expected:?}, but the session gave {lived:?}"
                ));
            }
            if command == "STARTTLS" && lived.starts_with('2') {
                client = encrypt(client)?;
            }
        }
        Ok(())
    }

    fn wait_until_idle(&self) -> Result<(), String> {
        let start = Instant::now();
        while self.server.sessions() > 0 {
            if start.elapsed() > PATIENCE {
                return Err("a session does not end".to_owned());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }
}

/// Did the client get no session?
fn is_refused(explanation: &Explanation) -> bool {
    matches!(&explanation.steps[..], [step] if !step.decision.reply.is_positive())
}

/// AUTH PLAIN with the right password, if there is one.
fn auth(question: &Question) -> String {
    let name = question.auth.as_ref().map(ToString::to_string).unwrap_or_default();
    let password = match name.as_str() {
        "alice" => "wonderland",
        _ => "builder",
    };
    let message = SaslMessage(format!("\0{name}\0{password}").into_bytes());
    format!("AUTH PLAIN {}\r\n", message.encoded())
}

/// The message of the question, in lines of its size.
fn message(question: &Question) -> String {
    const LINE: usize = 78;
    let mut message = question.header_section();
    let size = question.size.and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
    while let left @ 3.. = size.saturating_sub(message.len()) {
        // The rest has room for another line, or is the last line.
        let line = if left < LINE + 3 { left } else { LINE };
        message.push_str(&"x".repeat(line - 2));
        message.push_str("\r\n");
    }
    message.push_str(".\r\n");
    message
}

/// A reply in full.
fn reply(client: &mut Client) -> Result<String, String> {
    let mut reply = String::new();
    loop {
        let line = client.read_line()?;
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        reply.push_str(&line);
        if line == crate::script::CLOSED {
            return Err(format!("{reply:?}"));
        }
        reply.push_str("\r\n");
        if is_last {
            return Ok(reply);
        }
    }
}

/// A stored message has a queue id, which is not known before.
fn without_name(reply: &str) -> String {
    let text = format!(" {}\r\n", QUEUED.text);
    match reply.strip_suffix(&text).and_then(|before| before.rsplit_once(' ')) {
        Some((before, _)) => format!("{before}{text}"),
        None => reply.to_owned(),
    }
}
