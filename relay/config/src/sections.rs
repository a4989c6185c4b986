//! The tables of the daemon itself, and the reading of a complete text.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::document::{Document, Section, Value, Wrong};
use crate::mapped::MappedAddresses;
use crate::places::{DEFAULT_QUEUE, DEFAULT_SOCKET};
use crate::value::{boolean, duration, host_name, mailbox, one_of, path, size, text, timespan};
use crate::{
    Authentication, ClassifierConfig, ClassifierMode, Config, ConfigErrors, ControlConfig,
    DaemonConfig, DeliveryConfig, Log, LogFormat, LogLevel, QueueConfig, accepted_domain, antispam,
    back_pressure, connector, digest, message_tracking_log, next_hop, route, tls, warning,
};
use relay_connector::limits::CONNECTOR_IDS;
use relay_connector::{Clients, Proxies, Table};
use relay_delivery::{NextHop, Routes};
use relay_mail::path::Domain;
use relay_queue::limits::DELAY_NOTIFICATION_TIMEOUT;
use relay_queue::limits::INITIAL_RETRY_INTERVAL;
use relay_queue::limits::MAXIMUM_RETRY_INTERVAL;
use relay_queue::limits::MESSAGE_EXPIRATION_TIMEOUT;
use relay_queue::limits::QUEUE_MIN_FREE_OCTETS;

use crate::limits;

/// See [`Config::parse`].
pub(super) fn read(text: &str, file_name: &str) -> Result<Config, ConfigErrors> {
    let (document, root) = Document::parse(text, file_name)?;
    let mut root = document.root(root);

    let hostname = root.require(
        "hostname",
        "write hostname = \"edge1.contoso.example\" at the top",
        host_name,
    );
    let daemon = daemon(root.take_section("daemon", "[daemon]"));
    let postmaster = root.take("postmaster", mailbox);
    let classifier = classifier(root.take_section("classifier", "[classifier]"));
    let queue = queue(root.take_section("queue", "[queue]"));
    let section = root.take_section("message_tracking_log", "[message_tracking_log]");
    let message_tracking_log = message_tracking_log::read(section, &queue);
    let section = root.take_section("delivery", "[delivery]");
    let delivery_line = section.line;
    let (delivery, otherwise) = delivery(section);
    let routes = Routes::new(route::read(root.take_sections("route")), otherwise);
    let mx = route::mx(root.take_section("mx", "[mx]"));
    let tls = tls::read(&mut root);
    let authentication = authentication(&mut root);
    let back_pressure = back_pressure::read(root.take_section("back_pressure", "[back_pressure]"));
    let control = control(root.take_section("control", "[control]"));
    let log = log(root.take_section("log", "[log]"));
    let line_of = |root: &Section<'_, '_>, key| root.has_key(key).then(|| root.line_of(key));
    let dns = antispam::dns(root.take_section("dns", "[dns]"));
    let rspamd_line = line_of(&root, "rspamd");
    let has_rspamd = rspamd_line.is_some();
    let rspamd = antispam::rspamd(root.take_section("rspamd", "[rspamd]"), has_rspamd);
    let antispam = antispam::defaults(root.take_section("antispam", "[antispam]"), has_rspamd);
    let proxies = proxies(root.take_section("proxies", "[proxies]"));
    let accepted_domains = accepted_domain::read(root.take_sections("accepted_domain"));
    let sections = root.take_sections("connector");
    if sections.is_empty() {
        let mend = "write [[connector]] with its keys, or begin with deploy/relay.toml";
        root.refuse(root.line, "connector", Wrong::new("is missing", mend));
    }
    let most = CONNECTOR_IDS as usize - 1;
    if sections.len() > most {
        let problem = format!("{} connectors are over the limit of {most}", sections.len());
        let mend = "combine connectors that differ only in their ranges";
        root.refuse(sections[most].line, "connector", Wrong::new(problem, mend));
    }
    let host = connector::ConnectorContext {
        name: hostname.as_ref().map_or("", Domain::ascii),
        tls: &tls,
        has_users: authentication.is_some(),
        antispam: &antispam,
    };
    let connectors = connector::read(sections, host);
    root.finish(|_| None);

    let clients = match proxies.is_empty() {
        true => Clients::OfTheBindingsFamily,
        false => Clients::OfBothFamilies,
    };
    let table = Table::compile(&connectors, clients).unwrap_or_else(|conflicts| {
        for conflict in conflicts {
            connector::refuse_conflict(&document, &connectors, conflict);
        }
        Table::default()
    });
    let (Some(hostname), false) = (hostname, document.has_refusals()) else {
        return Err(document.into_refusals());
    };
    let has_guard =
        classifier.mode != ClassifierMode::Userspace && !classifier.interfaces.is_empty();
    warning::unused_tls(&document, &tls, &connectors);
    warning::trust_in_proxies(&document, &proxies);
    warning::warn(&document, &connectors, &table, &accepted_domains, clients, has_guard);
    let asks_rspamd = connectors.iter().any(|connector| connector.antispam.rspamd.is_on());
    if let Some(line) = rspamd_line.filter(|_| !asks_rspamd) {
        let wrong = Wrong::new(
            "has no effect: no connector has a check that uses it",
            "remove it, or enable a check in [antispam]",
        );
        document.warn(line, "[rspamd]", "", wrong);
    }
    warning::of_authentication(&document, authentication.as_ref(), &connectors);
    Ok(Config {
        hostname,
        daemon,
        postmaster,
        classifier,
        queue,
        delivery,
        routes,
        mx,
        dns,
        tls,
        authentication,
        users: Arc::default(),
        back_pressure,
        control,
        log,
        message_tracking_log,
        rspamd,
        proxies,
        accepted_domains,
        digest: digest(text),
        delivery_line,
        connectors,
        table,
        warnings: document.into_warnings(),
    })
}

