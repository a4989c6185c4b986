//! The keys of a next hop, which `[delivery]` and every `[[route]]` share.

use std::sync::Arc;

use crate::document::{Section, Wrong};
use crate::limits::{SUBMISSION_PORT, SUBMISSIONS_PORT};
use crate::value::{boolean, one_of, path, smart_host};
use relay_delivery::limits::SMTP_PORT;
use relay_delivery::{NextHop, NextHopAuth, Security, SmartHosts, TlsMode};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::smart_host::SmartHost;

/// Reads the next hop: smart hosts, a Maildir, or mail exchangers.
pub(super) fn read(section: &mut Section<'_, '_>) -> NextHop {
    let lines = ["smart_hosts", "protocol", "implicit_tls"].map(|key| section.line_of(key));
    let [list_line, protocol_line, implicit_line] = lines;
    if section.has_key("smart_host") && section.has_key("smart_hosts") {
        let wrong = Wrong::new("repeats smart_host", "write only one of the two keys");
        section.refuse(list_line, "smart_hosts", wrong);
    }
    let hosts_key = if section.has_key("smart_hosts") { "smart_hosts" } else { "smart_host" };
    let hosts_line = section.line_of(hosts_key);
    let mut hosts: Vec<_> = section.take("smart_host", smart_host).into_iter().collect();
    if section.has_key("smart_hosts") {
        let mend = "write smart_hosts = [\"mail.contoso.example:25\"], or remove it";
        hosts.extend(section.require_list("smart_hosts", mend, smart_host));
    }
    if section.has_key("maildir") {
        let connected = [
            "smart_host",
            "smart_hosts",
            "protocol",
            "tls",
            "implicit_tls",
            "ca_file",
            "auth",
            "auth_in_clear",
            "send_organization_headers",
        ];
        for key in connected.into_iter().filter(|key| section.has_key(key)) {
            let wrong =
                Wrong::new("has no effect: maildir is a directory of this host", "remove it");
            section.refuse(section.line_of(key), key, wrong);
        }
        if !hosts.is_empty() {
            let problem = "contradicts smart_host or smart_hosts";
            section.refuse(
                section.line_of("maildir"),
                "maildir",
                Wrong::new(problem, "write only one of these keys"),
            );
        }
    }
    let maildir = section.take("maildir", path);
    let protocols = one_of(&[("smtp", DeliveryProtocol::Smtp), ("lmtp", DeliveryProtocol::Lmtp)]);
    let protocol = section.take("protocol", protocols).unwrap_or_default();
    let security = security(section);
    if let Some(directory) = maildir {
        return NextHop::Maildir(directory);
    }
    if !hosts.is_empty() {
        for wrong in hosts.iter().filter_map(|host| port(host, &security)) {
            section.warn(hosts_line, hosts_key, wrong);
        }
        return NextHop::SmartHosts(Arc::new(SmartHosts { hosts, protocol, security }));
    }
    if protocol == DeliveryProtocol::Lmtp {
        let problem = "mail exchangers do not speak LMTP";
        let mend = "write smart_hosts = [\"127.0.0.1:24\"], or remove it";
        section.refuse(protocol_line, "protocol", Wrong::new(problem, mend));
    }
    if security.implicit_tls {
        let problem = "mail exchangers greet in plain text and offer STARTTLS";
        let mend = "write smart_hosts = [\"mail.contoso.example:465\"], or remove it";
        section.refuse(implicit_line, "implicit_tls", Wrong::new(problem, mend));
    }
    NextHop::Exchangers { security: Arc::new(security) }
}

/// Warns if servers on this port usually expect other settings.
fn port(host: &SmartHost, security: &Security) -> Option<Wrong> {
    let wrong = match (host.port(), security.implicit_tls) {
        (SUBMISSIONS_PORT, false) => Wrong::new(
            format!(
                "servers on port {SUBMISSIONS_PORT} wait for a TLS handshake, but each attempt at \
                 {host} would wait for a greeting"
            ),
            "write implicit_tls = true, or a port with STARTTLS, as 587 or 25",
        ),
        (SMTP_PORT | SUBMISSION_PORT, true) => Wrong::new(
            format!("servers on the port of {host} greet in plain text and offer STARTTLS"),
            format!("remove implicit_tls, or write port {SUBMISSIONS_PORT}"),
        ),
        (SUBMISSION_PORT | SUBMISSIONS_PORT, _) if security.auth.is_none() => Wrong::new(
            format!("{host} has a submission port, where most servers require AUTH"),
            "write auth = \"/etc/relay/smart-host.credentials\", or port 25",
        ),
        _ => return None,
    };
    Some(wrong)
}

/// Reads the security of connections.
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
    let implicit_tls = section.take("implicit_tls", boolean).unwrap_or(false);
    let ca_file = section.take("ca_file", path);
    let credentials = section.take("auth", path);
    let in_clear = section.take("auth_in_clear", boolean).unwrap_or(false);
    // Credentials must not go to any server that answers.
    let by_default = match implicit_tls {
        _ if credentials.is_some() && !in_clear => TlsMode::Verified,
        true => TlsMode::Required,
        false => TlsMode::default(),
    };
    let tls = tls.unwrap_or(by_default);
    if implicit_tls && matches!(tls, TlsMode::Off | TlsMode::Opportunistic) {
        let problem =
            format!("\"{tls}\" contradicts implicit_tls: TLS begins with the first octet");
        let mend = "write tls = \"required\" or \"verified\", or remove implicit_tls";
        section.refuse(tls_line, "tls", Wrong::new(problem, mend));
    }
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
            let problem =
                format!("has no effect: with tls = \"{tls}\" nothing is sent in plain text");
            let mend = "remove it, or write tls = \"opportunistic\"";
            section.refuse(in_clear_line, "auth_in_clear", Wrong::new(problem, mend));
        }
        (Some(_), true) => {
            let problem = "the credentials may cross the network unencrypted";
            let mend = "write tls = \"required\" or \"verified\" if the next hop offers STARTTLS";
            section.warn(in_clear_line, "auth_in_clear", Wrong::new(problem, mend));
        }
        (Some(_), false) if may_be_clear => {
            let line = if section.line == tls_line { auth_line } else { tls_line };
            let problem =
                format!("with tls = \"{tls}\" the credentials might be sent in plain text");
            let mend = "write tls = \"verified\" or \"required\", or auth_in_clear = true";
            section.refuse(line, "tls", Wrong::new(problem, mend));
        }
        _ => {}
    }
    let auth = credentials.map(|credentials| NextHopAuth { credentials, in_clear });
    let send_organization_headers =
        section.take("send_organization_headers", boolean).unwrap_or(false);
    Security { tls, implicit_tls, ca_file, auth, send_organization_headers }
}
