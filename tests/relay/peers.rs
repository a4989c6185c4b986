//! Debian's mail servers as our clients, and a load balancer in front of us: their own use of
//! CHUNKING, PIPELINING, DSN and SMTPUTF8, and its form at the next hop.

use std::env;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;

use relay_tests::client::POSTFIX;
use relay_tests::requirements::{Requirement, met, say_skipped};
use relay_tests::sink::Message;

use crate::PATIENCE;
use crate::dialogue::Dialogue;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};
use crate::servers::Server;
use crate::servers::mail::{EXIM, USER, folder, in_namespace};

/// Text that a server must not change, and would change if it read a dot as an end or a line as a
/// command.
const BODY: &str = "\r\n.\r\n..\r\n.x\r\nQUIT\r\nRCPT TO:<e@f.example>\r\n.\r\n \t \r\n=2E=20\r\n";

/// The unpacked tree that this variable names, if it may be used.
pub fn unpacked(test: &str, variable: &str) -> Option<PathBuf> {
    if !met(test, &[Requirement::Root]) {
        return None;
    }
    let root = env::var_os(variable).map(PathBuf::from);
    if root.is_none() {
        say_skipped(test, &format!("only `cargo xtask test` sets {variable}"));
    }
    root
}

/// The only message at the next hop, which must end with this.
fn arrived(edge: &Edge, end: &str) -> Message {
    let messages = edge.sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let message = messages.into_iter().next().unwrap();
    assert!(message.text().ends_with(end), "{}", message.text());
    message
}

#[test]
fn behind_haproxy_each_client_has_its_own_connector() {
    let test = "behind_haproxy_each_client_has_its_own_connector";
    if !met(test, &[Requirement::Program("haproxy")]) {
        return;
    }
    const PROXIES: &str = "[proxies]\nproxy_protocol_from = [\"127.0.0.8\"]\n";
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&edge.configuration(&format!("{PROXIES}{ARTICLE}")));
    let haproxy = Server::haproxy(&format!("{} send-proxy-v2 source 127.0.0.8", edge.address()));

    let connect = |from: &str| Dialogue::connect(from.parse().unwrap(), haproxy.address);
    let mut scanner = connect(SCANNER);
    assert!(scanner.hello().starts_with("250-edge.test Hello [127.0.0.3]\n"));
    let content = format!("Subject: through haproxy\r\n{BODY}");
    let reply = scanner.message("a@contoso.example", &["b@fabrikam.example"], content.as_bytes());
    assert!(reply.ends_with("Queued mail for delivery"), "{reply}");
    scanner.quit();
    let mut stranger = connect("127.0.0.77");
    stranger.hello();
    stranger.say("MAIL FROM:<a@contoso.example>");
    let refused = stranger.say("RCPT TO:<b@fabrikam.example>");
    assert!(refused.starts_with("550 5.7.54 "), "{refused}");
    stranger.quit();

    let message = arrived(&edge, &content).text();
    assert!(message.contains("([127.0.0.3])\r\n"), "{message}");
    let line = json_line(&daemon, 0, |line| line["accepted"] == 1);
    assert!(line["remote"].as_str().unwrap().starts_with("127.0.0.3:"), "{line}");
    assert!(line["proxy"].as_str().unwrap().starts_with("127.0.0.8:"), "{line}");
    assert_eq!((&line["connector"], &line["decided_by"]), (&"Scanners".into(), &"daemon".into()));
}

