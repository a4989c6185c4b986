//! Encryption from the client's side: offered, required, named, and renewed.

use std::fs;
use std::path::Path;

use relay_tests::client::swaks;
use relay_tests::requirements::{Requirement, met};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER, json_line};
use crate::encrypted::Terms;

const CONNECTORS: &str = r#"
[[connector]]
name = "Encrypted only"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls"]
permission_groups = ["AnonymousUsers"]
grants = { anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }
require_tls = true
tarpit_interval = "0s"
"#;

#[test]
fn an_encrypted_message_of_swaks_arrives_and_its_trace_field_says_so() {
    if !met(
        "an_encrypted_message_of_swaks_arrives_and_its_trace_field_says_so",
        &[Requirement::Program("swaks")],
    ) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    write_certificate(edge.folder());
    let daemon = edge.start_with(&with_tls(&edge, CONNECTORS));
    let server = edge.address().to_string();
    let base = ["--server", &server, "--helo", "client.example", "--local-interface", SCANNER];
    let mail = ["--from", "a@contoso.example", "--to", "b@fabrikam.example"];

    let plain = swaks(None, &[&base[..], &mail[..]].concat()).unwrap();
    assert_eq!(plain.refusal(), Some("451 5.7.3 STARTTLS is required to send mail"));
    assert!(edge.sink.messages().is_empty());

    let encrypted = swaks(None, &[&base[..], &mail[..], &["--tls"]].concat()).unwrap();
    assert!(encrypted.status.success(), "{}", encrypted.text);
    let message = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0).text();
    assert!(message.contains("\r\n\twith ESMTPS id "), "{message}");
    let received = "(connector \"Encrypted only\", anonymous;\r\n\t TLS1.3 TLS_";
    assert!(message.contains(received), "{message}");
    // The line of the first session may be the later one.
    let line = json_line(&daemon, 0, |line| line["accepted"] == 1);
    assert!(line["tls"].as_str().unwrap().starts_with("TLS1.3 TLS_"), "{line}");
}

#[test]
fn a_renewed_certificate_is_presented_after_a_reload() {
    let edge = Edge::new(Mode::Userspace);
    let first = write_certificate(edge.folder());
    let _daemon = edge.start_with(&with_tls(&edge, CONNECTORS));
    assert!(is_shown(&edge, &first));
    let second = write_certificate(edge.folder());
    assert_eq!(edge.relay(&["reload"]).code, 0);
    assert!(is_shown(&edge, &second) && !is_shown(&edge, &first));

    // An invalid pair does not remove the one in use.
    fs::write(edge.folder().join("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem())
        .unwrap();
    let refused = edge.relay(&["reload"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("chain.pem") && refused.err.contains("key.pem"), "{refused:?}");
    assert!(is_shown(&edge, &second));
}

/// The whole configuration with the certificate of [`write_certificate`], and these lines.
pub fn with_tls(edge: &Edge, connectors: &str) -> String {
    let folder = edge.folder().display();
    edge.configuration(&format!(
        "[tls]\ncertificate = \"{folder}/chain.pem\"\nkey = \"{folder}/key.pem\"\n{connectors}"
    ))
}

/// Writes a new certificate with its key, and returns it.
pub fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Does a handshake succeed for a client that trusts only this certificate?
fn is_shown(edge: &Edge, certificate: &CertificateDer<'static>) -> bool {
    Terms::trusting(certificate).start_tls(edge, SCANNER).is_ok()
}
