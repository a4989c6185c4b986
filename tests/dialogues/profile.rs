//! The configuration of a dialogue, and what reached its queue, the same for both players.

use std::path::Path;

use crate::script::{Profile, Settings};

/// The configuration in which a dialogue takes place. Certificate and key are files of
/// `directory`.
pub fn configuration(settings: &Settings, binding: &str, directory: &Path) -> String {
    let rights = match settings.profile {
        _ if settings.connector.contains("permission_groups") => "",
        Profile::Frontend => "permission_groups = [\"AnonymousUsers\"]",
        Profile::Relay => {
            "permission_groups = [\"AnonymousUsers\"]\n\
             grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }"
        }
        Profile::Trusted => "permission_groups = [\"ExchangeServers\"]",
    };
    let mut trusted = String::new();
    for (table, key, name) in [
        ("partners", "tls_receive_domain_secure_list", &settings.partners),
        ("fleet", "names", &settings.fleet),
    ] {
        if let Some(name) = name {
            let directory = directory.display();
            let lines = format!("[{table}]\nca = \"{directory}/ca.pem\"\n{key} = [\"{name}\"]\n");
            trusted.push_str(&lines);
        }
    }
    let auth_mechanism = match (settings.profile, settings.tls_available) {
        (Profile::Trusted, false) => "[\"ExternalAuthoritative\"]",
        (Profile::Trusted, true) => "[\"ExternalAuthoritative\", \"Tls\"]",
        (_, false) => "[]",
        (_, true) if settings.fleet.is_some() => "[\"Tls\", \"ExchangeServer\"]",
        (_, true) => "[\"Tls\"]",
    };
    let tls = if settings.tls_available {
        let directory = directory.display();
        format!("[tls]\ncertificate = \"{directory}/relay.pem\"\nkey = \"{directory}/relay.key\"\n")
    } else {
        String::new()
    };
    let bindings = if settings.tls_implicit { "implicit_tls_bindings" } else { "bindings" };
    let lookup = match settings.recipients {
        Some(_) => "recipient_lookup = \"smtp://127.0.0.1:25\"\n",
        None => "",
    };
    let rspamd = match settings.connector.contains("rspamd = ") {
        true => "[rspamd]\nurl = \"http://127.0.0.1:11333\"\n",
        false => "",
    };
    // A dialogue that is about the tarpit sets one; the others need not wait.
    let tarpit = if settings.connector.contains("tarpit_interval") {
        ""
    } else {
        "tarpit_interval = \"0s\""
    };
    format!(
        "hostname = \"relay.example\"\n\
         [delivery]\nsmart_host = \"127.0.0.1:25\"\n\
         {tls}{trusted}{rspamd}\
         [[accepted_domain]]\nname = \"accepted.example\"\n{lookup}\
         [[connector]]\nname = \"Dialogue\"\n\
         {bindings} = [\"{binding}\"]\nremote_ip_ranges = [\"127.0.0.0/8\"]\n\
         auth_mechanism = {auth_mechanism}\n{rights}\n{tarpit}\n{}",
        settings.connector
    )
}

/// What a queue kept, as `Q:` lines: sender, recipients and message of each.
pub fn queued_lines(kept: Vec<(String, Vec<String>, Vec<u8>)>) -> Vec<String> {
    let mut lines = Vec::new();
    for (sender, recipients, message) in kept {
        let recipients: Vec<_> =
            recipients.iter().map(|recipient| format!("<{recipient}>")).collect();
        lines.push(format!("from <{sender}> to {}", recipients.join(", ")));
        let message = String::from_utf8_lossy(&message);
        // As a dialogue writes what a line of its own cannot hold.
        let visible =
            |line: &str| line.replace('\r', "\\r").replace('\n', "\\n").replace('\0', "\\0");
        lines.extend(message.split_terminator("\r\n").map(|line| format!("| {}", visible(line))));
    }
    lines
}
