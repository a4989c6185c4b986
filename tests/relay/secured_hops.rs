//! Next hops and certificates as an administrator sees them: implicit TLS, a renewed `ca_file`, the
//! files that `relay check` reads, loops to this host, and a next hop's text on a terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};
use relay_tests::requirements::{Requirement, met, say_skipped};
use time::{Duration, OffsetDateTime};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER};
use crate::servers::Server;

const SKIPPED: &str = "only `cargo xtask test` says where the server is";

/// The edge host's configuration with these keys instead of its smart host.
fn configuration(edge: &Edge, delivery: &str) -> String {
    let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
    edge.configuration(ARTICLE).replace(&smart_host, delivery)
}

fn check(edge: &Edge, configuration: &str) -> (i32, String) {
    fs::write(edge.folder().join("relay.toml"), configuration).unwrap();
    let ran = edge.relay(&["check"]);
    (ran.code, ran.out + &ran.err)
}

/// Postfix with TLS from the first octet, as on port 465.
fn postfix_with_implicit_tls() -> Option<Server> {
    let parameters = |at: &str| {
        format!(
            "virtual_mailbox_domains = fabrikam.example\nvirtual_mailbox_maps = static:mail/\n\
             virtual_mailbox_base = {at}\nvirtual_uid_maps = static:10089\n\
             virtual_gid_maps = static:10089\nvirtual_minimum_uid = 100\n\
             smtpd_tls_wrappermode = yes\nsmtpd_tls_security_level = encrypt\n\
             smtpd_tls_loglevel = 1\nsmtpd_tls_cert_file = {at}/certificate.pem\n\
             smtpd_tls_key_file = {at}/key.pem\n\
             smtpd_relay_restrictions = reject_unauth_destination\n"
        )
    };
    Server::postfix_with(parameters, &[("virtual", "unix - n n - - virtual")])
}

#[test]
fn postfix_with_implicit_tls_gets_mail_and_a_renewed_ca_file_needs_a_reload_only() {
    let test = "postfix_with_implicit_tls_gets_mail_and_a_renewed_ca_file_needs_a_reload_only";
    if !met(test, &[Requirement::Root, Requirement::Program("unshare")]) {
        return;
    }
    let Some(postfix) = postfix_with_implicit_tls() else { return say_skipped(test, &SKIPPED) };
    let edge = Edge::new(Mode::Userspace);
    let ca_file = edge.folder().join("ca.pem");
    // An authority that did not issue that server's certificate.
    let key = KeyPair::generate().unwrap();
    let stranger = CertificateParams::new(vec!["x.example".to_owned()]).unwrap();
    fs::write(&ca_file, stranger.self_signed(&key).unwrap().pem()).unwrap();
    let delivery = format!(
        "smart_host = \"localhost:{}\"\nimplicit_tls = true\ntls = \"verified\"\nca_file = \"{}\"\n",
        postfix.address.port(),
        ca_file.display()
    );
    let _daemon = edge.start_with(&configuration(&edge, &delivery));
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    let shown = edge.relay(&["queue", "show", &id, "--json"]).out;
    assert!(shown.contains("4.7.5") && shown.contains("authority"), "{shown}");
    assert!(!shown.contains("the connection was lost"), "{shown}");
    // Only the content of the file changes.
    fs::copy(postfix.authority(), &ca_file).unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    edge.wait_until(|status| status["queue"]["queued"] == 0);
    let log = postfix.log();
    assert!(log.contains("TLS connection established from localhost"), "{log}");
    assert_eq!(edge.status()["queue"]["failed"], 0);
}

