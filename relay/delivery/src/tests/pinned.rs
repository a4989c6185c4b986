//! Certificates in a `ca_file` itself, and the errors for those that are refused.

use crate::tests::tls::{NAME, open, open_any, with};
use crate::tests::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// X.509 version 1, as old appliances have; made by `openssl ca -selfsign` without extensions.
const VERSION_1: &str = include_str!("version_1.pem");

/// A server with this certificate in these versions of TLS.
fn showing(
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'_>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let key = any_supported_type(key).unwrap();
    let shown = Arc::new(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    Arc::new(config)
}

/// As `openssl req -x509` makes it: self-signed, and an authority by its basic constraints.
fn self_signed(
    change: impl FnOnce(&mut CertificateParams),
) -> (Certificate, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// Connects to a server with this certificate, with a `ca_file` of these certificates.
async fn verified(server: Arc<ServerConfig>, ca_file: &[&str], name: &str) -> Result<bool, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, ca_file.concat()).unwrap();
    let (_sink, address) = TestNextHop::start_with(Some(server), []).await;
    let security = Security { ca_file: Some(path), ..with(TlsMode::Verified) };
    open(address, name, &security).await
}

#[tokio::test]
async fn a_certificate_in_the_ca_file_is_trusted_itself() {
    let common_name = |params: &mut CertificateParams| {
        params.subject_alt_names.clear();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
    };
    let address = |params: &mut CertificateParams| {
        let own = CertificateParams::new(vec!["192.0.2.25".to_owned()]).unwrap();
        params.subject_alt_names = own.subject_alt_names;
    };
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for ((certificate, key), name) in [
            (self_signed(|_| {}), NAME),
            (self_signed(|params| params.is_ca = IsCa::NoCa), NAME),
            (self_signed(common_name), NAME),
            (self_signed(address), "192.0.2.25"),
        ] {
            let server = showing(certificate.der().clone(), &key, versions);
            let (other, _) = self_signed(|_| {});
            let file = [other.pem(), certificate.pem()];
            let found = verified(server, &[&file[0], &file[1]], name).await;
            assert_eq!(found, Ok(true), "{name} {versions:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_x509_version_1_is_trusted_where_it_is_pinned() {
    let certificate = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let server = || showing(certificate.clone(), &key, versions);
        assert_eq!(verified(server(), &[VERSION_1], NAME).await, Ok(true));
        let refused = verified(server(), &[VERSION_1], "other.example").await.unwrap_err();
        assert!(refused.contains("not for other.example"), "{refused}");
        // Without verification the form of a certificate does not matter.
        let (_sink, address) = TestNextHop::start_with(Some(server()), []).await;
        assert_eq!(open(address, NAME, &with(TlsMode::Required)).await, Ok(true));
    }
}

#[tokio::test]
async fn the_error_of_a_pinned_certificate_is_a_sentence() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 2, 3);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2100, 2, 3);
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    for ((certificate, key), name, words) in [
        (self_signed(expired), NAME, "expired on 2020-02-03"),
        (self_signed(early), NAME, "not valid before 2100-02-03"),
        (self_signed(for_clients), NAME, "not for servers"),
        (
            self_signed(|_| {}),
            "other.example",
            "is for mail.contoso.example, not for other.example",
        ),
        (self_signed(|_| {}), "192.0.2.1", "not for 192.0.2.1"),
    ] {
        let server = showing(certificate.der().clone(), &key, &[&TLS12, &TLS13]);
        let refused = verified(server, &[&certificate.pem()], name).await.unwrap_err();
        assert!(refused.starts_with("4.7.5 ") && refused.contains(words), "{refused}");
    }
    // A certificate with the same names that is not in the file.
    let (certificate, key) = self_signed(|_| {});
    let server = showing(certificate.der().clone(), &key, &[&TLS13]);
    let (other, _) = self_signed(|_| {});
    let refused = verified(server, &[&other.pem()], NAME).await.unwrap_err();
    assert!(refused.starts_with("4.7.5 the TLS handshake"), "{refused}");
    assert!(!refused.contains("CaUsedAsEndEntity") && !refused.contains("Error"), "{refused}");
}

#[tokio::test]
async fn a_server_with_a_pinned_certificate_must_have_its_key() {
    let (certificate, _) = self_signed(|_| {});
    let (_, other_key) = self_signed(|_| {});
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let server = showing(certificate.der().clone(), &other_key, versions);
        let refused = verified(server, &[&certificate.pem()], NAME).await.unwrap_err();
        assert!(
            refused.starts_with("4.7.5 ") && refused.contains("forged or damaged"),
            "{refused}"
        );
        let server = showing(certificate.der().clone(), &other_key, versions);
        let (_sink, address) = TestNextHop::start_with(Some(server), []).await;
        assert!(open(address, NAME, &with(TlsMode::Required)).await.is_err());
    }
}

#[tokio::test]
async fn several_servers_share_the_status_of_a_tls_trouble() {
    let (certificate, key) = self_signed(|_| {});
    let server = showing(certificate.der().clone(), &key, &[&TLS13]);
    let (_sink, address) = TestNextHop::start_with(Some(server), []).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let refused = open_any(&[gone, address], NAME, &with(TlsMode::Verified)).await;
    let refused = refused.unwrap_err();
    assert!(refused.starts_with("4.7.5 no address"), "{refused}");
    let refused = open_any(&[gone, gone], NAME, &with(TlsMode::Required)).await;
    assert!(refused.unwrap_err().starts_with("4.4.1 no address"));
}

#[tokio::test]
async fn implicit_tls_is_spoken_from_the_first_octet() {
    let (certificate, key) = self_signed(|_| {});
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let implicit = |tls, ca_file| Security { implicit_tls: true, ca_file, ..with(tls) };
    for security in
        [implicit(TlsMode::Required, None), implicit(TlsMode::Verified, Some(path.clone()))]
    {
        let server = showing(certificate.der().clone(), &key, &[&TLS12, &TLS13]);
        let (sink, address) = TestNextHop::start_with(Some(server), [Fault::ImplicitTls]).await;
        assert_eq!(open(address, NAME, &security).await, Ok(true), "{security:?}");
        assert_eq!(sink.connections(), 1);
    }
    // A server that greets in plain text.
    let (_sink, address) = TestNextHop::start([]).await;
    let refused = open(address, NAME, &implicit(TlsMode::Required, None)).await.unwrap_err();
    assert!(refused.starts_with("4.7.5 ") && refused.contains("does not speak TLS"), "{refused}");
}
