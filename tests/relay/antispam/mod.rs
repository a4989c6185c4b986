//! Mail from strangers, checked against a real name server and a real Rspamd.

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use relay_tests::requirements::{Requirement, met};
use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{Edge, Mode, session_line};
use crate::servers::Server;

const NSD: Requirement = Requirement::Program("nsd");
const RSPAMD: Requirement = Requirement::Program("rspamd");
/// A second implementation of DKIM, for Debian's Python.
const DKIMPY: Requirement = Requirement::Program("dkimsign");
const OPENSSL: Requirement = Requirement::Program("openssl");

/// An address whose connector annotates, and one whose connector trusts its clients.
const ANNOTATED: &str = "127.0.0.10";
const TRUSTED: &str = "127.0.0.2";

/// Connectors that enforce these checks, annotate them, and have a client that bypasses them.
fn connectors(whom: &str, checks: &[&str], lists: bool) -> String {
    let antispam = |mode: &str| {
        let mut keys: Vec<_> = checks.iter().map(|check| format!("{check} = \"{mode}\"")).collect();
        if lists {
            keys.push(format!("block_lists = [{{ zone = \"bl.example\", action = \"{mode}\" }}]"));
        }
        format!("antispam = {{ {} }}", keys.join(", "))
    };
    let connector = |name: &str, ranges: &str, antispam: &str, rights: &str| {
        format!(
            "[[connector]]\nname = \"{name}\"\nbindings = [\"127.0.0.1:PORT\"]\n\
             remote_ip_ranges = [\"{ranges}\"]\ntarpit_interval = \"0s\"\n{antispam}\n{rights}\n"
        )
    };
    let anonymous = "permission_groups = [\"AnonymousUsers\"]";
    let trusted = "auth_mechanism = [\"ExternalAuthoritative\"]\n\
                   permission_groups = [\"ExchangeServers\"]";
    [
        whom.to_owned(),
        connector("Enforced", "127.0.0.0/8", &antispam("Enforce"), anonymous),
        connector("Annotated", ANNOTATED, &antispam("Annotate"), anonymous),
        connector("Trusted", TRUSTED, &antispam("Enforce"), trusted),
    ]
    .concat()
}

fn dns(server: std::net::SocketAddr) -> String {
    format!("[dns]\nservers = [\"{server}\"]\ntimeout = \"1s\"\n")
}

/// The reply to MAIL of a client at this address.
fn mail(edge: &Edge, from: &str, sender: &str) -> String {
    let mut client = edge.connect(from);
    client.hello();
    let reply = client.say(&format!("MAIL FROM:<{sender}>"));
    client.quit();
    reply
}

/// The reply to the end of a message.
fn send(edge: &Edge, from: &str, sender: &str, message: &str) -> String {
    let mut client = edge.connect(from);
    client.hello();
    let reply = client.message(sender, &["b@contoso.example"], message.as_bytes());
    client.quit();
    reply
}

/// The `number`th message at the next hop, which must have been accepted.
fn arrived(edge: &Edge, number: usize) -> String {
    edge.sink.wait_for(number, PATIENCE).unwrap()[number - 1].text()
}

