//! Next hops with certificates that are right, wrong, or never seen.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::reach::Candidate;
use crate::tests::*;
use rcgen::{CertificateParams, Issuer, KeyPair};
use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::smart_host::SmartHost;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An authority, and the certificate of a server that it has signed.
struct Authority {
    server: Arc<ServerConfig>,
    folder: TempDir,
}

pub(super) const NAME: &str = "mail.contoso.example";

impl Authority {
    fn new() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.clone().self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let names = vec![NAME.to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        Self { server: Arc::new(server), folder }
    }

    fn verified(&self) -> Security {
        let ca_file = Some(self.folder.path().join("ca.pem"));
        Security { ca_file, ..with(TlsMode::Verified) }
    }

    async fn sink(&self, faults: impl IntoIterator<Item = Fault>) -> (TestNextHop, SocketAddr) {
        TestNextHop::start_with(Some(Arc::clone(&self.server)), faults).await
    }
}

pub(super) fn with(tls: TlsMode) -> Security {
    Security { tls, ..Security::default() }
}

/// Connects to a server with this expected name. Returns the error, or whether TLS is in use.
pub(super) async fn open(
    address: SocketAddr,
    name: &str,
    security: &Security,
) -> Result<bool, String> {
    open_any(&[address], name, security).await
}

/// The same where the server has several addresses.
pub(super) async fn open_any(
    addresses: &[SocketAddr],
    name: &str,
    security: &Security,
) -> Result<bool, String> {
    let handshakes = ClientHandshakes::load([security]).unwrap();
    let settings = DeliverySettings { handshakes, ..impatient(addresses[0]) };
    let server: SmartHost = format!("{name}:25").parse().unwrap();
    let candidate = |&address| Candidate { address, server: server.clone(), use_basic_smtp: false };
    let candidates: Vec<_> = addresses.iter().map(candidate).collect();
    match connect(&candidates, security, &settings).await {
        Ok(connection) => Ok(connection.connected().tls.is_some()),
        Err(cause) => Err(OutcomeReason { hop: None, cause }.to_string()),
    }
}

#[tokio::test]
async fn each_mode_with_a_certificate_that_is_right() {
    let authority = Authority::new();
    let (_sink, address) = authority.sink([]).await;
    assert_eq!(open(address, NAME, &with(TlsMode::Off)).await, Ok(false));
    assert_eq!(open(address, NAME, &with(TlsMode::Opportunistic)).await, Ok(true));
    assert_eq!(open(address, NAME, &with(TlsMode::Required)).await, Ok(true));
    assert_eq!(open(address, NAME, &authority.verified()).await, Ok(true));
}

#[tokio::test]
async fn a_certificate_for_another_name_or_from_another_authority() {
    let authority = Authority::new();
    let (_sink, address) = authority.sink([]).await;
    for security in [with(TlsMode::Opportunistic), with(TlsMode::Required)] {
        assert_eq!(open(address, "other.example", &security).await, Ok(true), "{security:?}");
    }
    let refused = open(address, "other.example", &authority.verified()).await.unwrap_err();
    assert!(refused.starts_with("4.7.5 "), "{refused}");
    assert!(refused.contains("is for mail.contoso.example, not for other.example"), "{refused}");
    let refused = open(address, NAME, &Authority::new().verified()).await.unwrap_err();
    assert!(refused.starts_with("4.7.5 "), "{refused}");
    assert!(refused.contains("another authority of the same name"), "{refused}");
}

#[tokio::test]
async fn a_handshake_that_fails() {
    // Instead of a handshake: text, which is no TLS; silence; plain text in the same packet.
    let not_tls = Fault::Says("STARTTLS", "220 go\r\n");
    let (sink, address) = Authority::new().sink([not_tls]).await;
    assert_eq!(open(address, NAME, &with(TlsMode::Opportunistic)).await, Ok(false));
    assert_eq!(sink.connections(), 2, "plain text goes over a connection of its own");
    let (_sink, address) = Authority::new().sink([not_tls]).await;
    let refused = open(address, NAME, &with(TlsMode::Required)).await.unwrap_err();
    assert!(refused.starts_with("4.7.5 ") && refused.contains("TLS handshake"), "{refused}");
}

