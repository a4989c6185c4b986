//! Plays a dialogue against the server, over a socket of the loopback interface.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay_connector::ConnectorIds;
use relay_kernel::classifier::Classifier;
use relay_policy::pressure::PressureLevel;
use relay_queue::Queue;
use relay_queue::schedule::Schedule;
use relay_queue::store::Store;
use relay_server::Server;
use relay_server::back_pressure::Readings;
use relay_server::counts::Counts;
use relay_server::tls::TlsCredentials;
use relay_tracking::Tracker;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::memory_queue::{Behaviour, MemoryStore};
use crate::script::{Auth, CLOSED, Event, QueueBehaviour, Script, Settings, Shown};
use crate::{matching, profile};

/// Much longer than a reply on the loopback interface takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Over a socket some settings are impossible: a test cannot let time pass, inquiries have no
/// server, and storage neither fails in the middle nor stays silent.
pub fn can_play(script: &Script) -> bool {
    let passes_time = script
        .turns
        .iter()
        .any(|turn| matches!(turn.event, Some(Event::Pass(_) | Event::DaemonWaitsNoLonger)));
    let storage = script.settings.queue;
    !passes_time
        && script.settings.recipients.is_none()
        && script.settings.checks.are_none()
        && script.settings.auth != Some(Auth::Unanswered)
        && !script.settings.nonces_fixed
        && !matches!(
            storage,
            QueueBehaviour::Breaking | QueueBehaviour::Filling | QueueBehaviour::Silent
        )
}

pub fn play(script: &Script) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let host = Host::start(&script.settings, directory.path())?;
    let mut client = Client::connect(host.address).map_err(|error| error.to_string())?;
    for turn in &script.turns {
        let place = |problem| format!("socket, line {}: {problem}", turn.line);
        let mut said = match &turn.event {
            Some(Event::ClientDisconnects) => {
                client.disconnect();
                host.wait_until_idle()?;
                vec![CLOSED.to_owned()]
            }
            Some(Event::ClientEnds) => {
                client.end().map_err(|error| place(error.to_string()))?;
                Vec::new()
            }
            Some(Event::BackPressure(level)) => {
                host.press(*level);
                Vec::new()
            }
            Some(Event::DaemonStops) => {
                host.stop();
                Vec::new()
            }
            Some(Event::TlsHandshake(shown)) => {
                let identity = shown.as_ref().map(|shown| host.issue(shown)).transpose()?;
                client = client.start_tls(host.certificate.clone(), identity).map_err(place)?;
                Vec::new()
            }
            Some(Event::Pass(_) | Event::DaemonWaitsNoLonger) | None => Vec::new(),
        };
        // A server that has closed reads nothing more; its output shows whether it should have
        // closed.
        let _ = client.write_all(&turn.client.concat());
        while let Err(difference) = matching::lines(&turn.expected, &said) {
            let line =
                client.read_line().map_err(|problem| place(format!("{problem}; {difference}")))?;
            said.push(line);
        }
    }
    let rest = client.finish();
    if !rest.is_empty() {
        return Err(format!("socket, the server sent more: {}", rest.escape_ascii()));
    }
    host.wait_until_idle()?;
    matching::lines(&script.queued, &host.queued_lines())
        .map_err(|problem| format!("socket, queued messages: {problem}"))
}

/// A server with a queue in memory.
struct Host {
    runtime: Runtime,
    server: Arc<Server>,
    store: Arc<MemoryStore>,
    address: SocketAddr,
    certificate: Option<CertificateDer<'static>>,
    /// The authority of `[partners]` and `[fleet]`.
    authority: Authority,
}

/// An authority that issues certificates.
type Authority = Issuer<'static, KeyPair>;

