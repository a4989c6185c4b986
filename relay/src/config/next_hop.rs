//! How a next hop is reached: the keys that `[delivery]` and every `[[route]]` share.

use std::sync::Arc;

use super::document::{Section, Wrong};
use super::value::{boolean, one_of, path, smart_host};
use crate::delivery::{Auth, NextHop, Security, SmartHosts, TlsMode};
use crate::smtp::client::Protocol;

/// Reads where mail goes: to smart hosts, into a Maildir, or as DNS says.
pub(super) fn read(section: &mut Section<'_, '_>) -> NextHop {
    let [list_line, protocol_line] = ["smart_hosts", "protocol"].map(|key| section.line_of(key));
    if section.has("smart_host") && section.has("smart_hosts") {
        let wrong = Wrong::new("says again what smart_host says", "write one of them");
        section.refuse(list_line, "smart_hosts", wrong);
    }
    let mut hosts: Vec<_> = section.take("smart_host", smart_host).into_iter().collect();
    if section.has("smart_hosts") {
        let mend = "write smart_hosts = [\"mail.contoso.example:25\"], or remove it";
        hosts.extend(section.require_list("smart_hosts", mend, smart_host));
    }
    if section.has("maildir") {
        let connected = [
            "smart_host",
            "smart_hosts",
            "protocol",
            "tls",
            "ca_file",
            "auth",
            "auth_in_clear",
            "send_organization_headers",
        ];
        for key in connected.into_iter().filter(|key| section.has(key)) {
            let wrong =
                Wrong::new("has no effect: maildir is a directory of this host", "remove it");
            section.refuse(section.line_of(key), key, wrong);
        }
        if !hosts.is_empty() {
            let problem = "says otherwise than smart_host or smart_hosts";
            section.refuse(
                section.line_of("maildir"),
                "maildir",
                Wrong::new(problem, "write one of them"),
            );
        }
    }
    let maildir = section.take("maildir", |value| {
        let directory = path(value)?;
        if directory.is_absolute() {
            return Ok(directory);
        }
        Err(Wrong::new("is not an absolute path", "write it from the root, as in /var/mail/x"))
    });
    let protocols = one_of(&[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)]);
    let protocol = section.take("protocol", protocols).unwrap_or_default();
    let security = security(section);
    if let Some(directory) = maildir {
        return NextHop::Maildir(directory);
    }
    if !hosts.is_empty() {
        return NextHop::SmartHosts(Arc::new(SmartHosts { hosts, protocol, security }));
    }
    if protocol == Protocol::Lmtp {
        let problem = "mail exchangers do not speak LMTP";
        let mend = "write smart_hosts = [\"127.0.0.1:24\"], or remove it";
        section.refuse(protocol_line, "protocol", Wrong::new(problem, mend));
    }
    NextHop::Exchangers { security: Arc::new(security) }
}

/// Reads how connections are secured.
fn security(section: &mut Section<'_, '_>) -> Security {
    let modes = one_of(&[
        ("off", TlsMode::Off),
        ("opportunistic", TlsMode::Opportunistic),
        ("required", TlsMode::Required),
        ("verified", TlsMode::Verified),
    ]);
    let lines = ["tls", "ca_file", "auth", "auth_in_clear"].map(|key| section.line_of(key));
    let [tls_line, ca_file_line, auth_line, in_clear_line] = lines;
    let tls = section.take("tls", modes);
    let ca_file = section.take("ca_file", path);
    let credentials = section.take("auth", path);
    let in_clear = section.take("auth_in_clear", boolean).unwrap_or(false);
    // Credentials are not for whoever answers.
    let by_default =
        if credentials.is_some() && !in_clear { TlsMode::Verified } else { TlsMode::default() };
    let tls = tls.unwrap_or(by_default);
    if ca_file.is_some() && tls != TlsMode::Verified {
        let problem = format!("has no effect: with tls = \"{tls}\" no certificate is verified");
        let mend = "write tls = \"verified\", or remove it";
        section.refuse(ca_file_line, "ca_file", Wrong::new(problem, mend));
    }
    let may_be_clear = matches!(tls, TlsMode::Off | TlsMode::Opportunistic);
    match (&credentials, in_clear) {
        (None, true) => {
            let problem = "has no effect: there are no credentials";
            let mend = "write auth = \"/etc/relay/smart-host.credentials\", or remove it";
            section.refuse(in_clear_line, "auth_in_clear", Wrong::new(problem, mend));
        }
        (Some(_), true) if !may_be_clear => {
            let problem = format!("has no effect: with tls = \"{tls}\" nothing is said in clear");
            let mend = "remove it, or write tls = \"opportunistic\"";
            section.refuse(in_clear_line, "auth_in_clear", Wrong::new(problem, mend));
        }
        (Some(_), true) => {
            let problem = "whoever can listen on the way to the next hop learns the credentials";
            let mend = "write tls = \"required\" or \"verified\" if the next hop offers STARTTLS";
            section.warn(in_clear_line, "auth_in_clear", Wrong::new(problem, mend));
        }
        (Some(_), false) if may_be_clear => {
            let line = if section.line == tls_line { auth_line } else { tls_line };
            let problem = format!("with tls = \"{tls}\" the credentials might be said in clear");
            let mend = "write tls = \"verified\" or \"required\", or auth_in_clear = true";
            section.refuse(line, "tls", Wrong::new(problem, mend));
        }
        _ => {}
    }
    let auth = credentials.map(|credentials| Auth { credentials, in_clear });
    let send_organization_headers =
        section.take("send_organization_headers", boolean).unwrap_or(false);
    Security { tls, ca_file, auth, send_organization_headers }
}
