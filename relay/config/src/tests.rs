//! Every refusal and every warning by its text, and the result of a valid text.

mod authentication;
mod message_tracking_log;
mod refusals;
mod values;
mod warnings;

use std::path::Path;

use crate::*;
use relay_connector::{
    CertificateName, ConnectorTls, Grantee, MessageRateSource, Permission, PermissionGroup,
    PermissionSet, PermissionSource, Principal, ProtocolLoggingLevel, Standing, TlsVersion,
};
use relay_delivery::{NextHop, NextHopAuth, Security, SmartHosts, TlsMode};
use relay_mail::protocol::DeliveryProtocol;
use relay_policy::pressure::Thresholds;

/// Three lines that every text needs.
const NEEDED: &str = r#"hostname = "edge1.contoso.example"
delivery.smart_host = "mail.contoso.example:25"
accepted_domain = [{ name = "contoso.example" }]
"#;

/// Lines 4 to 8 of a text that begins with [`NEEDED`].
const CONNECTOR: &str = r#"[[connector]]
name = "C"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, "relay.toml").unwrap_or_else(|refusals| panic!("{refusals}"))
}

#[test]
fn the_deployed_configurations_have_no_errors_or_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for file in ["relay.toml", "development.toml"] {
        let config = Config::load(&folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings(), [], "{file}");
    }
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = parse(&format!("{NEEDED}{CONNECTOR}"));
    assert_eq!(config.classifier.mode, ClassifierMode::Auto);
    assert_eq!(config.classifier.pin_directory, Path::new("/sys/fs/bpf/relay"));
    assert!(config.classifier.interfaces.is_empty() && !config.classifier.cross_check);
    assert_eq!(config.queue.directory, Path::new("/var/lib/relay"));
    assert_eq!(config.control.socket, Path::new("/run/relay/control.sock"));
    assert_eq!(config.log, Log { format: LogFormat::Human, level: LogLevel::Info });
    assert!(config.tls.certificates.is_empty());
    assert_eq!(config.delivery.message_expiration_timeout, Duration::from_hours(48));
    assert_eq!(config.delivery.delay_notification_timeout, Duration::from_hours(4));
    let connector = &config.connectors()[0];
    assert_eq!(connector.limits, relay_connector::Limits::default());
    assert_eq!(connector.fqdn, "edge1.contoso.example");
    assert!(connector.auth_mechanism.tls && connector.enabled && !connector.refuse);
    assert_eq!((connector.line, connector.remote_ip_ranges[0].line), (4, 7));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
