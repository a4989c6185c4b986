//! Converts a text to a [`Config`], or to refusals with file, line, key, problem and remedy.
//!
//! Keys are the Exchange parameter names in snake_case, values are spelled as Exchange spells them.
//! No key is ignored: a key that this version does not know is an error. Legal but unwise settings
//! are warnings. Files that the configuration names are opened by the code that uses them, with two
//! exceptions: the users file, which is configuration too, and lists of recipients, because policy
//! opens no files.
//!
//! [`document`] is the TOML tree with its lines, [`value`] converts one value to a type,
//! [`sections`], [`connector`] and [`users`] know the keys, [`warning`] reads the finished
//! configuration.

mod accepted_domain;
mod antispam;
mod back_pressure;
mod connector;
mod document;
mod finding;
pub mod limits;
mod mapped;
mod message_tracking_log;
mod next_hop;
mod places;
mod recipients;
mod route;
mod rules;
mod sections;
mod tls;
pub mod user_entry;
pub mod users;
mod value;
mod warning;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::CONFIGURATION_OCTETS;
use relay_antispam::RspamdSettings;
use relay_connector::{Connector, Proxies, Table};
use relay_delivery::{NextHop, Routes};
use relay_mail::path::{Domain, ForwardPath, Mailbox};
use relay_policy::AcceptedDomains;
use relay_users::Users;
use sha2::{Digest, Sha256};

pub use finding::{ConfigErrors, ConfigProblem};
pub use places::Places;
pub use recipients::RecipientsError;
pub use tls::{CertificateFiles, Certificates, Tls, Trusted};
pub use value::{read_duration, read_size};

/// One valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `hostname`: this host's name in greetings and header sections, unless a connector has its
    /// own.
    pub hostname: Domain,
    /// `[daemon]`.
    pub daemon: DaemonConfig,
    /// `postmaster`: the address that receives mail for `<postmaster>` without a domain.
    postmaster: Option<Mailbox>,
    /// `[classifier]`.
    pub classifier: ClassifierConfig,
    /// `[queue]`.
    pub queue: QueueConfig,
    /// `[delivery]`.
    pub delivery: DeliveryConfig,
    /// `[tls]`, `[[certificate]]`, `[partners]` and `[fleet]`.
    pub tls: Tls,
    /// `[authentication]`; without it no client can authenticate.
    pub authentication: Option<Authentication>,
    /// The users of [`Authentication::users_file`], if the file was read.
    pub users: Arc<Users>,
    /// `[back_pressure]`: when this host accepts less mail, and none.
    pub back_pressure: relay_policy::BackPressureSettings,
    /// `[[route]]`, and `[delivery]` for all other mail.
    pub routes: Routes,
    /// `[mx]`.
    pub mx: Mx,
    /// `[dns]`.
    pub dns: relay_dns::DnsSettings,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[log]`.
    pub log: Log,
    /// `[message_tracking_log]`.
    pub message_tracking_log: relay_tracking::TrackingSettings,
    /// `[rspamd]`; without it no connector can ask Rspamd.
    pub rspamd: Option<RspamdSettings>,
    /// `[proxies]`.
    pub proxies: Proxies,
    /// `[[accepted_domain]]`.
    pub accepted_domains: AcceptedDomains,
    /// SHA-256 of the file's octets, so that `sha256sum relay.toml` tells whether the file is the
    /// configuration in force.
    pub digest: [u8; 32],
    delivery_line: u32,
    connectors: Vec<Connector>,
    table: Table,
    warnings: Vec<ConfigProblem>,
}

/// `[daemon]`: the user of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonConfig {
    /// `user`: the user to which the daemon changes if it is started as root; `None`: no change.
    pub user: Option<String>,
    /// `group`: another group instead of the user's own.
    pub group: Option<String>,
}

/// `[classifier]`: the part that selects the connector of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierConfig {
    /// `mode`.
    pub mode: ClassifierMode,
    /// `interfaces`: where the guard attaches; empty for no guard.
    pub interfaces: Vec<String>,
    /// `pin_directory`: where programs and maps are pinned, on a bpffs.
    pub pin_directory: PathBuf,
    /// `cross_check`: compare each tag of the kernel with the daemon's own table.
    pub cross_check: bool,
}

/// `classifier.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassifierMode {
    /// The kernel if possible, else the daemon.
    #[default]
    Auto,
    /// The kernel; without it the daemon does not start.
    Kernel,
    /// The daemon.
    Userspace,
}

/// `[queue]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// `directory`: the directory of accepted mail.
    pub directory: PathBuf,
    /// `min_free_space`: octets that must be free on its file system; with less, no mail is
    /// accepted.
    pub min_free_space: u64,
}

/// `[delivery]`: the schedule of attempts. Exchange retries at fixed intervals and we back off, so
/// the intervals have their own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// `initial_retry_interval`: from the first failed attempt to the second attempt.
    pub initial_retry_interval: Duration,
    /// `maximum_retry_interval`: the longest interval.
    pub maximum_retry_interval: Duration,
    /// `message_expiration_timeout`: from acceptance until the sender gets a report of the failure.
    pub message_expiration_timeout: Duration,
    /// `connection_inactivity_timeout`: the longest wait for a next hop in any step.
    pub connection_inactivity_timeout: Duration,
    /// `delay_notification_timeout`: from acceptance until the sender gets a report of the delay.
    pub delay_notification_timeout: Duration,
}