#[test]
fn check_refuses_what_run_refuses_and_warns_of_certificates() {
    let edge = Edge::new(Mode::Userspace);
    let (certificate, key) = (edge.folder().join("chain.pem"), edge.folder().join("key.pem"));
    let connector = "auth_mechanism = [\"Tls\"]\npermission_groups = [\"AnonymousUsers\"]";
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[control]\n",
        certificate.display(),
        key.display()
    );
    let text = edge.configuration(ARTICLE).replace("[control]\n", &tls).replacen(
        "permission_groups = [\"AnonymousUsers\"]",
        connector,
        1,
    );
    let (code, said) = check(&edge, &text);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("chain.pem"), "{said}");
    assert_eq!(edge.fail_to_start(&text).code, 2);

    let write = |name: &str, days: i64| {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for (name, days, part) in [
        ("edge.test", 100, None),
        ("edge.test", 10, Some("the certificate expires on")),
        ("edge.test", -10, Some("expired on")),
        ("other.test", 100, Some("is for other.test, not for edge.test")),
    ] {
        write(name, days);
        let (code, said) = check(&edge, &text);
        assert_eq!(code, 0, "{said}");
        match part {
            None => assert!(!said.contains("warning: [tls]"), "{said}"),
            Some(part) => assert!(said.contains(part), "{said}"),
        }
    }
    let daemon = edge.start_with(&text);
    let status = edge.status();
    assert_eq!(status["certificates"][0]["names"][0], "other.test");
    assert_eq!(status["certificates"][0]["concerns"].as_array().unwrap().len(), 1);
    assert!(daemon.output().contains("not for edge.test"), "{}", daemon.output());
    assert!(edge.relay(&["status"]).out.contains("ends on 2"));
    drop(daemon);

    // A key of another certificate.
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (code, said) = check(&edge, &text);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the key is not the certificate's"), "{said}");
    // The same holds for the files of users, credentials and authorities.
    for delivery in [
        "smart_host = \"m:25\"\nauth = \"/nonexistent/credentials\"\ntls = \"required\"\n",
        "smart_host = \"m:25\"\ntls = \"verified\"\nca_file = \"/nonexistent/ca.pem\"\n",
    ] {
        let (code, said) = check(&edge, &configuration(&edge, delivery));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("/nonexistent/"), "{said}");
        let json = edge.relay(&["check", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((&json["sound"], json["errors"].as_array().unwrap().len()), (&false.into(), 1));
    }
}

#[test]
fn a_route_to_this_host_is_reported_and_its_loop_ends() {
    let edge = Edge::new(Mode::Userspace);
    let port = edge.port;
    for (host, is_told) in [
        (format!("127.0.0.1:{port}"), true),
        (format!("localhost:{port}"), true),
        (format!("edge.test:{port}"), true),
        (edge.sink.address().to_string(), false),
    ] {
        let text = configuration(&edge, &format!("smart_host = \"{host}\"\n"));
        let (code, said) = check(&edge, &text);
        assert_eq!((code, said.contains("is this daemon itself")), (0, is_told), "{host}: {said}");
    }
    // A connector that trusts all clients at 127.0.0.1 and removes trace fields: only our own
    // Received fields can end the loop.
    let looping = "[[connector]]\nname = \"Loop\"\nbindings = [\"127.0.0.1:PORT\"]\n\
        remote_ip_ranges = [\"127.0.0.0/8\"]\npermission_groups = [\"AnonymousUsers\"]\n\
        grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }\n\
        denies = { anonymous = [\"ms-Exch-Accept-Headers-Routing\"] }\n";
    let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
    let ours = format!("smart_host = \"127.0.0.1:{port}\"\n");
    let daemon = edge.start_with(&edge.configuration(looping).replace(&smart_host, &ours));
    assert!(daemon.output().contains("is this daemon itself"), "{}", daemon.output());
    edge.submit("", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| {
        status["queue"]["queued"] == 0 && status["queue"]["failed"].as_u64() >= Some(1)
    });
    let status = edge.status();
    let delivered = status["queue"]["delivered"].as_u64().unwrap();
    assert!(delivered < 20, "{delivered} deliveries in a loop");
}

#[test]
fn the_text_of_a_next_hop_cannot_control_a_terminal() {
    let answer = "rcpt=450 4.2.1 \u{1b}[2J\u{7}gone\u{9b}31m\u{202e}x\u{200b}\u{2028}y";
    let edge = Edge::answered(&[answer]);
    let daemon = edge.start();
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    daemon.wait_for_line("\"attempt\"", PATIENCE).unwrap();
    let mut printed = vec![daemon.output()];
    for arguments in [&["queue", "list"][..], &["queue", "show", &id], &["status"], &["trace", &id]]
    {
        printed.push(edge.relay(arguments).out);
        printed.push(edge.relay(&[arguments, &["--json"]].concat()).out);
    }
    let shown = edge.relay(&["queue", "show", &id]).out;
    assert!(shown.contains("\\u001b[2J") && shown.contains("gone"), "{shown}");
    for text in printed {
        let unsafe_one =
            text.chars().find(|&c| c != '\n' && !relay_mail::printable::is_printable(c));
        assert_eq!(unsafe_one, None, "{}", text.escape_debug());
    }
    // An address may have such characters if SMTPUTF8 is used.
    let mut client = edge.connect(SCANNER);
    client.hello();
    client.say("MAIL FROM:<a\u{202e}z@contoso.example> SMTPUTF8");
    client.say("RCPT TO:<b@fabrikam.example>");
    client.say("DATA");
    let reply = client.say("Subject: x\r\n\r\nx\r\n.");
    if reply.starts_with("250 ") {
        let listed =
            edge.relay(&["queue", "list"]).out + &edge.relay(&["queue", "list", "--json"]).out;
        assert!(!listed.contains('\u{202e}'), "{listed}");
    }
}
