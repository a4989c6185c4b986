//! Users, from `relay passwd` to the next hop, with clients of other projects.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use relay_tests::client::{self, MSMTP_ENCRYPTED, swaks};
use relay_tests::daemon::{self, Daemon};
use relay_tests::requirements::{Requirement, met};

use crate::PATIENCE;
use crate::edge::{Edge, Mode, Ran, json_line};
use crate::starttls::{with_tls, write_certificate};

/// In clear on one address, within TLS on another.
pub const CONNECTORS: &str = r#"
[[connector]]
name = "In clear"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls", "BasicAuth"]
permission_groups = ["ExchangeUsers"]
auth_tarpit_interval = "0s"
tarpit_interval = "0s"

[[connector]]
name = "Within TLS"
bindings = ["127.0.0.2:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls", "BasicAuth", "BasicAuthRequireTLS"]
permission_groups = ["ExchangeUsers"]
auth_tarpit_interval = "0s"
tarpit_interval = "0s"
"#;

/// An edge with the user alice, and its daemon.
pub fn with_alice() -> (Edge, Daemon) {
    with_alice_on(CONNECTORS)
}

/// The same with these connectors.
pub fn with_alice_on(connectors: &str) -> (Edge, Daemon) {
    let edge = Edge::new(Mode::Userspace);
    let folder = edge.folder().display();
    write_certificate(edge.folder());
    let users = format!("[authentication]\nusers_file = \"{folder}/users.toml\"\n{connectors}");
    let text = with_tls(&edge, &users);
    fs::write(edge.folder().join("relay.toml"), &text).unwrap();
    let added = passwd(&edge, &["Alice", "--send-as", "alice@contoso.example"], "wonderland\n");
    assert_eq!(added.code, 0, "{added:?}");
    let daemon = edge.start_with(&text);
    (edge, daemon)
}

