//! Debian's mail servers as clients of ours, and a load balancer in front of us: what they say by
//! themselves with CHUNKING, PIPELINING, DSN and SMTPUTF8, and what of it reaches the next hop.

use std::env;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::free_port;
use relay_tests::requirements::{Requirement, met, say_skipped};
use relay_tests::sink::Message;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::dialogue::{self, Dialogue};
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};

/// The user that the mail servers run as, which exists in their mount namespace only.
const USER: u32 = 10_089;

/// What a server must not change, and what it would if it took a dot for an end or a line for a
/// command.
const BODY: &str = "\r\n.\r\n..\r\n.x\r\nQUIT\r\nRCPT TO:<e@f.example>\r\n.\r\n \t \r\n=2E=20\r\n";

/// A running server. Dropping it ends it.
struct Peer {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Peer {
    /// Waits until it listens on this port.
    fn start(mut command: Command, port: u16, folder: TempDir) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = fs::File::create(folder.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Postfix ends its whole process group.
        let child = command.process_group(0).spawn().unwrap();
        let mut peer = Self { child, address, folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = peer.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", peer.said());
            sleep(Duration::from_millis(20));
        }
        peer
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("output") + &read("log")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It is our child and was not waited for, so the id cannot be another process's.
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// A folder that the servers' user may enter, with the files that make it a user.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let with = |file: &str, lines: &str| fs::read_to_string(file).unwrap() + lines;
    let home = format!("{USER}:{USER}::/:/bin/false");
    let users = format!("postfix:x:{home}\nDebian-exim:x:{home}\n");
    fs::write(folder.path().join("passwd"), with("/etc/passwd", &users)).unwrap();
    let groups = format!("postfix:x:{USER}:\nDebian-exim:x:{USER}:\npostdrop:x:{}:\n", USER + 1);
    fs::write(folder.path().join("group"), with("/etc/group", &groups)).unwrap();
    folder
}

/// A command line in a mount namespace where that user exists.
fn in_namespace(folder: &Path, line: &str) -> Command {
    let at = folder.display();
    let script = format!(
        "mount --bind {at}/passwd /etc/passwd && mount --bind {at}/group /etc/group && exec {line}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command
}

/// The unpacked tree that this variable names, where it may be used.
fn unpacked(test: &str, variable: &str) -> Option<PathBuf> {
    if !met(test, &[Requirement::Root]) {
        return None;
    }
    let root = env::var_os(variable).map(PathBuf::from);
    if root.is_none() {
        say_skipped(test, &format!("only `cargo xtask test` sets {variable}"));
    }
    root
}

/// The one message that the next hop got, which must end with this.
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
    let (folder, port) = (folder(), free_port().unwrap());
    let configuration = format!(
        "global\n  maxconn 20\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  \
         timeout server 60s\nlisten smtp\n  bind 127.0.0.1:{port}\n  \
         server relay {} send-proxy-v2 source 127.0.0.8\n",
        edge.address()
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let haproxy = Peer::start(command, port, folder);

    let connect = |from: &str| {
        let from = from.parse().unwrap();
        Dialogue::on(dialogue::connect(from, haproxy.address))
    };
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
fn what_exim_sends_in_chunks_arrives_unchanged() {
    let test = "what_exim_sends_in_chunks_arrives_unchanged";
    let Some(root) = unpacked(test, "RELAY_EXIM") else { return };
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
    // Delivers before it ends. It reads lines that end with LF.
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
    // It marks a delivery in chunks so.
    assert!(log.contains(" K "), "{log}");
}

#[test]
fn what_postfix_asks_for_goes_on() {
    let test = "what_postfix_asks_for_goes_on";
    let Some(root) = unpacked(test, "RELAY_POSTFIX") else { return };
    let edge = Edge::answered(&["offer=CHUNKING", "offer=DSN"]);
    let _daemon = edge.start();
    let (folder, port) = (folder(), free_port().unwrap());
    let (root, at) = (root.display(), folder.path().display());
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {at}/spool\n\
         daemon_directory = {root}/usr/lib/postfix/sbin\ncommand_directory = {root}/usr/sbin\n\
         shlib_directory = {root}/usr/lib/postfix\nmeta_directory = {root}/etc/postfix\n\
         data_directory = {at}/data\nmail_owner = postfix\nsetgid_group = postdrop\n\
         import_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ LANG=C\n\
         maillog_file = {at}/log\nmaillog_file_prefixes = {at}\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = postfix.test\n\
         mydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\n\
         mynetworks = 127.0.0.0/8\nrelayhost = [127.0.0.1]:{}\nsmtp_bind_address = {SCANNER}\n\
         smtputf8_enable = yes\nsmtp_dns_support_level = disabled\n\
         smtpd_relay_restrictions = permit_mynetworks,reject\n",
        edge.port
    );
    fs::write(folder.path().join("main.cf"), main).unwrap();
    let services = format!(
        "127.0.0.1:{port} inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
         error unix - - n - - error\nretry unix - - n - - error\nproxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nanvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    );
    fs::write(folder.path().join("master.cf"), services).unwrap();
    for name in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"]
        .into_iter()
        .chain(["maildrop", "private", "public", "saved", "trace"])
        .map(|name| format!("spool/{name}"))
        .chain(["data".to_owned()])
    {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
    }
    fs::create_dir(folder.path().join("spool/pid")).unwrap();
    let master = format!("{root}/usr/lib/postfix/sbin/master -c {at} -d");
    let mut command = in_namespace(folder.path(), &master);
    command.env("LD_LIBRARY_PATH", format!("{root}/usr/lib/postfix"));
    command.env("MAIL_CONFIG", folder.path());
    let postfix = Peer::start(command, port, folder);

    let from = Ipv4Addr::LOCALHOST.into();
    let mut client = Dialogue::on(dialogue::connect(from, postfix.address));
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
        postfix.said()
    );
}