#[tokio::test]
async fn a_hop_that_stops_offering_starttls_keeps_the_mail_waiting() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(address, |settings| {
        settings.routes = Routes::new(vec![], to_servers(&[address], with(TlsMode::Required)));
    });
    daemon.accept(&[ONE], b"x\r\n").await;
    sleep(Duration::from_secs(1)).await;
    let counters = daemon.queue.counters();
    assert!(counters.deferred >= 1 && counters.failed == 0, "{counters:?}");
    assert_eq!(counters.lengths.queued, 1);
    assert!(sink.taken().is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn mail_and_credentials_go_inside() {
    let authority = Authority::new();
    let (sink, address) = authority.sink([]).await;
    let credentials = authority.folder.path().join("credentials");
    fs::write(&credentials, "user = \"edge\"\npassword = \"s3cret\"\n").unwrap();
    fs::set_permissions(&credentials, Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start_with(address, |settings| {
        let auth = Some(NextHopAuth { credentials, in_clear: false });
        let security = Security { auth, ..with(TlsMode::Required) };
        settings.routes = Routes::new(vec![], to_servers(&[address], security));
        settings.concurrency = 1;
    });
    // Larger than any buffer between here and there.
    let large = ("x".repeat(996) + "\r\n").repeat(6000);
    daemon.accept(&[ONE], large.as_bytes()).await;
    daemon.accept(&[ONE], b"small\r\n").await;
    assert_eq!(daemon.finish().await.delivered, 2);
    let mut taken: Vec<_> = sink.taken().into_iter().map(|(_, message)| message).collect();
    taken.sort();
    assert!(taken == [b"\r\nsmall\r\n".to_vec(), ["\r\n", &large].concat().into_bytes()]);
    assert_eq!(sink.connections(), 1, "the connection is kept for the second");
    let encrypted = sink.state.lock().encrypted.clone();
    assert_eq!(encrypted[..3], ["EHLO", "AUTH", "MAIL"]);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_keep_the_mail_waiting() {
    let authority = Authority::new();
    let (sink, address) = authority.sink([]).await;
    let auth = NextHopAuth { credentials: authority.folder.path().join("gone"), in_clear: false };
    let security = Security { auth: Some(auth), ..with(TlsMode::Required) };
    let refused = open(address, NAME, &security).await.unwrap_err();
    assert!(refused.starts_with("4.7.0 auth: cannot read "), "{refused}");
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_the_hops_own() {
    let authority = Authority::new();
    let (_sink, address) = authority.sink([Fault::Says("STARTTLS", "454 4.7.0 later\r\n")]).await;
    let security = with(TlsMode::Required);
    let settings = impatient(address);
    let candidate =
        Candidate { address, server: address.to_string().parse().unwrap(), use_basic_smtp: false };
    let opened = connect(&[candidate], &security, &settings).await;
    assert!(matches!(opened, Err(Cause::Reply { reply, .. }) if reply.code == 454));
}

#[tokio::test]
async fn a_server_that_gives_up_after_the_handshake_gets_plain_text_where_that_is_allowed() {
    let authority = Authority::new();
    // TLS 1.3: our side is done before the server accepts or refuses our part.
    let ends = Fault::Says("handshake", "");
    let (sink, address) = authority.sink([ends]).await;
    assert_eq!(open(address, NAME, &with(TlsMode::Opportunistic)).await, Ok(false));
    assert_eq!(sink.connections(), 2);
    for mode in [with(TlsMode::Required), authority.verified()] {
        let (sink, address) = authority.sink([ends]).await;
        assert!(open(address, NAME, &mode).await.is_err());
        assert_eq!(sink.connections(), 1);
    }
    // A text within TLS is a reply.
    let (sink, address) = authority.sink([Fault::Says("handshake", "421 4.3.2 later\r\n")]).await;
    assert!(open(address, NAME, &with(TlsMode::Opportunistic)).await.is_err());
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn a_server_that_goes_away_at_starttls_gets_plain_text_where_that_is_allowed() {
    let authority = Authority::new();
    // The server closes, or sends octets that are no reply to it.
    for answer in ["", "nonsense\r\n", "421 4.3.2 later\r\n", "250 ok\r\n", "354 go\r\n"] {
        let balks = Fault::Says("STARTTLS", answer);
        let (sink, address) = authority.sink([balks]).await;
        assert_eq!(open(address, NAME, &with(TlsMode::Opportunistic)).await, Ok(false));
        assert_eq!(sink.connections(), 2, "{answer:?}");
        let (sink, address) = authority.sink([balks]).await;
        assert!(open(address, NAME, &with(TlsMode::Required)).await.is_err());
        assert_eq!(sink.connections(), 1, "{answer:?}");
    }
}
