//! Servers behind us: Postfix with verified TLS, Exim with AUTH, an LMTP server, and one that
//! checks signatures.

use std::fs;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::requirements::{Requirement, met, say_skipped};
use relay_tests::sink::{Script, Sink};

use crate::PATIENCE;
use crate::antispam;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER};
use crate::servers::Server;

const SKIPPED: &str = "only `cargo xtask test` says where the server is";

/// The edge host's configuration with these keys instead of its smart host.
fn configuration(edge: &Edge, delivery: &str) -> String {
    let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
    edge.configuration(ARTICLE).replace(&smart_host, delivery)
}

/// Waits until the server has this many messages.
fn wait_for(server: &Server, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mail = server.mail();
        if mail.len() >= count {
            return mail;
        }
        assert!(Instant::now() < deadline, "{} of {count}; {}", mail.len(), server.log());
        sleep(Duration::from_millis(50));
    }
}

fn write_credentials(path: &Path, password: &str) {
    fs::write(path, format!("user = \"edge\"\npassword = \"{password}\"\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn postfix_gets_every_octet_over_verified_tls() {
    let test = "postfix_gets_every_octet_over_verified_tls";
    if !met(test, &[Requirement::Root, Requirement::Program("unshare")]) {
        return;
    }
    let Some(postfix) = Server::postfix() else { return say_skipped(test, &SKIPPED) };
    let edge = Edge::new(Mode::Userspace);
    let delivery = format!(
        "smart_hosts = [\"localhost:{}\"]\ntls = \"verified\"\nca_file = \"{}\"\n",
        postfix.address.port(),
        postfix.authority().display()
    );
    let _daemon = edge.start_with(&configuration(&edge, &delivery));
    let large = "0123456789 gr\u{fc}\u{df}e\r\n..\r\n.\r\n".repeat(40_000);
    let contents = ["one\r\n", ".\r\n..dots\r\n", &large];
    for content in contents {
        let content = format!("Subject: x\r\n\r\n{content}");
        edge.submit("a@contoso.example", &["b@fabrikam.example", "c@fabrikam.example"], &content);
    }
    edge.wait_until(|status| status["queue"]["delivered"] == 6);
    let mail = wait_for(&postfix, 6);
    for content in contents {
        let body = format!("\n\n{}", content.replace("\r\n", "\n"));
        let copies = mail.iter().filter(|message| message.ends_with(&body)).count();
        assert_eq!(copies, 2, "{} octets", content.len());
    }
    let log = postfix.log();
    assert!(log.contains("TLS connection established from localhost"), "{log}");
    assert!(!log.contains("improper command pipelining"), "{log}");
}

#[test]
fn postfix_with_a_name_that_its_certificate_lacks_gets_nothing() {
    let test = "postfix_with_a_name_that_its_certificate_lacks_gets_nothing";
    if !met(test, &[Requirement::Root, Requirement::Program("unshare")]) {
        return;
    }
    let Some(postfix) = Server::postfix() else { return say_skipped(test, &SKIPPED) };
    let edge = Edge::new(Mode::Userspace);
    let delivery = |host: &str| {
        format!(
            "smart_hosts = [\"{host}:{}\"]\ntls = \"verified\"\nca_file = \"{}\"\n",
            postfix.address.port(),
            postfix.authority().display()
        )
    };
    let _daemon = edge.start_with(&configuration(&edge, &delivery("127.0.0.1")));
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    let shown = edge.relay(&["queue", "show", &id, "--json"]).out;
    assert!(shown.contains("the certificate is for localhost, not for 127.0.0.1"), "{shown}");
    assert!(postfix.mail().is_empty());
    // The route is corrected, and the mail is delivered.
    let mended = configuration(&edge, &delivery("localhost"));
    fs::write(edge.folder().join("relay.toml"), mended).unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    wait_for(&postfix, 1);
}

#[test]
fn exim_accepts_mail_from_an_authenticated_client() {
    let test = "exim_accepts_mail_from_an_authenticated_client";
    if !met(test, &[Requirement::Root, Requirement::Program("unshare")]) {
        return;
    }
    for mechanism in ["plain", "login"] {
        let exim = Server::exim(mechanism, "s3cret");
        let Some(exim) = exim else { return say_skipped(test, &SKIPPED) };
        is_known(&exim, mechanism);
    }
}

fn is_known(exim: &Server, mechanism: &str) {
    let edge = Edge::new(Mode::Userspace);
    let credentials = edge.folder().join("credentials");
    write_credentials(&credentials, "wrong");
    // With credentials, the default is to verify the certificate.
    let delivery = format!(
        "smart_hosts = [\"localhost:{}\"]\nca_file = \"{}\"\nauth = \"{}\"\n",
        exim.address.port(),
        exim.authority().display(),
        credentials.display()
    );
    let daemon = edge.start_with(&configuration(&edge, &delivery));
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    let shown = edge.relay(&["queue", "show", &id, "--json"]).out;
    assert!(shown.contains("535"), "{shown}");
    assert!(exim.mail().is_empty());
    // The file is read for each connection: no reload is needed.
    write_credentials(&credentials, "s3cret");
    let mail = wait_for(exim, 1);
    assert!(mail[0].contains("Subject: x\n\nx\n"), "{}", mail[0]);
    let log = exim.log();
    let known = format!("A={mechanism}:edge");
    assert!(log.contains("P=esmtpsa") && log.contains(&known), "{log}");
    drop(daemon);
}

#[test]
fn credentials_that_all_users_can_read_prevent_the_start() {
    let edge = Edge::new(Mode::Userspace);
    let credentials = edge.folder().join("credentials");
    write_credentials(&credentials, "s3cret");
    fs::set_permissions(&credentials, Permissions::from_mode(0o644)).unwrap();
    let delivery = format!(
        "smart_host = \"localhost:25\"\ntls = \"required\"\nauth = \"{}\"\n",
        credentials.display()
    );
    let ran = edge.fail_to_start(&configuration(&edge, &delivery));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("; run chmod o-rwx"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("s3cret"));
}

#[test]
fn an_lmtp_server_replies_for_each_recipient() {
    let edge = Edge::answered(&["rcpt:gone@fabrikam.example=550 5.1.1 No such user"]);
    // One reply for each recipient after the end of data, by RFC 2033.
    let smart_host = format!("smart_hosts = [\"{}\"]\nprotocol = \"lmtp\"\n", edge.sink.address());
    let reports = Sink::on_loopback(Script::default()).unwrap();
    let route = format!(
        "[[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{}\"]\n[control]\n",
        reports.address()
    );
    let configuration = configuration(&edge, &smart_host).replace("[control]\n", &route);
    let _daemon = edge.start_with(&configuration);
    let all = ["amy@fabrikam.example", "gone@fabrikam.example", "bob@fabrikam.example"];
    edge.submit("a@contoso.example", &all, "Subject: x\r\n\r\n.\r\n");
    edge.wait_until(|status| status["queue"]["queued"] == 0);
    let messages = edge.sink.messages();
    let taken: Vec<_> = messages[0].recipients.iter().map(|to| to.address.as_str()).collect();
    assert_eq!((messages.len(), taken), (1, vec![all[0], all[2]]));
    assert!(messages[0].text().ends_with("\r\n\r\n.\r\n"), "{}", messages[0].text());
    let report = reports.wait_for(1, PATIENCE).unwrap().remove(0).text();
    assert!(report.contains("Final-Recipient: rfc822; gone@fabrikam.example\r\n"), "{report}");
    let queue = &edge.status()["queue"];
    assert_eq!((&queue["delivered"], &queue["deferred"]), (&3.into(), &0.into()));
}

#[test]
fn a_third_partys_signature_verifies_at_the_next_hop() {
    let test = "a_third_partys_signature_verifies_at_the_next_hop";
    let needed = ["dkimsign", "openssl"].map(Requirement::Program);
    if !met(test, &needed) {
        return;
    }
    for offer in ["offer=DSN", "offer=CHUNKING"] {
        let edge = Edge::answered(&[offer]);
        let _daemon = edge.start();
        let key_file = edge.folder().join("signer.pem").display().to_string();
        let record = antispam::key(&key_file).replace("\" \"", "");
        let record = record.split('"').nth(1).unwrap();
        let head =
            "From: A <a@author.example>\r\nTo:  b@fabrikam.example\r\nSubject: a\r\n  test\r\n";
        let dots = format!("{head}\r\n.\r\n..\r\n.x \t \r\nGr\u{fc}\u{df}e\r\n\r\n.\r\n\r\n\r\n");
        // The queue stores it in a file, and it is sent in several chunks.
        let large = format!("{head}\r\n{}", "..23456789abcd\r\n.\r\n".repeat(20_000));
        // Neither a field nor a blank in the body may change.
        let strict = "canonicalize=(b'simple', b'simple')";
        let messages = [dots, large].map(|message| antispam::signed(&key_file, &message, strict));
        for (number, message) in messages.iter().enumerate() {
            edge.submit("a@author.example BODY=8BITMIME", &["b@fabrikam.example"], message);
            let arrived = edge.sink.wait_for(number + 1, PATIENCE).unwrap().remove(number);
            assert!(
                arrived.content.starts_with(b"Received: "),
                "{offer}: our Received field is missing"
            );
            assert!(verifies(&arrived.content, record), "{offer}: {}", arrived.text());
            let mut changed = arrived.content;
            changed.pop();
            changed.extend_from_slice(b" \n");
            assert!(!verifies(&changed, record), "{offer}: any change shows");
        }
    }
}

/// dkimpy's result for a message if DNS has this record.
fn verifies(message: &[u8], record: &str) -> bool {
    let program = format!(
        "import dkim, sys\n\
         message = sys.stdin.buffer.read()\n\
         sys.exit(not dkim.verify(message, dnsfunc=lambda *_, **__: {record:?}.encode()))"
    );
    let mut command = Command::new("/usr/bin/python3");
    let mut child = command.args(["-c", &program]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn postfix_sends_the_requested_report() {
    let test = "postfix_sends_the_requested_report";
    if !met(test, &[Requirement::Root, Requirement::Program("unshare")]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let postfix = Server::postfix_that_reports(edge.sink.address());
    let Some(postfix) = postfix else { return say_skipped(test, &SKIPPED) };
    let smart_host = format!("smart_host = \"{}\"\n", postfix.address);
    let _daemon = edge.start_with(&configuration(&edge, &smart_host));
    let mut client = edge.connect(SCANNER);
    client.hello();
    let said = [
        client.say("MAIL FROM:<a@contoso.example> RET=HDRS ENVID=QQ+2B7"),
        client
            .say("RCPT TO:<b@fabrikam.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@d.example"),
        client.say("RCPT TO:<c@fabrikam.example> NOTIFY=NEVER"),
        client.say("DATA"),
        client.say("Subject: x\r\n\r\nthe body\r\n."),
    ];
    assert!(said[4].starts_with("250 "), "{said:?}");
    client.quit();
    wait_for(&postfix, 2);
    let reports = edge.sink.wait_for(1, PATIENCE).unwrap();
    let text = reports[0].text();
    for part in [
        "Original-Envelope-Id: QQ+7\r\n",
        "Original-Recipient: rfc822;Bob@d.example\r\n",
        "Final-Recipient: rfc822; b@fabrikam.example\r\n",
        "Action: delivered\r\n",
        "Subject: x\r\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("c@fabrikam.example") && !text.contains("the body"), "{text}");
    // Postfix has accepted the duty to report, so we do not report.
    assert_eq!(edge.status()["queue"]["reports"], 0);
    assert_eq!(edge.sink.messages().len(), 1);
}