#[test]
fn block_lists_and_spf_are_asked_at_mail() {
    if !met("block_lists_and_spf_are_asked_at_mail", &[NSD]) {
        return;
    }
    let dns_server = Server::name_server(
        "pass TXT \"v=spf1 ip4:127.0.0.0/8 -all\"\n\
         fail TXT \"v=spf1 include:other.example -all\"\n\
         other TXT \"v=spf1 ip4:192.0.2.1 -all\"\n\
         depends TXT \"v=spf1 a:mail.sender.broken -all\"\n\
         client TXT \"v=spf1 -all\"\n\
         6.0.0.127.bl A 127.0.0.2\n\
         7.0.0.127.bl A 127.255.255.254\n",
    );
    let edge = Edge::new(Mode::Userspace);
    let whom = dns(dns_server.address);
    let configuration = edge.configuration(&connectors(&whom, &["spf"], true));
    let daemon = edge.start_with(&configuration);
    let ok = "250 2.1.0 Sender OK";
    for (from, sender, reply) in [
        ("127.0.0.5", "a@pass.example", ok),
        ("127.0.0.5", "a@nothing.example", ok),
        ("127.0.0.5", "a@fail.example", "550 5.7.23 SPF validation failed"),
        ("127.0.0.5", "", "550 5.7.23 SPF validation failed"),
        ("127.0.0.5", "a@sender.broken", "451 4.7.24 SPF validation error, try again later"),
        ("127.0.0.5", "a@depends.example", "451 4.7.24 SPF validation error, try again later"),
        ("127.0.0.6", "a@pass.example", "554 5.7.1 Client host is blocked, listed in bl.example"),
        (
            "127.0.0.7",
            "a@pass.example",
            "451 4.7.1 Client host could not be looked up in a block list, try again later",
        ),
        (ANNOTATED, "a@fail.example", ok),
        (TRUSTED, "a@fail.example", ok),
    ] {
        assert_eq!(mail(&edge, from, sender), reply, "{from} <{sender}>");
    }
    let message = "From: a@fail.example\r\n\r\nx\r\n";
    for (number, sender, result) in
        [(1, "a@fail.example", "fail"), (2, "a@sender.broken", "temperror")]
    {
        assert!(send(&edge, ANNOTATED, sender, message).starts_with("250 "));
        let domain = sender.trim_start_matches("a@");
        let field = format!(
            "Authentication-Results: edge.test;\r\n\tspf={result} smtp.mailfrom={domain}\r\n\
             X-Relay-Spam: No\r\nReceived: from client.example ([{ANNOTATED}])\r\n"
        );
        let message = arrived(&edge, number);
        assert!(message.starts_with(&field), "{message}");
    }
    let after = daemon.line_count();
    assert!(send(&edge, TRUSTED, "a@fail.example", message).starts_with("250 "));
    assert!(arrived(&edge, 3).starts_with("Received: "));
    let line = session_line(&daemon, after, TRUSTED);
    assert_eq!(
        line["checks"],
        "skipped (ms-Exch-Bypass-Anti-Spam: granted to externally-secured by permission group \
         ExchangeServers)"
    );
    let after = daemon.line_count();
    assert!(send(&edge, "127.0.0.5", "a@pass.example", message).starts_with("250 "));
    assert_eq!(session_line(&daemon, after, "127.0.0.5")["checks"], "bl.example=clear spf=pass");
}

