//! The configuration of a dialogue, and its queued messages, the same for both players.

use std::path::Path;
use std::sync::Arc;

use relay_config::{Config, users};

use crate::script::{Auth, Profile, Settings};

/// The users that may authenticate, if the dialogue permits AUTH.
pub const USERS: &str = include_str!("users.toml");

/// The configuration of a dialogue. Certificate and key are files of `directory`.
pub fn configuration(
    settings: &Settings,
    binding: &str,
    directory: &Path,
) -> Result<Config, String> {
    let text = text(settings, binding, directory);
    let mut config =
        Config::parse(&text, "relay.toml").map_err(|refusals| format!("{refusals}\n{text}"))?;
    if settings.auth.is_some() {
        let users = users::parse(USERS, "users.toml").map_err(|refusals| refusals.to_string())?;
        config.users = Arc::new(users);
    }
    Ok(config)
}

fn text(settings: &Settings, binding: &str, directory: &Path) -> String {
    let rights = match (settings.profile, settings.auth) {
        _ if settings.connector.contains("permission_groups") => "",
        (Profile::Frontend, None) => "permission_groups = [\"AnonymousUsers\"]",
        (Profile::Frontend, Some(_)) => {
            "permission_groups = [\"AnonymousUsers\", \"ExchangeUsers\"]"
        }
        (Profile::Relay, _) => {
            "permission_groups = [\"AnonymousUsers\"]\n\
             grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }"
        }
        (Profile::Trusted, _) => "permission_groups = [\"ExchangeServers\"]",
        (Profile::Users, _) => "permission_groups = [\"ExchangeUsers\"]",
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
    let mut mechanisms = Vec::new();
    if matches!(settings.profile, Profile::Trusted) {
        mechanisms.push("ExternalAuthoritative");
    }
    if settings.tls_available {
        mechanisms.push("Tls");
    }
    if settings.fleet.is_some() {
        mechanisms.push("ExchangeServer");
    }
    match settings.auth {
        None => {}
        Some(Auth::InClear | Auth::Unanswered) => mechanisms.push("BasicAuth"),
        Some(Auth::WithinTls) => mechanisms.extend(["BasicAuth", "BasicAuthRequireTLS"]),
    }
    let authentication = match settings.auth {
        Some(_) => "[authentication]\nusers_file = \"users.toml\"\n",
        None => "",
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
    let (proxies, carried) = match settings.xclient {
        true => (
            "[proxies]\nxclient_from = [\"127.0.0.1\"]\n",
            format!(
                "[[connector]]\nname = \"Carried\"\nbindings = [\"{binding}\"]\n\
                 remote_ip_ranges = [\"192.0.2.0/24\"]\n\
                 auth_mechanism = [\"ExternalAuthoritative\"]\n\
                 permission_groups = [\"ExchangeServers\"]\n\
                 [[connector]]\nname = \"Refused\"\nbindings = [\"{binding}\"]\n\
                 remote_ip_ranges = [\"198.51.100.0/24\"]\nrefuse = true\n"
            ),
        ),
        false => ("", String::new()),
    };
    // A dialogue about the tarpit sets one; the others need not wait.
    let sets = |key: &str| settings.connector.lines().any(|line| line.starts_with(key));
    let tarpits: String = ["tarpit_interval", "auth_tarpit_interval"]
        .iter()
        .filter(|key| !sets(key))
        .map(|key| format!("{key} = \"0s\"\n"))
        .collect();
    format!(
        "hostname = \"relay.example\"\n\
         [delivery]\nsmart_host = \"127.0.0.1:25\"\n\
         {tls}{trusted}{authentication}{rspamd}{proxies}\
         [[accepted_domain]]\nname = \"accepted.example\"\n{lookup}\
         [[connector]]\nname = \"Dialogue\"\n\
         {bindings} = [\"{binding}\"]\nremote_ip_ranges = [\"127.0.0.0/8\"]\n\
         auth_mechanism = {mechanisms:?}\n{rights}\n{tarpits}{}\n{carried}",
        settings.connector
    )
}

/// The stored messages as `Q:` lines: sender, recipients and content of each.
pub fn queued_lines(kept: Vec<(String, Vec<String>, Vec<u8>)>) -> Vec<String> {
    let mut lines = Vec::new();
    for (sender, recipients, message) in kept {
        let recipients: Vec<_> =
            recipients.iter().map(|recipient| format!("<{recipient}>")).collect();
        lines.push(format!("from <{sender}> to {}", recipients.join(", ")));
        let message = String::from_utf8_lossy(&message);
        // In the escaped form of dialogues, for octets that a line cannot contain.
        let visible =
            |line: &str| line.replace('\r', "\\r").replace('\n', "\\n").replace('\0', "\\0");
        lines.extend(message.split_terminator("\r\n").map(|line| format!("| {}", visible(line))));
    }
    lines
}
