//! Postfix and Exim as next hops: unpacked, not installed, each in a mount namespace in which its
//! users exist.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay_tests::client::POSTFIX;
use relay_tests::daemon::free_port;
use tempfile::TempDir;

use super::Server;

/// Names the directory of the unpacked Exim.
pub const EXIM: &str = "RELAY_EXIM";

/// The user of the mail servers, who owns their mail.
pub const USER: u32 = 10_089;

impl Server {
    /// Postfix with STARTTLS required, for all recipients at fabrikam.example, into one Maildir.
    /// None if the path of Postfix is not set.
    pub fn postfix() -> Option<Self> {
        let parameters = |at: &str| {
            format!(
                "{}smtpd_tls_security_level = encrypt\nsmtpd_tls_loglevel = 1\n\
                 smtpd_tls_cert_file = {at}/certificate.pem\nsmtpd_tls_key_file = {at}/key.pem\n\
                 smtpd_relay_restrictions = reject_unauth_destination\n",
                mailboxes(at)
            )
        };
        Self::postfix_with(parameters, &[VIRTUAL])
    }

    /// Postfix without TLS, for all recipients at fabrikam.example, into one Maildir. Its reports
    /// go to this address.
    pub fn postfix_that_reports(to: SocketAddr) -> Option<Self> {
        let parameters = |at: &str| {
            format!(
                "{}smtpd_relay_restrictions = reject_unauth_destination\n\
                 relayhost = [{}]:{}\nsmtp_dns_support_level = disabled\n",
                mailboxes(at),
                to.ip(),
                to.port()
            )
        };
        let client = ("smtp", "unix - - n - - smtp");
        Self::postfix_with(parameters, &[VIRTUAL, client, ("relay", client.1)])
    }

    /// Postfix with these parameters, which may name its directory, and these services, both in
    /// addition to the required ones. None if the path of Postfix is not set.
    pub fn postfix_with(
        parameters: impl FnOnce(&str) -> String,
        services: &[(&str, &str)],
    ) -> Option<Self> {
        let root = PathBuf::from(env::var_os(POSTFIX)?);
        let (folder, port) = (folder(), free_port().unwrap());
        let parameters = parameters(&folder.path().display().to_string());
        let (root, at) = (root.display(), folder.path().display());
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/spool\n\
             daemon_directory = {root}/usr/lib/postfix/sbin\n\
             command_directory = {root}/usr/sbin\nshlib_directory = {root}/usr/lib/postfix\n\
             meta_directory = {root}/etc/postfix\ndata_directory = {at}/data\n\
             mail_owner = postfix\nsetgid_group = postdrop\n\
             import_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ LANG=C\n\
             maillog_file = {at}/log\nmaillog_file_prefixes = {at}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = postfix.test\n\
             mydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\n\
             {parameters}"
        );
        let always = [
            ("cleanup", "unix n - n - 0 cleanup"),
            ("qmgr", "unix n - n 300 1 qmgr"),
            ("tlsmgr", "unix - - n 1000? 1 tlsmgr"),
            ("rewrite", "unix - - n - - trivial-rewrite"),
            ("bounce", "unix - - n - 0 bounce"),
            ("defer", "unix - - n - 0 bounce"),
            ("trace", "unix - - n - 0 bounce"),
            ("error", "unix - - n - - error"),
            ("retry", "unix - - n - - error"),
            ("proxymap", "unix - - n - - proxymap"),
            ("anvil", "unix - - n - 1 anvil"),
            ("postlog", "unix-dgram n - n - 1 postlogd"),
        ];
        let services: String =
            always.iter().chain(services).map(|(name, rest)| format!("{name} {rest}\n")).collect();
        fs::write(folder.path().join("main.cf"), main).unwrap();
        let listener = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
        fs::write(folder.path().join("master.cf"), listener + &services).unwrap();
        for name in [
            "data",
            "spool/active",
            "spool/bounce",
            "spool/corrupt",
            "spool/defer",
            "spool/deferred",
            "spool/flush",
            "spool/hold",
            "spool/incoming",
            "spool/maildrop",
            "spool/private",
            "spool/public",
            "spool/saved",
            "spool/trace",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            chown(&path, Some(USER), Some(USER)).unwrap();
        }
        fs::create_dir(folder.path().join("spool/pid")).unwrap();
        let master = format!("{root}/usr/lib/postfix/sbin/master -c {at} -d");
        let mut command = in_namespace(folder.path(), &master);
        command.env("LD_LIBRARY_PATH", format!("{root}/usr/lib/postfix"));
        command.env("MAIL_CONFIG", folder.path());
        Some(Self::start(command, port, folder))
    }

    /// Exim with STARTTLS, for the client `edge` with this password by `plain` or `login`, into one
    /// Maildir. None if the path of Exim is not set.
    pub fn exim(mechanism: &str, password: &str) -> Option<Self> {
        let program = PathBuf::from(env::var_os(EXIM)?).join("usr/sbin/exim4");
        let (folder, port) = (folder(), free_port().unwrap());
        let (program, at) = (program.display(), folder.path().display());
        // PLAIN begins with the authorization identity.
        let (prompts, user, proof) = match mechanism {
            "plain" => ("", "$auth2", "$auth3"),
            _ => ("  server_prompts = User Name : Password\n", "$auth1", "$auth2"),
        };
        let configuration = format!(
            "exim_path = {program}\nprimary_hostname = exim.test\nspool_directory = {at}/spool\n\
             log_file_path = {at}/%slog\npid_file_path = {at}/pid\nnotifier_socket =\n\
             local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\n\
             tls_certificate = {at}/certificate.pem\ntls_privatekey = {at}/key.pem\n\
             tls_advertise_hosts = *\nauth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\n\
             acl_smtp_rcpt = rcpt\nacl_smtp_data = accept\nkeep_environment =\nnever_users =\n\
             begin acl\nrcpt:\n  accept authenticated = *\n  deny message = authenticate first\n\
             begin routers\nbox:\n  driver = accept\n  transport = box\n\
             begin transports\nbox:\n  driver = appendfile\n  directory = {at}/mail\n  \
             maildir_format\n  user = Debian-exim\n\
             begin authenticators\n{mechanism}:\n  driver = plaintext\n  \
             public_name = {mechanism}\n{prompts}  \
             server_condition = ${{if and{{{{eq{{{user}}}{{edge}}}}{{eq{{{proof}}}{{{password}}}}}}}}}\n  \
             server_set_id = {user}\n"
        );
        fs::write(folder.path().join("exim.conf"), configuration).unwrap();
        fs::create_dir(folder.path().join("spool")).unwrap();
        for name in ["spool", ".", "key.pem", "certificate.pem"] {
            chown(folder.path().join(name), Some(USER), Some(USER)).unwrap();
        }
        let daemon = format!("{program} -C {at}/exim.conf -bdf");
        Some(Self::start(in_namespace(folder.path(), &daemon), port, folder))
    }

    /// The authority that signed the server's certificate for `localhost`.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// All messages in the Maildir.
    pub fn mail(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("mail/new")).into_iter().flatten();
        let read = |file: fs::DirEntry| fs::read(file.path()).unwrap();
        let octets = files.flatten().map(read);
        octets.map(|octets| String::from_utf8_lossy(&octets).into_owned()).collect()
    }
}