fn daemon(mut section: Section<'_, '_>) -> DaemonConfig {
    let user = section.take("user", account);
    let group_line = section.line_of("group");
    let group = section.take("group", account);
    if group.is_some() && user.is_none() {
        let mend = "add user = \"relay\", or remove it";
        section.refuse(group_line, "group", Wrong::new("has no effect without user", mend));
    }
    section.finish(|_| None);
    DaemonConfig { user, group }
}

/// The name of a user or a group. Whether it exists is checked at the start, on the host of the
/// configuration.
fn account(value: Value<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    if name.is_empty() || name.contains(['/', ':', ' ', '\0', '\n']) {
        let problem = format!("`{name}` is not the name of a user or group");
        return Err(Wrong::new(problem, "`getent passwd` shows the names"));
    }
    Ok(name)
}

fn classifier(mut section: Section<'_, '_>) -> ClassifierConfig {
    let modes = one_of(&[
        ("auto", ClassifierMode::Auto),
        ("kernel", ClassifierMode::Kernel),
        ("userspace", ClassifierMode::Userspace),
    ]);
    let mode = section.take("mode", modes).unwrap_or_default();
    if mode == ClassifierMode::Userspace {
        for key in ["interfaces", "pin_directory", "cross_check"] {
            if section.has_key(key) {
                let problem = "has no effect: mode is userspace, without the kernel half";
                let mend = "remove it, or write mode = \"auto\"";
                section.warn(section.line_of(key), key, Wrong::new(problem, mend));
            }
        }
    }
    let interfaces = section.take_list("interfaces", interface);
    let pin_directory =
        section.take("pin_directory", path).unwrap_or_else(|| "/sys/fs/bpf/relay".into());
    let cross_check = section.take("cross_check", boolean).unwrap_or(false);
    section.finish(|_| None);
    ClassifierConfig { mode, interfaces, pin_directory, cross_check }
}

/// The kernel's rules for names of interfaces.
fn interface(value: Value<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    let is_name = !name.is_empty()
        && name.len() <= limits::INTERFACE_NAME_OCTETS
        && !name.contains(['/', ' ', ':'])
        && name != "."
        && name != "..";
    if is_name {
        return Ok(name);
    }
    Err(Wrong::new(
        format!("`{name}` is not the name of an interface"),
        "`ip link` shows the names",
    ))
}

fn queue(mut section: Section<'_, '_>) -> QueueConfig {
    let directory = section.take("directory", path).unwrap_or_else(|| DEFAULT_QUEUE.into());
    let free = size(limits::QUEUE_LEAST_FREE_OCTETS..=i64::MAX as u64);
    let min_free_space = section.take("min_free_space", free).unwrap_or(QUEUE_MIN_FREE_OCTETS);
    section.finish(|_| None);
    QueueConfig { directory, min_free_space }
}

