use std::fs;
use std::path::Path;

use crate::tls::*;
use relay_config::Config;
use relay_connector::ConnectorIds;

/// A directory with a configuration of two connectors, without certificates.
struct Place {
    folder: tempfile::TempDir,
    config: Config,
    rules: Arc<Rules>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let text = format!(
            "hostname = \"relay.example\"\n\
             delivery.smart_host = \"127.0.0.1:25\"\n\
             tls = {{ certificate = \"{path}/a.pem\", key = \"{path}/a.key\" }}\n\
             certificate = [{{ name = \"b\", certificate = \"{path}/b.pem\", key = \"{path}/b.key\" }}]\n\
             [[connector]]\nname = \"A\"\nbindings = [\"127.0.0.1:25\"]\n\
             remote_ip_ranges = [\"127.0.0.1\"]\n\
             [[connector]]\nname = \"B\"\nbindings = [\"127.0.0.1:25\"]\n\
             remote_ip_ranges = [\"127.0.0.2\"]\ntls_certificate_name = \"b\"\n\
             [[connector]]\nname = \"None\"\nbindings = [\"127.0.0.1:25\"]\n\
             remote_ip_ranges = [\"127.0.0.3\"]\nauth_mechanism = []\n"
        );
        let config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
        let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
        Self { folder, config, rules }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<TlsCredentials, TlsError> {
        TlsCredentials::load(&self.config.tls, Arc::clone(&self.rules))
    }

    /// Writes a new pair, and returns the certificate.
    fn write(&self, name: &str) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
        replace(&self.path(&format!("{name}.pem")), &made.cert.pem());
        replace(&self.path(&format!("{name}.key")), &made.signing_key.serialize_pem());
        made.cert.der().to_vec()
    }
}

/// As tools that renew certificates do: a new file with the same name.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn shown(credentials: &TlsCredentials, name: &CertificateName) -> Vec<u8> {
    credentials.certificates[name].value.cert[0].to_vec()
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let place = Place::new();
    let error = |place: &Place| place.load().unwrap_err().to_string();
    assert!(error(&place).starts_with("[tls]: certificate: cannot read "), "{}", error(&place));
    place.write("a");
    assert!(error(&place).starts_with("certificate \"b\": certificate: cannot read "));
    fs::write(place.path("b.pem"), "").unwrap();
    assert!(error(&place).contains("contains no certificate"));
    place.write("b");
    fs::copy(place.path("a.key"), place.path("b.key")).unwrap();
    let problem = error(&place);
    assert!(problem.contains("b.pem and key ") && problem.contains("do not match"));
    place.write("b");
    assert_eq!(place.load().unwrap().handshakes().len(), 2, "not for a connector without Tls");
}

#[test]
fn a_renewed_pair_is_loaded_when_it_is_complete() {
    let place = Place::new();
    let (first, other) = (place.write("a"), place.write("b"));
    let mut credentials = place.load().unwrap();
    let before = credentials.handshakes();
    assert!(
        !credentials.check_for_renewal() && !credentials.check_for_renewal(),
        "nothing has changed"
    );

    let second = place.write("a");
    assert!(!credentials.check_for_renewal(), "it may still be written");
    assert!(credentials.check_for_renewal());
    let named = CertificateName::Named("b".to_owned());
    assert_eq!(shown(&credentials, &CertificateName::Default), second);
    assert_eq!(shown(&credentials, &named), other);
    assert!(!Arc::ptr_eq(&before, &credentials.handshakes()));
    assert_ne!(first, second);
    assert!(!credentials.check_for_renewal());
}

#[test]
fn an_unusable_pair_leaves_the_old_one_in_use_with_a_warning() {
    let place = Place::new();
    let (first, _) = (place.write("a"), place.write("b"));
    let mut credentials = place.load().unwrap();
    let problem = |credentials: &TlsCredentials| credentials.status()[0].problem.clone();
    fs::remove_file(place.path("a.key")).unwrap();
    assert!(!credentials.check_for_renewal());
    assert_eq!(problem(&credentials), None);
    assert!(!credentials.check_for_renewal(), "nothing changed");
    assert!(problem(&credentials).unwrap().starts_with("[tls]: key: cannot read "));
    assert_eq!(shown(&credentials, &CertificateName::Default), first);
    assert!(!credentials.check_for_renewal(), "it is not read again before it changes again");

    // First a key that does not match, then one that does.
    fs::copy(place.path("b.key"), place.path("a.key")).unwrap();
    credentials.check_for_renewal();
    credentials.check_for_renewal();
    assert!(problem(&credentials).unwrap().contains("do not match"));
    let second = place.write("a");
    credentials.check_for_renewal();
    assert!(credentials.check_for_renewal());
    assert_eq!(
        (problem(&credentials), shown(&credentials, &CertificateName::Default)),
        (None, second)
    );
}