/// Signs a message with dkimpy, as `author.example` with the selector `s1`.
pub fn signed(key: &str, message: &str, more: &str) -> String {
    let program = format!(
        "import dkim, sys\n\
         message = sys.stdin.buffer.read()\n\
         key = open({key:?}, 'rb').read()\n\
         field = dkim.sign(message, b's1', b'author.example', key, {more})\n\
         sys.stdout.buffer.write(field + message)"
    );
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", &program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Creates a key, and the record of its public half.
pub fn key(path: &str) -> String {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    openssl(&["genrsa", "-traditional", "-out", path, "2048"]);
    let public = openssl(&["rsa", "-in", path, "-pubout"]);
    let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let (first, second) = public.split_at(200);
    format!("s1._domainkey.author TXT \"v=DKIM1; k=rsa; p={first}\" \"{second}\"\n")
}

#[test]
fn dkim_and_dmarc_are_asked_at_the_end() {
    if !met("dkim_and_dmarc_are_asked_at_the_end", &[NSD, DKIMPY, OPENSSL]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let key_file = edge.folder().join("key.pem").display().to_string();
    let records = key(&key_file)
        + "_dmarc.author TXT \"v=DMARC1; p=reject\"\n\
           _dmarc.doubtful TXT \"v=DMARC1; p=quarantine\"\n\
           _dmarc.broken TXT \"v=DMARC1; p=reject\"\n";
    let dns_server = Server::name_server(&records);
    let whom = dns(dns_server.address)
        + "[antispam]\nspf = \"Annotate\"\ndkim = \"Annotate\"\ndmarc = \"Enforce\"\n";
    let annotated = "[[connector]]\nname = \"Annotated\"\nbindings = [\"127.0.0.1:PORT\"]\n\
                     remote_ip_ranges = [\"127.0.0.10\"]\n\
                     permission_groups = [\"AnonymousUsers\"]\nantispam = { dmarc = \"Annotate\" }\n";
    let enforced = "[[connector]]\nname = \"Enforced\"\nbindings = [\"127.0.0.1:PORT\"]\n\
                    remote_ip_ranges = [\"127.0.0.0/8\"]\ntarpit_interval = \"0s\"\n\
                    permission_groups = [\"AnonymousUsers\"]\n";
    let configuration = edge.configuration(&[&whom, enforced, annotated].concat());
    let daemon = edge.start_with(&configuration);
    let head = "From: A <a@author.example>\r\nTo: b@contoso.example\r\nSubject: x\r\n";
    let small = format!("{head}\r\nHello  there \r\n\r\n\r\n");
    // The queue stores it in a file.
    let line = "0123456789abcdef".repeat(4) + "\r\n";
    let large = format!("{head}\r\n{}", line.repeat(8_000));
    let client = "127.0.0.5";
    let results = |dkim: &str, dmarc: &str| {
        format!(
            "Authentication-Results: edge.test;\r\n\tspf=none smtp.mailfrom=nothing.example;\r\n\
             \tdkim={dkim};\r\n\tdmarc={dmarc}\r\n"
        )
    };
    let passed =
        results("pass header.d=author.example header.s=s1", "pass header.from=author.example");
    let mut number = 0;
    for (message, canonicalization) in [
        (&small, "canonicalize=(b'relaxed', b'relaxed')"),
        (&small, "canonicalize=(b'simple', b'simple')"),
        (&large, "canonicalize=(b'relaxed', b'relaxed')"),
    ] {
        let message = signed(&key_file, message, canonicalization);
        let after = daemon.line_count();
        let reply = send(&edge, client, "a@nothing.example", &message);
        assert!(reply.starts_with("250 "), "{reply}");
        number += 1;
        let arrived = arrived(&edge, number);
        assert!(arrived.starts_with(&format!("{passed}Received: ")), "{}", &arrived[..500]);
        assert!(arrived.ends_with(&message), "octet for octet");
        let checks = &session_line(&daemon, after, client)["checks"];
        assert_eq!(checks, "spf=none dkim=pass dmarc=pass");
    }

    let rejected = "550 5.7.1 Email rejected per DMARC policy for author.example";
    let refused = |message: &str| send(&edge, client, "a@nothing.example", message);
    let whole = signed(&key_file, &small, "");
    assert_eq!(refused(&whole.replace("there", "where")), rejected);
    assert_eq!(refused(&whole.replace("Subject: x", "Subject: y")), rejected);
    assert_eq!(refused(&small), rejected);
    // If only a part of the body is signed, an attacker can append to it.
    let in_part = signed(&key_file, &small, "length=True");
    assert_eq!(refused(&format!("{in_part}more\r\n")), rejected);
    // Two authors: a mail program shows only one of them.
    assert_eq!(
        refused(&format!("From: other@nothing.example\r\n{whole}")),
        "550 5.7.1 Email rejected per DMARC policy"
    );

    // Forms in which one mail program shows an author that another does not find.
    for from in [
        "a @ author . example",
        "a@au(x)thor.example",
        "a@author.example.",
        "<a@author.example> <x@nothing.example>",
        "<a@author.example@nothing.example>",
        "<@author.example,@x:x@nothing.example>",
        "\"a@author.example\r\n \" <x@nothing.example>",
        "\"a@author.example\"@nothing.example",
        "x@nothing.example (<a@author.example>",
        "a@author.example",
        "a@sub.author.example",
        "group: a@author.example;",
    ] {
        let reply = refused(&format!("From: {from}\r\n\r\nx\r\n"));
        assert!(reply.starts_with("550 5.7.1 "), "{from}: {reply}");
    }

    let mut kept = |from: &str, message: &str| {
        let reply = send(&edge, from, "a@nothing.example", message);
        assert!(reply.starts_with("250 "), "{reply}");
        number += 1;
        arrived(&edge, number)
    };
    let why = "reason=\"neither SPF nor DKIM is aligned\"";
    let doubtful = kept(client, "From: a@doubtful.example\r\n\r\nx\r\n");
    let fields =
        results("none", &format!("fail (p=quarantine) {why} header.from=doubtful.example"));
    let fields = format!("{fields}X-Relay-Spam: Yes;\r\n\tdmarc quarantine\r\nReceived: ");
    assert!(doubtful.starts_with(&fields), "{doubtful}");
    let annotated = kept(ANNOTATED, &small);
    let fields = results("none", &format!("fail (p=reject) {why} header.from=author.example"));
    assert!(annotated.starts_with(&fields), "{annotated}");
    // A domain without records, and one whose servers return an error.
    assert!(kept(client, "From: a@nothing.example\r\n\r\nx\r\n").contains("\tdmarc=none "));
    assert_eq!(
        refused("From: a@sender.broken\r\n\r\nx\r\n"),
        "451 4.7.1 DMARC policy could not be looked up, try again later"
    );
}

#[test]
fn without_an_answer_of_the_name_server_enforce_defers_and_annotate_writes_temperror() {
    // No program reads from this socket.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let edge = Edge::new(Mode::Userspace);
    let whom = dns(silent.local_addr().unwrap());
    let configuration = edge.configuration(&connectors(&whom, &["spf", "dkim", "dmarc"], true));
    let _daemon = edge.start_with(&configuration);
    let reply = mail(&edge, "127.0.0.5", "a@pass.example");
    assert!(reply.starts_with("451 4.7."), "{reply}");
    let message = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=pass.example; s=s1;\r\n\
                   \tq=dns/txt; h=from; bh=g3zLYH4xKxcPrHOD18z9YfpQcnk/GaJedfustWU5uGs=; b=AAAA\r\n\
                   From: a@pass.example\r\n\r\ntest\r\n";
    assert!(send(&edge, ANNOTATED, "a@pass.example", message).starts_with("250 "));
    let message = arrived(&edge, 1);
    for found in ["\tspf=temperror ", "\tdkim=temperror ", "\tdmarc=temperror "] {
        assert!(message.contains(found), "{message}");
    }
    assert!(mail(&edge, TRUSTED, "a@pass.example").starts_with("250 "));
}

/// The pattern that every spam filter knows, by its first letter: Rspamd refuses X and marks Y.
fn gtube(letter: char) -> String {
    let pattern = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    format!("From: a@author.example\r\nSubject: x\r\n\r\n{letter}{pattern}\r\n")
}

#[test]
fn rspamd_refuses_marks_and_passes_messages() {
    if !met("rspamd_refuses_marks_and_passes_messages", &[RSPAMD]) {
        return;
    }
    let rspamd = Server::rspamd();
    let edge = Edge::new(Mode::Userspace);
    let whom = format!("[rspamd]\nurl = \"http://{}\"\n", rspamd.address);
    let configuration = edge.configuration(&connectors(&whom, &["rspamd"], false));
    let daemon = edge.start_with(&configuration);
    let client = "127.0.0.5";
    let sender = "a@author.example";
    assert_eq!(send(&edge, client, sender, &gtube('X')), "554 5.7.1 Spam message rejected");
    let ham = "From: a@author.example\r\nSubject: x\r\n\r\nhello\r\n".to_owned();
    let large = format!("{ham}{}", "a line of an attachment\r\n".repeat(20_000));
    for (number, from, message, field) in [
        (1, client, gtube('Y'), "Yes;\r\n\trspamd add header 6.00/15.00"),
        (2, client, ham.clone(), "No;\r\n\trspamd no action 0.00/15.00"),
        (3, client, large, "No;\r\n\trspamd no action 0.00/15.00"),
        (4, ANNOTATED, gtube('X'), "Yes;\r\n\trspamd reject 15.00/15.00"),
    ] {
        let reply = send(&edge, from, sender, &message);
        assert!(reply.starts_with("250 "), "{reply}");
        let arrived = arrived(&edge, number);
        let fields = format!("X-Relay-Spam: {field}\r\nReceived: ");
        assert!(arrived.starts_with(&fields), "{}", arrived.get(..300).unwrap_or(&arrived));
        assert!(arrived.ends_with(&message), "octet for octet");
    }
    assert!(send(&edge, TRUSTED, sender, &gtube('X')).starts_with("250 "));

    drop(rspamd);
    let after = daemon.line_count();
    assert_eq!(
        send(&edge, client, sender, &ham),
        "451 4.7.1 Message could not be checked, try again later"
    );
    let verdicts = session_line(&daemon, after, client)["verdicts"].clone();
    let Value::String(verdicts) = verdicts else { panic!("{verdicts}") };
    assert!(verdicts.contains("rspamd: Rspamd gave no verdict: cannot connect"), "{verdicts}");
    assert!(send(&edge, ANNOTATED, sender, &ham).starts_with("250 "));
    assert!(arrived(&edge, 6).starts_with("X-Relay-Spam: No;\r\n\trspamd temperror\r\n"));
}