/// `relay passwd` with this on standard input.
fn passwd(edge: &Edge, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(daemon::binary().unwrap());
    command.arg("passwd").arg("-c").arg(edge.folder().join("relay.toml")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that needs no password closes its input unread.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn users_are_made_changed_and_removed_while_the_daemon_runs() {
    let (edge, daemon) = with_alice();
    let file = edge.folder().join("users.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("wonderland"));

    // "\0alice\0wonderland", then with another password.
    let authenticate = |message: &str| {
        let mut client = edge.connect("127.0.0.1");
        client.hello();
        client.say(&format!("AUTH PLAIN {message}"))
    };
    let (old, new) = ("AGFsaWNlAHdvbmRlcmxhbmQ=", "AGFsaWNlAGxvb2tpbmdnbGFzcw==");
    assert!(authenticate(old).starts_with("235 2.7.0 "));
    assert!(authenticate(new).starts_with("535 5.7.3 "));
    let line = json_line(&daemon, 0, |line| line["user"] == "alice");
    assert_eq!(line["principal"], "user", "{line}");
    let line = json_line(&daemon, 0, |line| {
        line["verdicts"].as_str().is_some_and(|verdicts| verdicts.starts_with("AUTH 535"))
    });
    assert!(line["verdicts"].as_str().unwrap().contains("alice: the password is wrong"), "{line}");

    let changed = passwd(&edge, &["alice"], "lookingglass\n");
    assert!(
        changed.out.ends_with("alice changed; `relay reload` puts it in force\n"),
        "{changed:?}"
    );
    assert!(authenticate(old).starts_with("235 2.7.0 "), "there was no reload yet");
    assert_eq!(edge.relay(&["reload"]).code, 0);
    assert!(authenticate(old).starts_with("535 5.7.3 "));
    assert!(authenticate(new).starts_with("235 2.7.0 "));

    assert_eq!(passwd(&edge, &["alice", "--remove"], "").code, 0);
    assert_eq!(passwd(&edge, &["alice", "--remove"], "").code, 1);
    assert_eq!(edge.relay(&["reload"]).code, 0);
    assert!(authenticate(new).starts_with("535 5.7.3 "));

    // A file that others may read is refused, and the one in force stays.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = edge.relay(&["reload"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("users.toml: others may read or write it"), "{refused:?}");
    assert_eq!(passwd(&edge, &["bob"], "\n").code, 2, "an empty password");
}

#[test]
fn swaks_authenticates_in_clear_and_within_tls() {
    if !met("swaks_authenticates_in_clear_and_within_tls", &[Requirement::Program("swaks")]) {
        return;
    }
    let (edge, _daemon) = with_alice();
    let port = edge.port.to_string();
    let send = |server: &str, arguments: &[&str]| {
        let server = format!("{server}:{port}");
        let base = ["--server", &server, "--helo", "client.example", "--auth-user", "alice"];
        let mail = ["--from", "alice@contoso.example", "--to", "b@fabrikam.example"];
        swaks(None, &[&base[..], &mail, arguments].concat()).unwrap()
    };
    let right = ["--auth-password", "wonderland"];
    for (number, (server, arguments, protocol)) in [
        ("127.0.0.1", &["--auth", "PLAIN"][..], "ESMTPA"),
        ("127.0.0.1", &["--auth", "LOGIN"], "ESMTPA"),
        ("127.0.0.2", &["--auth", "PLAIN", "--tls"], "ESMTPSA"),
        ("127.0.0.2", &["--auth", "LOGIN", "--tls"], "ESMTPSA"),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = send(server, &[&right[..], arguments].concat());
        assert!(sent.status.success(), "{}", sent.text);
        let messages = edge.sink.wait_for(number + 1, PATIENCE).unwrap();
        let message = messages.last().unwrap().text();
        assert!(message.contains(&format!("\r\n\twith {protocol} id ")), "{message}");
        assert!(message.contains("\", user"), "{message}");
    }
    let hidden = send("127.0.0.2", &[&right[..], &["--auth", "PLAIN"]].concat());
    assert!(!hidden.status.success() && !hidden.text.contains("250-AUTH"), "{}", hidden.text);
    let wrong = send("127.0.0.1", &["--auth-password", "x", "--auth", "PLAIN"]);
    assert_eq!(wrong.refusal(), Some("535 5.7.3 Authentication unsuccessful"));
    let another = send("127.0.0.1", &[&right[..], &["--from", "bob@contoso.example"]].concat());
    let may_not = "550 5.7.60 SMTP; Client does not have permissions to send as this sender";
    assert_eq!(another.refusal(), Some(may_not));
    let header = send("127.0.0.1", &[&right[..], &["--h-From", "bob@contoso.example"]].concat());
    assert_eq!(header.refusal(), Some(may_not));
    assert_eq!(edge.sink.messages().len(), 4);
}

/// Chooses one of the offered mechanisms, and prints its choice.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
for method, tls in [("auth_plain", False), ("auth_login", False), ("auth_plain", True)]:
    with smtplib.SMTP("127.0.0.2" if tls else "127.0.0.1", int(sys.argv[1]), "client.example") as smtp:
        if tls:
            context = ssl.create_default_context(cafile=sys.argv[2])
            context.check_hostname = False
            smtp.starttls(context=context)
        smtp.ehlo()
        smtp.user, smtp.password = "alice", "wonderland"
        print(smtp.auth(method[5:].upper(), getattr(smtp, method))[0])
        smtp.sendmail("alice@contoso.example", ["b@fabrikam.example"], "From: alice@contoso.example\r\n\r\n")
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example") as smtp:
    try:
        smtp.login("alice", "x")
    except smtplib.SMTPAuthenticationError as error:
        print(error.smtp_code)
"#;

#[test]
fn smtplib_logs_in() {
    if !met("smtplib_logs_in", &[Requirement::Program("python3")]) {
        return;
    }
    let (edge, _daemon) = with_alice();
    let certificate = edge.folder().join("chain.pem");
    let mut python = Command::new("python3");
    python.args(["-c", SMTPLIB, &edge.port.to_string()]).arg(certificate);
    let output = python.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "235\n235\n235\n535\n", "{output:?}");
    edge.sink.wait_for(3, PATIENCE).unwrap();
}

/// Sends a message as alice with msmtp, within TLS if the connector requires it. Returns whether it
/// was accepted, and msmtp's output.
pub fn msmtp(edge: &Edge, server: &str, method: &str, password: &str) -> (bool, String) {
    let (auth, secret) = (format!("--auth={method}"), format!("--passwordeval=echo {password}"));
    let mut arguments = vec!["--user=alice", "--from=alice@contoso.example", &auth, &secret];
    if server == "127.0.0.2" {
        arguments.extend(MSMTP_ENCRYPTED);
    }
    arguments.extend(["--debug", "b@fabrikam.example"]);
    let message = b"From: alice@contoso.example\nSubject: from msmtp\n\n";
    let output = client::msmtp(server, edge.port, &arguments, message).unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn msmtp_authenticates_with_scram() {
    if !met("msmtp_authenticates_with_scram", &[Requirement::Program("msmtp")]) {
        return;
    }
    let (edge, daemon) = with_alice();
    let mut sent = 0;
    for server in ["127.0.0.1", "127.0.0.2"] {
        for method in ["scram-sha-256", "plain", "login"] {
            let (success, said) = msmtp(&edge, server, method, "wonderland");
            assert!(success, "{server} {method}\n{said}");
            sent += 1;
            edge.sink.wait_for(sent, PATIENCE).unwrap();
        }
    }
    let (success, said) = msmtp(&edge, "127.0.0.1", "scram-sha-256", "x");
    assert!(!success && said.contains("535 5.7.3 "), "{said}");
    let line = json_line(&daemon, 0, |line| {
        line["verdicts"].as_str().is_some_and(|verdicts| verdicts.contains("the proof is wrong"))
    });
    assert_eq!(line["principal"], "anonymous", "{line}");
    assert_eq!(edge.sink.messages().len(), sent);
}

#[test]
fn explain_shows_the_rights_of_a_user() {
    let (edge, _daemon) = with_alice();
    let to = format!("127.0.0.2:{}", edge.port);
    let explain = |more: &[&str]| {
        let base = ["explain", "--json", "--from", "127.0.0.1", "--to-binding", &to];
        let mail = ["--mail-from", "alice@contoso.example", "--rcpt-to", "b@fabrikam.example"];
        edge.relay(&[&base[..], &mail, more].concat())
    };
    for live in [&[][..], &["--live"]] {
        let allowed = explain(&[&["--tls", "--auth", "ALICE"], live].concat());
        let json = allowed.json();
        assert_eq!(
            (allowed.code, &json["principal"], &json["user"]),
            (0, &"user".into(), &"alice".into())
        );
        let auth = &json["replies"][2];
        assert_eq!((&auth["command"], &auth["code"]), (&"AUTH PLAIN".into(), &235.into()));
        let mail = &json["replies"][3]["because"];
        assert!(mail.to_string().contains("may send as alice@contoso.example"), "{mail}");

        let unknown = explain(&[&["--tls", "--auth", "unknown"], live].concat());
        assert_eq!((unknown.code, &unknown.json()["replies"][2]["code"]), (1, &535.into()));
        let in_clear = explain(&[&["--auth", "alice"], live].concat());
        assert_eq!((in_clear.code, &in_clear.json()["replies"][1]["code"]), (1, &504.into()));
    }
}

/// Guesses over many connections, from one source; other sources are not affected.
#[test]
fn failed_logons_are_counted_for_their_source_over_connections() {
    let (edge, daemon) = with_alice();
    let (right, wrong) = ("AGFsaWNlAHdvbmRlcmxhbmQ=", "AGFsaWNlAGxvb2tpbmdnbGFzcw==");
    let authenticate = |from: &str, message: &str| {
        let mut client = edge.connect(from);
        client.hello();
        client.say(&format!("AUTH PLAIN {message}"))
    };
    for number in 0..30 {
        let reply = authenticate("127.0.0.9", wrong);
        assert!(reply.starts_with("535 5.7.3 "), "{number}: {reply}");
        if number == 20 {
            // A success restores no attempts.
            assert!(authenticate("127.0.0.9", right).starts_with("235 2.7.0 "));
        }
    }
    for message in [wrong, right] {
        assert!(authenticate("127.0.0.9", message).starts_with("454 4.7.0 "));
    }
    // From other sources the user can still log on.
    assert!(authenticate("127.0.0.10", right).starts_with("235 2.7.0 "));
    json_line(&daemon, 0, |line| line["remote"] == "127.0.0.9" && line["level"] == "WARN");
    edge.wait_until(|status| {
        let daemon = &status["connectors"][0]["daemon"];
        daemon["logons_refused"] == 2 && daemon["logon_failures"] == 30
    });
}