hostname = "Edge1.Contoso.Example."
[classifier]
mode = "Kernel"
interfaces = ["eth0", "eth1"]
pin_directory = "/sys/fs/bpf/other"
cross_check = true
[queue]
directory = "/q"
[delivery]
smart_host = "[2001:db8::25]:2525"
tls = "Verified"
ca_file = "/ca"
auth = "/auth"
auth_in_clear = false
initial_retry_interval = "30s"
maximum_retry_interval = "01:00:00"
message_expiration_timeout = "1.12:00:00"
connection_inactivity_timeout = "00:02:00"
delay_notification_timeout = "01:00:00"
send_organization_headers = true
[tls]
certificate = "/c"
key = "/k"
[control]
socket = "/s"
[[certificate]]
name = "partners"
certificate = "/pc"
key = "/pk"
[log]
format = "json"
level = "debug"
[[accepted_domain]]
name = "*.Contoso.example"
type = "internalrelay"
[[connector]]
name = "C"
comment = "why"
enabled = true
bindings = ["192.0.2.1:25", "[2001:db8::1]:25"]
implicit_tls_bindings = ["192.0.2.1:465"]
tls_certificate_name = "partners"
tls_minimum_version = "1.3"
remote_ip_ranges = [
  "10.0.0.1",
  "2001:db8::/32",
]
auth_mechanism = ["ExternalAuthoritative", "Tls"]
permission_groups = ["ExchangeServers"]
grants = { externally-secured = ["MS-Exch-Accept-Headers-Organization"] }
require_tls = true
refuse = false
syn_budget = { rate = "200/s", burst = 400 }
syn_budget_per_source = { rate = "20/s", burst = 40 }
banner = "220 edge1 ready"
fqdn = "relay.contoso.example"
max_message_size = "64 KB"
max_header_size = 1000
max_recipients_per_message = 5
max_hop_count = 0x10
connection_timeout = "10s"
connection_inactivity_timeout = "5s"
max_protocol_errors = 1
max_refused_recipients = 2
tarpit_interval = "1s"
auth_tarpit_interval = "2s"
max_logon_failures = 0
max_inbound_connection = 2
max_inbound_connection_per_source = 3
max_inbound_connection_percentage_per_source = 4
max_local_hop_count = 0
message_rate_limit = 5
message_rate_source = "User"
reject_reserved_top_level_recipient_domains = true
reject_reserved_second_level_recipient_domains = true
reject_single_label_recipient_domains = true
protocol_logging_level = "verbose"
"#,
    );
    assert_eq!(config.hostname.as_str(), "edge1.contoso.example");
    assert_eq!(
        config.classifier,
        ClassifierConfig {
            mode: ClassifierMode::Kernel,
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            pin_directory: "/sys/fs/bpf/other".into(),
            cross_check: true,
        }
    );
    assert_eq!(
        config.delivery,
        DeliveryConfig {
            initial_retry_interval: Duration::from_secs(30),
            maximum_retry_interval: Duration::from_hours(1),
            message_expiration_timeout: Duration::from_hours(36),
            connection_inactivity_timeout: Duration::from_mins(2),
            delay_notification_timeout: Duration::from_hours(1),
        }
    );
    let security = Security {
        tls: TlsMode::Verified,
        implicit_tls: false,
        ca_file: Some("/ca".into()),
        auth: Some(NextHopAuth { credentials: "/auth".into(), in_clear: false }),
        send_organization_headers: true,
    };
    let hosts = vec!["[2001:db8::25]:2525".parse().unwrap()];
    let otherwise = NextHop::SmartHosts(Arc::new(SmartHosts {
        hosts,
        protocol: DeliveryProtocol::Smtp,
        security,
    }));
    assert_eq!(config.routes.next_hops().collect::<Vec<_>>(), [&otherwise]);
    let files = |certificate: &str, key: &str, line| CertificateFiles {
        certificate: certificate.into(),
        key: key.into(),
        line,
    };
    let named = CertificateName::Named("partners".to_owned());
    assert_eq!(
        config.tls.certificates,
        Certificates::from([
            (CertificateName::Default, files("/c", "/k", 22)),
            (named.clone(), files("/pc", "/pk", 27)),
        ])
    );
    assert_eq!(config.control, ControlConfig { socket: "/s".into() });
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
    let accepted = config.accepted_domains.covering("a.contoso.example").unwrap();
    assert_eq!(accepted.to_string(), "*.contoso.example (InternalRelay)");
    let connector = &config.connectors()[0];
    assert_eq!(connector.comment, "why");
    let implicit = connector.bindings[2];
    assert_eq!(implicit.to_string(), "192.0.2.1:465");
    assert_eq!(
        connector.encryption,
        ConnectorTls {
            certificate: Some(named),
            minimum_version: TlsVersion::Tls13,
            implicit_bindings: vec![implicit],
            domain_secure_enabled: false,
        }
    );
    assert!(!connector.encryption.is_implicit_on(connector.bindings[0]));
    assert_eq!(connector.remote_ip_ranges[1].line, 47);
    assert_eq!(connector.principal(), Principal::ExternallySecured);
    assert!(
        connector
            .permissions(Principal::ExternallySecured)
            .contains(Permission::AcceptHeadersOrganization)
    );
    assert!(connector.require_tls && !connector.refuse);
    assert_eq!(connector.protocol_logging_level, ProtocolLoggingLevel::Verbose);
    let budgets = [connector.syn_budget, connector.syn_budget_per_source];
    let budgets = budgets.map(|budget| budget.map(|b| (b.rate.get(), b.burst.get())));
    assert_eq!(budgets, [Some((200, 400)), Some((20, 40))]);
    assert_eq!(connector.banner.as_deref(), Some("edge1 ready"));
    assert_eq!(connector.fqdn, "relay.contoso.example");
    let rejected = connector.reject_recipient_domains;
    assert!(rejected.reserved_top_level && rejected.reserved_second_level && rejected.single_label);
    assert_eq!(
        connector.limits,
        relay_connector::Limits {
            max_message_size: 65_536,
            max_header_size: 1000,
            max_recipients_per_message: 5,
            max_hop_count: 16,
            connection_timeout: Duration::from_secs(10),
            connection_inactivity_timeout: Duration::from_secs(5),
            max_local_hop_count: 0,
            message_rate_limit: Some(5),
            message_rate_source: MessageRateSource::User,
            max_protocol_errors: Some(1),
            max_refused_recipients: Some(2),
            tarpit_interval: Duration::from_secs(1),
            max_logon_failures: None,
            auth_tarpit_interval: Duration::from_secs(2),
            max_inbound_connection: Some(2),
            max_inbound_connection_per_source: Some(3),
            max_inbound_connection_percentage_per_source: 4,
        }
    );
}

