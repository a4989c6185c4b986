//! Clients of other projects send without AUTH, in clear, after STARTTLS and in TLS from the first
//! octet. [`crate::authentication`] tests them with AUTH.

use std::process::{Command, Stdio};

use relay_tests::client::{MSMTP_ENCRYPTED, msmtp, postfix};
use relay_tests::daemon::Daemon;
use relay_tests::requirements::{Requirement, met, say_skipped};

use crate::PATIENCE;
use crate::edge::{Edge, Mode};
use crate::servers::Server;
use crate::starttls::{with_tls, write_certificate};

/// In clear on one address, after STARTTLS on another, in TLS from the first octet on a third.
const CONNECTORS: &str = r#"
[[connector]]
name = "In clear"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Encrypted"
bindings = ["127.0.0.2:PORT"]
implicit_tls_bindings = ["127.0.0.3:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls"]
permission_groups = ["AnonymousUsers"]
require_tls = true
"#;

fn start() -> (Edge, Daemon) {
    let edge = Edge::new(Mode::Userspace);
    write_certificate(edge.folder());
    let daemon = edge.start_with(&with_tls(&edge, CONNECTORS));
    (edge, daemon)
}

/// The protocols of the messages that arrived, in their order.
fn protocols(edge: &Edge, messages: usize) -> Vec<String> {
    let messages = edge.sink.wait_for(messages, PATIENCE).unwrap();
    let with = |text: String| {
        let after = text.split("\r\n\twith ").nth(1).unwrap_or_default().to_owned();
        after.split(' ').next().unwrap_or_default().to_owned()
    };
    messages.iter().map(|message| with(message.text())).collect()
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
port, context = int(sys.argv[1]), ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
def send(smtp):
    smtp.sendmail("a@fabrikam.example", ["b@contoso.example"], "Subject: x\r\n\r\nx\r\n")
with smtplib.SMTP("127.0.0.1", port, "client.example") as smtp:
    send(smtp)
with smtplib.SMTP("127.0.0.2", port, "client.example") as smtp:
    try:
        send(smtp)
    except smtplib.SMTPSenderRefused as error:
        print(error.smtp_code)
with smtplib.SMTP("127.0.0.2", port, "client.example") as smtp:
    smtp.starttls(context=context)
    send(smtp)
with smtplib.SMTP_SSL("127.0.0.3", port, "client.example", context=context) as smtp:
    send(smtp)
"#;

#[test]
fn smtplib_sends_in_clear_and_encrypted() {
    if !met("smtplib_sends_in_clear_and_encrypted", &[Requirement::Program("python3")]) {
        return;
    }
    let (edge, _daemon) = start();
    let mut python = Command::new("python3");
    python.args(["-c", SMTPLIB, &edge.port.to_string()]).arg(edge.folder().join("chain.pem"));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "451\n", "{output:?}");
    let mut protocols = protocols(&edge, 3);
    protocols.sort();
    assert_eq!(protocols, ["ESMTP", "ESMTPS", "ESMTPS"]);
}

#[test]
fn msmtp_sends_in_clear_and_encrypted() {
    if !met("msmtp_sends_in_clear_and_encrypted", &[Requirement::Program("msmtp")]) {
        return;
    }
    let (edge, _daemon) = start();
    for (number, (server, more, protocol)) in [
        ("127.0.0.1", Vec::new(), "ESMTP"),
        ("127.0.0.2", MSMTP_ENCRYPTED.to_vec(), "ESMTPS"),
        ("127.0.0.3", [&MSMTP_ENCRYPTED[..], &["--tls-starttls=off"]].concat(), "ESMTPS"),
    ]
    .into_iter()
    .enumerate()
    {
        let arguments = [&more[..], &["--from=a@fabrikam.example", "b@contoso.example"]].concat();
        let output = msmtp(server, edge.port, &arguments, b"Subject: x\n\nx\n").unwrap();
        assert!(output.status.success(), "{server} {output:?}");
        assert_eq!(protocols(&edge, number + 1).last().unwrap(), protocol, "{server}");
    }
}

/// smtp-source has neither TLS nor AUTH; HAProxy encrypts for it.
#[test]
fn smtp_source_sends_encrypted_through_haproxy() {
    let test = "smtp_source_sends_encrypted_through_haproxy";
    if !met(test, &[Requirement::Program("haproxy")]) {
        return;
    }
    let Some(mut source) = postfix("smtp-source") else {
        return say_skipped(test, &"only `cargo xtask test` says where Postfix is");
    };
    let (edge, _daemon) = start();
    let haproxy = Server::haproxy(&format!(
        "127.0.0.3:{} ssl ca-file {} verify required verifyhost edge.test",
        edge.port,
        edge.folder().join("chain.pem").display(),
    ));

    let arguments = ["-s", "5", "-m", "50", "-l", "4096", "-f", "a@fabrikam.example"];
    source.args(arguments).args(["-t", "b@contoso.example", &haproxy.address.to_string()]);
    let output = source.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // It sends HELO, for which no protocol name mentions TLS; the comment does.
    let messages = edge.sink.wait_for(50, PATIENCE).unwrap();
    assert_eq!(messages.len(), 50);
    for message in messages {
        assert!(message.text().contains(";\r\n\t TLS1.3 TLS_"), "{}", message.text());
    }
}
