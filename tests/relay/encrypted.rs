//! A client with TLS: its versions, its trusted certificates, its own certificate.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::PATIENCE;
use crate::dialogue;
use crate::edge::Edge;

/// A client's settings for a handshake.
#[derive(Clone)]
pub struct Terms {
    trusted: Vec<CertificateDer<'static>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<Identity>,
}

/// A chain and its key.
type Identity = (Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>);

/// An encrypted connection.
pub struct Encrypted {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Terms {
    /// Trusts this certificate only.
    pub fn trusting(certificate: &CertificateDer<'static>) -> Self {
        Self { trusted: vec![certificate.clone()], versions: vec![&TLS12, &TLS13], identity: None }
    }

    /// Speaks nothing newer than TLS 1.2.
    pub fn only_tls_1_2(self) -> Self {
        Self { versions: vec![&TLS12], ..self }
    }

    /// Presents this certificate if asked for one.
    pub fn showing(
        self,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        Self { identity: Some((vec![certificate], Arc::new(key))), ..self }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in &self.trusted {
            roots.add(certificate.clone()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        match &self.identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }

    /// Performs a handshake on a connection. The error says why it failed.
    pub fn shake_hands(&self, stream: TcpStream) -> Result<Encrypted, String> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("edge.test").unwrap();
        let connection = ClientConnection::new(Arc::new(self.config()), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(Encrypted { stream: BufReader::new(stream) })
    }

    /// Connects from this address, says EHLO and STARTTLS, and does the handshake.
    pub fn start_tls(&self, edge: &Edge, from: &str) -> Result<Encrypted, String> {
        let mut client = edge.connect(from);
        client.hello();
        let reply = client.say("STARTTLS");
        assert!(reply.starts_with("220 "), "{reply}");
        self.shake_hands(client.into_stream())
    }
}

impl Encrypted {
    /// The next reply.
    pub fn reply(&mut self) -> String {
        dialogue::reply(&mut self.stream)
    }

    /// Sends a command, or the end of a message, and returns the reply.
    pub fn say(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.stream.get_mut().flush().unwrap();
        self.reply()
    }

    /// The server's certificate.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The connection. All received octets must have been read.
    pub fn into_stream(self) -> StreamOwned<ClientConnection, TcpStream> {
        assert!(self.stream.buffer().is_empty());
        self.stream.into_inner()
    }

    /// As `TLSv1_3`.
    pub fn version(&self) -> String {
        format!("{:?}", self.stream.get_ref().conn.protocol_version().unwrap())
    }
}