/// The service that writes into [`mailboxes`].
const VIRTUAL: (&str, &str) = ("virtual", "unix - n n - - virtual");

/// All recipients at fabrikam.example, in one Maildir below this directory.
fn mailboxes(at: &str) -> String {
    format!(
        "virtual_mailbox_domains = fabrikam.example\nvirtual_mailbox_maps = static:mail/\n\
         virtual_mailbox_base = {at}\nvirtual_uid_maps = static:{USER}\n\
         virtual_gid_maps = static:{USER}\nvirtual_minimum_uid = 100\n"
    )
}

/// A directory that the servers may enter, with a certificate for `localhost`, and the users.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.clone().self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("authority.pem", root.pem());
    write("certificate.pem", certificate.pem());
    write("key.pem", key.serialize_pem());
    let home = format!("{USER}:{USER}::/:/bin/false");
    let users = [format!("postfix:x:{home}"), format!("Debian-exim:x:{home}")];
    write("passwd", accounts("/etc/passwd", &users));
    let groups = [
        format!("postfix:x:{USER}:"),
        format!("Debian-exim:x:{USER}:"),
        format!("postdrop:x:{}:", USER + 1),
    ];
    write("group", accounts("/etc/group", &groups));
    fs::create_dir(folder.path().join("mail")).unwrap();
    chown(folder.path().join("mail"), Some(USER), Some(USER)).unwrap();
    folder
}

/// This machine's accounts, with these instead of accounts of the same name. If Postfix or Exim is
/// installed, they already exist with other numbers, and the first entry counts.
fn accounts(file: &str, ours: &[String]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let names: Vec<String> = ours.iter().map(|line| name(line)).collect();
    let text = fs::read_to_string(file).unwrap();
    let others = text.lines().filter(|line| !names.contains(&name(line)));
    others.chain(ours.iter().map(String::as_str)).map(|line| format!("{line}\n")).collect()
}

/// A command line for which the users of this directory exist; for other processes they do not.
pub fn in_namespace(folder: &Path, line: &str) -> Command {
    let at = folder.display();
    let script = format!(
        "mount --bind {at}/passwd /etc/passwd && mount --bind {at}/group /etc/group && exec {line}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    command
}