/// A named user's rights are added to those of every user.
#[test]
fn grants_to_users() {
    let connector = CONNECTOR.replace("AnonymousUsers", "ExchangeUsers");
    let config = parse(&format!(
        "{NEEDED}{connector}[connector.grants]\n\
         user = [\"ms-Exch-Bypass-Message-Size-Limit\"]\n\
         \"user:Alice\" = [\"ms-Exch-SMTP-Accept-Any-Sender\"]\n"
    ));
    let connector = &config.connectors()[0];
    let has = |name: Option<&str>, permission| {
        let name = name.map(|name| name.parse().unwrap());
        let source =
            match connector.source_of_permission(Principal::User, name.as_ref(), permission) {
                Standing::Granted(source) => Some(source),
                _ => None,
            };
        let set = connector.permissions_of(Principal::User, name.as_ref());
        assert_eq!(source.is_some(), set.contains(permission));
        source
    };
    for (name, permission, source) in [
        (
            Some("bob"),
            Permission::Submit,
            Some(PermissionSource::Group(PermissionGroup::ExchangeUsers)),
        ),
        (
            Some("bob"),
            Permission::BypassMessageSizeLimit,
            Some(PermissionSource::Grants(Grantee::Principal(Principal::User))),
        ),
        (
            Some("ALICE"),
            Permission::AcceptAnySender,
            Some(PermissionSource::Grants(Grantee::User("alice".parse().unwrap()))),
        ),
        (Some("bob"), Permission::AcceptAnySender, None),
        (None, Permission::AcceptAnySender, None),
    ] {
        assert_eq!(has(name, permission), source, "{name:?} {permission}");
    }
    assert_eq!(connector.permissions(Principal::Anonymous), PermissionSet::EMPTY);
}

#[test]
fn back_pressure_has_defaults_for_missing_keys() {
    let table = "[back_pressure]\n\
         disk_use = { low_to_medium = 10, medium_to_high = 20, high_to_medium = 15, medium_to_low = 5 }\n\
         queue_length.medium_to_low = 0\nmessage_memory = \"1 MB\"\n";
    let config = parse(&format!("{NEEDED}{table}{CONNECTOR}"));
    let back_pressure = config.back_pressure;
    assert_eq!(
        back_pressure.disk_use,
        Thresholds { low_to_medium: 10, medium_to_high: 20, high_to_medium: 15, medium_to_low: 5 }
    );
    let default = relay_policy::BackPressureSettings::default();
    assert_eq!(back_pressure.queue_length, Thresholds { medium_to_low: 0, ..default.queue_length });
    assert_eq!(back_pressure.memory_use, default.memory_use);
    assert_eq!(back_pressure.message_memory, 1024 * 1024);
}

#[test]
fn unlimited_where_exchange_has_it() {
    let keys = [
        "max_protocol_errors",
        "max_refused_recipients",
        "max_inbound_connection",
        "max_inbound_connection_per_source",
    ]
    .map(|key| format!("{key} = \"Unlimited\"\n"))
    .concat();
    let config = parse(&format!("{NEEDED}{CONNECTOR}{keys}"));
    let limits = &config.connectors()[0].limits;
    let unlimited = [
        limits.max_protocol_errors,
        limits.max_refused_recipients,
        limits.max_inbound_connection,
        limits.max_inbound_connection_per_source,
    ];
    assert_eq!(unlimited, [None; 4]);
}

#[test]
fn the_digest_is_that_of_the_files_octets() {
    let text = format!("{NEEDED}{CONNECTOR}");
    assert_eq!(parse(&text).digest, <[u8; 32]>::from(Sha256::digest(&text)));
    assert_ne!(parse(&text).digest, parse(&format!("{text}\n")).digest);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/relay.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/relay.toml: No such file"), "{error}");
}

/// The daemon and each command must read the same files, from every working directory.
#[test]
fn relative_paths_are_below_the_directory_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let paths = "[queue]\ndirectory = \"queue\"\n[control]\nsocket = \"run/control.sock\"\n";
    std::fs::write(&file, format!("{NEEDED}{paths}{CONNECTOR}")).unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.queue.directory, folder.path().join("queue"));
    assert_eq!(config.control.socket, folder.path().join("run/control.sock"));
    assert_eq!(config.message_tracking_log.path, folder.path().join("queue/message_tracking"));
    let places = Places::read(&file);
    assert_eq!(places.socket, config.control.socket);
    assert_eq!(places.queue, config.queue.directory);
}