/// A certificate and its key.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Host {
    fn start(settings: &Settings, directory: &Path) -> Result<Self, String> {
        let address = free_address();
        let certificate =
            settings.tls_available.then(|| make_certificate(directory)).transpose()?;
        let (authority, pem) = make_authority()?;
        fs::write(directory.join("ca.pem"), pem).map_err(|error| error.to_string())?;
        let config = profile::configuration(settings, &address.to_string(), directory)?;
        let rules =
            config.rules(&mut ConnectorIds::default(), 1).map_err(|error| error.to_string())?;
        let counts: Arc<Counts> = Arc::default();
        let classifier = Arc::new(Classifier::userspace(Arc::clone(&rules)));
        let store = Arc::new(MemoryStore::new(match settings.queue {
            QueueBehaviour::Failing => Behaviour::Failing,
            QueueBehaviour::Full => Behaviour::Full,
            _ => Behaviour::Working,
        }));
        let hostname = config.hostname.clone();
        let is_removed = settings.tls_removed;
        let settings = relay_queue::QueueSettings { hostname, schedule: Schedule::default() };
        let queue = Queue::with_store(Arc::clone(&store) as _, settings);
        let server = Arc::new(Server::new(classifier, queue, counts, Tracker::none()));
        if !is_removed {
            let credentials = TlsCredentials::load(&config.tls, Arc::clone(&rules));
            server.set_credentials(credentials.map_err(|error| error.to_string())?);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let _in_runtime = runtime.enter();
        server.listen(&rules).map_err(|error| error.to_string())?;
        drop(_in_runtime);
        let host = Self { runtime, server, store, address, certificate, authority };
        host.press(PressureLevel::Normal);
        Ok(host)
    }

    /// A certificate that a client can present.
    fn issue(&self, shown: &Shown) -> Result<Identity, String> {
        let wrong = |error: rcgen::Error| error.to_string();
        let (stranger, _) = make_authority()?;
        let issuer = if shown.is_trusted { &self.authority } else { &stranger };
        let key = KeyPair::generate().map_err(wrong)?;
        let params = CertificateParams::new([shown.name.clone()]).map_err(wrong)?;
        let certificate = params.signed_by(&key, issuer).map_err(wrong)?;
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes());
        Ok((certificate.der().clone(), key.map_err(|error| error.to_string())?))
    }

    /// The measurement for a queue's disk that is this full.
    fn press(&self, level: PressureLevel) {
        let thresholds = relay_policy::BackPressureSettings::default().disk_use;
        let disk = match level {
            PressureLevel::Normal => thresholds.medium_to_low,
            PressureLevel::Medium => thresholds.high_to_medium,
            PressureLevel::High => thresholds.medium_to_high,
        };
        let refusal = self.runtime.block_on(self.store.accepts()).err();
        let values = [Some(disk), None, None, None];
        self.server.back_pressure().update(Readings { values, refusal });
    }

    fn stop(&self) {
        let server = Arc::clone(&self.server);
        self.runtime.spawn(async move { server.drain(PATIENCE).await });
    }

    fn wait_until_idle(&self) -> Result<(), String> {
        let start = Instant::now();
        while self.server.sessions() > 0 {
            if start.elapsed() > PATIENCE {
                return Err("a session does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn queued_lines(&self) -> Vec<String> {
        let kept = self.store.kept().into_iter().map(|(entry, message)| {
            let recipients = entry.recipients.iter().map(|to| to.path.to_string()).collect();
            (entry.sender.to_string(), recipients, message)
        });
        profile::queued_lines(kept.collect())
    }
}

/// The client's end of the connection.
pub struct Client {
    stream: Stream,
    read: Vec<u8>,
    closed: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// From this address of the host.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: Stream::Plain(stream), read: Vec::new(), closed: false })
    }

    pub fn start_tls(
        self,
        certificate: Option<CertificateDer<'static>>,
        identity: Option<Identity>,
    ) -> Result<Self, String> {
        let Stream::Plain(stream) = self.stream else { return Err("TLS twice".to_owned()) };
        let mut roots = RootCertStore::empty();
        let certificate = certificate.ok_or("no certificate")?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => config
                .with_client_auth_cert(vec![certificate], key)
                .map_err(|error| error.to_string())?,
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("relay.example").map_err(|error| error.to_string())?;
        let connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(Self { stream, read: Vec::new(), closed: false })
    }

    pub fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(octets),
            Stream::Tls(stream) => {
                stream.write_all(octets)?;
                stream.flush()
            }
        }
    }

    /// The next line, or `None` at the end, once.
    pub fn read_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|octets| octets == b"\r\n") {
                let line = self.read.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|error| error.to_string());
            }
            if self.closed {
                return Err("the connection is closed".to_owned());
            }
            let mut octets = [0; 4096];
            match self.read_some(&mut octets) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(CLOSED.to_owned());
                }
                Ok(read) => self.read.extend_from_slice(&octets[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn read_some(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(octets),
            Stream::Tls(stream) => stream.read(octets),
        };
        match read {
            // The server has closed the connection all the same.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            read => read,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }

    fn disconnect(&mut self) {
        let _ = self.socket().shutdown(Shutdown::Both);
        self.closed = true;
    }

    /// Sends nothing more; within TLS it sends a close_notify.
    fn end(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Sends nothing more, and reads to the end.
    fn finish(mut self) -> Vec<u8> {
        let _ = self.socket().shutdown(Shutdown::Write);
        let mut octets = [0; 4096];
        while !self.closed {
            match self.read_some(&mut octets) {
                Ok(read) if read > 0 => self.read.extend_from_slice(&octets[..read]),
                _ => self.closed = true,
            }
        }
        self.read
    }
}

/// A separate address for each dialogue, so that they can run at the same time, and a separate port
/// for each process.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let port = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    SocketAddr::from(([127, 1, high, low], port))
}

fn make_authority() -> Result<(Authority, String), String> {
    let wrong = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(wrong)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(wrong)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).map_err(wrong)?.pem();
    Ok((Issuer::new(params, key), pem))
}

pub fn make_certificate(directory: &Path) -> Result<CertificateDer<'static>, String> {
    let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()])
        .map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        fs::write(directory.join(name), text).map_err(|error| error.to_string())
    };
    write("relay.pem", made.cert.pem())?;
    write("relay.key", made.signing_key.serialize_pem())?;
    Ok(made.cert.der().clone())
}