/// `[mx]`: settings for mail exchangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mx {
    /// `port`: other than 25 only in a laboratory.
    pub port: u16,
    /// `allow_private_addresses`: deliver to private and loopback addresses that DNS names.
    pub allow_private_addresses: bool,
}

/// `[authentication]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// `users_file`: the users who may authenticate. See [`users`].
    pub users_file: PathBuf,
    line: u32,
}

/// `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// `socket`: the socket for `relay status`, `relay reload` and other commands.
    pub socket: PathBuf,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// `format`.
    pub format: LogFormat,
    /// `level`.
    pub level: LogLevel,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Problems that an administrator must solve.
    Error,
    /// Possible problems.
    Warn,
    /// One line for each session.
    #[default]
    Info,
    /// The dialogues of sessions.
    Debug,
    /// All events.
    Trace,
}

/// Why the configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is over the limit.
    #[error("{path}: the file is larger than {most} octets, the limit of a configuration")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// The users file does not exist.
    #[error(
        "{config}:{line}: [authentication]: users_file: {path} does not exist; `relay passwd -c \
         {config} NAME` makes it"
    )]
    NoUsers {
        /// The configuration.
        config: PathBuf,
        /// The line of `[authentication]`.
        line: u32,
        /// The users file.
        path: PathBuf,
    },
    /// Other users can read the users file.
    #[error(
        "{path}: others may read or write it (mode {mode:o}); chmod 600, or 640 where the daemon's \
         group reads it"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A recipients_file cannot be used.
    #[error(transparent)]
    Recipients(#[from] RecipientsError),
    /// The configuration is refused.
    #[error(transparent)]
    Refused(#[from] ConfigErrors),
}

impl Config {
    /// The address for `<postmaster>` without a domain: the key `postmaster`, or the postmaster of
    /// the first authoritative domain.
    pub fn postmaster(&self) -> Option<Mailbox> {
        let of_domain = || {
            let domain = self.accepted_domains.first_authoritative()?;
            match ForwardPath::parse(&format!("<postmaster@{domain}>")) {
                Ok(ForwardPath::Mailbox(mailbox)) => Some(mailbox),
                Ok(ForwardPath::Postmaster) | Err(_) => None,
            }
        };
        self.postmaster.clone().or_else(of_domain)
    }

    /// Reads a file and its users file.
    ///
    /// # Errors
    /// One of them cannot be read, is too large, or is refused.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let mut config = Self::load_without_users(path)?;
        if let Some(authentication) = &config.authentication {
            let users = match users::load(&authentication.users_file) {
                Err(LoadError::Unreadable { path: users_file, source })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    let (config, line) = (path.to_owned(), authentication.line);
                    return Err(LoadError::NoUsers { config, line, path: users_file });
                }
                users => users?,
            };
            config.warnings.extend(warning::of_users(&users, authentication.line));
            config.warnings.sort_by_key(|warning| warning.line);
            config.users = Arc::new(users);
        }
        Ok(config)
    }

    /// Reads a file without users: no client can authenticate.
    ///
    /// # Errors
    /// It cannot be read, is larger than [`CONFIGURATION_OCTETS`], or is refused; or a
    /// `recipients_file` of it cannot be used.
    pub fn load_without_users(path: &Path) -> Result<Self, LoadError> {
        let text = read_text(path)?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        recipients::read(&mut config.accepted_domains)?;
        Ok(config)
    }

    /// Reads a text, and no other file; `file_name` is its name in refusals and warnings.
    ///
    /// # Errors
    /// All refusals, in the order of lines.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigErrors> {
        sections::read(text, file_name)
    }

    /// `[[connector]]`, in the order of the file, disabled ones included.
    pub fn connectors(&self) -> &[Connector] {
        &self.connectors
    }

    /// Every next hop, with the line and the name of its table.
    pub fn next_hops(&self) -> impl Iterator<Item = (u32, &'static str, &NextHop)> {
        let routes = self.routes.routes().iter();
        let of_routes = routes.map(|route| (route.line, "[[route]]", &route.next_hop));
        of_routes.chain([(self.delivery_line, "[delivery]", self.routes.default_next_hop())])
    }

    /// The compiled bindings and ranges; connectors are numbered by their position plus one.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The warnings, in the order of lines.
    pub fn warnings(&self) -> &[ConfigProblem] {
        &self.warnings
    }
}

/// The text of a configuration file.
fn read_text(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(CONFIGURATION_OCTETS + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > CONFIGURATION_OCTETS {
        let most = CONFIGURATION_OCTETS;
        return Err(LoadError::TooLarge { path: path.to_owned(), most });
    }
    Ok(text)
}

/// A digest as `sha256sum` prints it.
pub fn digest_text(digest: &[u8; 32]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