fn delivery(mut section: Section<'_, '_>) -> (DeliveryConfig, NextHop) {
    let next_hop = next_hop::read(&mut section);
    let interval = || duration(Duration::from_secs(1)..=Duration::from_hours(24));
    let initial_line = section.line_of("initial_retry_interval");
    let initial_retry_interval =
        section.take("initial_retry_interval", interval()).unwrap_or(INITIAL_RETRY_INTERVAL);
    let maximum_retry_interval =
        section.take("maximum_retry_interval", interval()).unwrap_or(MAXIMUM_RETRY_INTERVAL);
    if initial_retry_interval > maximum_retry_interval {
        let (initial, most) = (timespan(initial_retry_interval), timespan(maximum_retry_interval));
        let problem = format!("{initial} is longer than maximum_retry_interval, {most}");
        let mend = format!("write at most \"{most}\", or raise maximum_retry_interval");
        section.refuse(initial_line, "initial_retry_interval", Wrong::new(problem, mend));
    }
    // Exchange allows 5 seconds to 90 days.
    let expiration = duration(Duration::from_secs(5)..=Duration::from_hours(90 * 24));
    let message_expiration_timeout = section
        .take("message_expiration_timeout", expiration)
        .unwrap_or(MESSAGE_EXPIRATION_TIMEOUT);
    let connection_inactivity_timeout = section
        .take("connection_inactivity_timeout", interval())
        .unwrap_or(limits::CLIENT_INACTIVITY_TIMEOUT);
    // Exchange's bounds.
    let delay = duration(Duration::from_secs(1)..=Duration::from_hours(30 * 24));
    let delay_line = section.line_of("delay_notification_timeout");
    let delay = section.take("delay_notification_timeout", delay);
    if let Some(delay) = delay
        && delay >= message_expiration_timeout
    {
        let (delay, most) = (timespan(delay), timespan(message_expiration_timeout));
        let problem = format!("has no effect: messages expire after {most}, before {delay}");
        let mend = "write less, or raise message_expiration_timeout";
        section.refuse(delay_line, "delay_notification_timeout", Wrong::new(problem, mend));
    }
    let delay_notification_timeout = delay.unwrap_or(DELAY_NOTIFICATION_TIMEOUT);
    section.finish(|key| {
        let exchange = [
            "outbound_connection_failure_retry_interval",
            "transient_failure_retry_interval",
            "transient_failure_retry_count",
        ];
        exchange.contains(&key).then(|| {
            Wrong::new(
                "is not supported: attempts use back-off instead of fixed intervals",
                "write initial_retry_interval and maximum_retry_interval",
            )
        })
    });
    let delivery = DeliveryConfig {
        initial_retry_interval,
        maximum_retry_interval,
        message_expiration_timeout,
        connection_inactivity_timeout,
        delay_notification_timeout,
    };
    (delivery, next_hop)
}

fn authentication(root: &mut Section<'_, '_>) -> Option<Authentication> {
    let line = root.line_of("authentication");
    let is_there = root.has_key("authentication");
    let mut section = root.take_section("authentication", "[authentication]");
    if !is_there {
        return None;
    }
    let mend = "write users_file = \"/etc/relay/users.toml\", and create it with `relay passwd`";
    let users_file = section.require("users_file", mend, path);
    section.finish(|_| None);
    Some(Authentication { users_file: users_file.unwrap_or_default(), line })
}

fn control(mut section: Section<'_, '_>) -> ControlConfig {
    let socket = section.take("socket", socket).unwrap_or_else(|| DEFAULT_SOCKET.into());
    section.finish(|_| None);
    ControlConfig { socket }
}

fn socket(value: Value<'_>) -> Result<PathBuf, Wrong> {
    let socket = path(value)?;
    let most = limits::SOCKET_PATH_OCTETS;
    if socket.as_os_str().len() > most {
        let problem = "is too long for the path of a socket";
        return Err(Wrong::new(problem, format!("write a path of at most {most} octets")));
    }
    Ok(socket)
}

fn log(mut section: Section<'_, '_>) -> Log {
    let formats = one_of(&[("human", LogFormat::Human), ("json", LogFormat::Json)]);
    let levels = one_of(&[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ]);
    let format = section.take("format", formats).unwrap_or_default();
    let level = section.take("level", levels).unwrap_or_default();
    section.finish(|_| None);
    Log { format, level }
}

fn proxies(mut section: Section<'_, '_>) -> Proxies {
    let ranges = |key| {
        let mut mapped = MappedAddresses::default();
        let ranges = section.take_list(key, |value| connector::range(value, &mut mapped));
        mapped.warn(&section, key);
        ranges
    };
    let [proxy_protocol_from, xclient_from] = ["proxy_protocol_from", "xclient_from"].map(ranges);
    section.finish(|_| None);
    Proxies { proxy_protocol_from, xclient_from }
}