#[test]
fn chunks_of_exim_arrive_unchanged() {
    let test = "chunks_of_exim_arrive_unchanged";
    let Some(root) = unpacked(test, EXIM) else { return };
    let edge = Edge::answered(&["offer=CHUNKING", "offer=DSN"]);
    let _daemon = edge.start();
    let folder = folder();
    let (exim, at) = (root.join("usr/sbin/exim4"), folder.path().display());
    let configuration = format!(
        "exim_path = {exim}\nprimary_hostname = exim.test\nspool_directory = {at}/spool\n\
         log_file_path = {at}/%slog\nkeep_environment =\nnever_users =\nlog_selector = +all\n\
         trusted_users = root\nuntrusted_set_sender = *\n\
         begin routers\nout:\n  driver = manualroute\n  route_list = * 127.0.0.1\n  self = send\n  \
         transport = out\n\
         begin transports\nout:\n  driver = smtp\n  port = {port}\n  interface = {SCANNER}\n  \
         allow_localhost\n  hosts_try_chunking = *\n",
        exim = exim.display(),
        port = edge.port,
    );
    fs::write(folder.path().join("exim.conf"), configuration).unwrap();
    fs::create_dir(folder.path().join("spool")).unwrap();
    for name in ["spool", "."] {
        chown(folder.path().join(name), Some(USER), Some(USER)).unwrap();
    }
    // Exim delivers before it ends. It reads lines that end with LF.
    let line = format!(
        "{} -C {at}/exim.conf -odf -oi -f a@contoso.example b@fabrikam.example",
        exim.display()
    );
    let mut command = in_namespace(folder.path(), &line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let content = format!("Subject: from exim\r\n{BODY}");
    child.stdin.take().unwrap().write_all(content.replace("\r\n", "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = fs::read_to_string(folder.path().join("mainlog")).unwrap_or_default();
    assert!(output.status.success(), "{output:?} {log}");
    let message = arrived(&edge, BODY);
    assert!(message.text().contains("\r\nSubject: from exim\r\n"));
    // Exim's log marks a delivery in chunks with this sign.
    assert!(log.contains(" K "), "{log}");
}

#[test]
fn dsn_parameters_of_postfix_are_sent_on() {
    let test = "dsn_parameters_of_postfix_are_sent_on";
    if unpacked(test, POSTFIX).is_none() {
        return;
    }
    let edge = Edge::answered(&["offer=CHUNKING", "offer=DSN"]);
    let _daemon = edge.start();
    let parameters = |_: &str| {
        format!(
            "mynetworks = 127.0.0.0/8\nrelayhost = [127.0.0.1]:{}\n\
             smtp_bind_address = {SCANNER}\nsmtputf8_enable = yes\n\
             smtp_dns_support_level = disabled\n\
             smtpd_relay_restrictions = permit_mynetworks,reject\n",
            edge.port
        )
    };
    let services = [
        ("smtp", "unix - - n - - smtp"),
        ("relay", "unix - - n - - smtp"),
        ("scache", "unix - - n - 1 scache"),
    ];
    let postfix = Server::postfix_with(parameters, &services).unwrap();

    let from = Ipv4Addr::LOCALHOST.into();
    let mut client = Dialogue::connect(from, postfix.address);
    client.hello();
    let said = [
        client.say("MAIL FROM:<j\u{f6}rg@contoso.example> SMTPUTF8 RET=HDRS ENVID=QQ+2B7"),
        client
            .say("RCPT TO:<b@fabrikam.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@d.example"),
        client.say("RCPT TO:<c@fabrikam.example> NOTIFY=NEVER"),
        client.say("DATA"),
    ];
    let content = format!("Subject: gr\u{fc}\u{df}e\r\n{BODY}");
    let stuffed = content.replace("\r\n.", "\r\n..");
    client.send(stuffed.as_bytes());
    let taken = client.say(".");
    assert!(taken.starts_with("250 "), "{said:?} {taken}");
    client.quit();

    let message = arrived(&edge, BODY);
    assert!(message.text().contains("\r\nSubject: gr\u{fc}\u{df}e\r\n"), "{}", message.text());
    assert_eq!(message.sender.address, "j\u{f6}rg@contoso.example");
    let parameters = &message.sender.parameters;
    for parameter in ["SMTPUTF8", "RET=HDRS", "ENVID=QQ+2B7"] {
        assert!(parameters.split(' ').any(|word| word == parameter), "{parameters}");
    }
    let recipients: Vec<_> = message.recipients.iter().map(ToString::to_string).collect();
    assert_eq!(
        recipients,
        [
            "<b@fabrikam.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@d.example",
            "<c@fabrikam.example> NOTIFY=NEVER ORCPT=rfc822;c@fabrikam.example",
        ],
        "{}",
        postfix.log()
    );
}
