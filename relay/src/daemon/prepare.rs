//! Reads everything that must be read before a configuration is put in force. The start, a reload
//! and `relay check` use the same code, so they refuse the same files.
//!
//! [`prepare`] reads certificates and keys, authorities, credentials and the resolver's
//! configuration. Warnings are returned together with the warnings of the configuration itself:
//! certificates that expire soon or have other names, and next hops that are this daemon. Sockets,
//! maps and the queue are opened elsewhere.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use relay_antispam::{Checks, ResolverError};
use relay_config::{Config, ConfigProblem};
use relay_connector::ConnectorIds;
use relay_connector::id::TooManyConnectorNames;
use relay_delivery::{DeliverySettings, NextHop, own_binding};
use relay_mail::smart_host::SmartHost;
use relay_policy::Rules;
use relay_server::tls::{TlsCredentials, TlsError};

use super::delivery::{self, DeliveryError};

/// What a configuration needs to be put in force.
pub struct PreparedConfiguration {
    pub(super) rules: Arc<Rules>,
    pub(super) credentials: TlsCredentials,
    pub(super) checks: Checks,
    pub(super) delivery: DeliverySettings,
    /// Warnings about the configuration and the files that it names, in the order of lines.
    pub warnings: Vec<ConfigProblem>,
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Too many connector names since the start.
    #[error(transparent)]
    Names(#[from] TooManyConnectorNames),
    /// A certificate, its key, or the authorities for clients.
    #[error("{}{source}", at(*line))]
    Tls {
        /// The line of its table, if the problem is about one.
        line: Option<u32>,
        /// What is wrong.
        source: TlsError,
    },
    /// What delivery needs.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// DNS, which the checks of mail from strangers ask.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
}

/// Reads the files that the configuration names.
///
/// # Errors
/// [`PrepareError`]: a file cannot be read or used.
pub fn prepare(
    config: &Config,
    ids: &mut ConnectorIds,
    generation: u32,
) -> Result<PreparedConfiguration, PrepareError> {
    let rules = config.rules(ids, generation)?;
    let credentials = TlsCredentials::load(&config.tls, Arc::clone(&rules))
        .map_err(|source| PrepareError::Tls { line: line_of(config, &source), source })?;
    let delivery = delivery::settings(config)?;
    let checks = Checks::new(config.checks())?;
    let now = seconds(SystemTime::now());
    let mut warnings = config.warnings().to_vec();
    warnings.extend(credentials.concerns(now).into_iter().map(|concern| ConfigProblem {
        line: concern.line,
        place: concern.place,
        key: "certificate".to_owned(),
        problem: concern.problem,
        mend: "renew it: changed files are read again without a reload".to_owned(),
    }));
    warnings.extend(open_keys(config));
    warnings.extend(of_next_hops(config, &delivery, now));
    warnings.sort_by_key(|warning| warning.line);
    Ok(PreparedConfiguration { rules, credentials, checks, delivery, warnings })
}

/// Warns of next hops that are this daemon, and of certificates in a `ca_file` that expire soon.
fn of_next_hops(config: &Config, settings: &DeliverySettings, now: i64) -> Vec<ConfigProblem> {
    let mut findings = Vec::new();
    for (line, place, next_hop) in config.next_hops() {
        let warn = |key: &str, problem: String, mend: &str| ConfigProblem {
            line,
            place: place.to_owned(),
            key: key.to_owned(),
            problem,
            mend: mend.to_owned(),
        };
        if let NextHop::SmartHosts(servers) = next_hop {
            let back =
                |host: &SmartHost| Some((host.clone(), own_binding(host, &settings.exchangers)?));
            for (host, binding) in servers.hosts.iter().filter_map(back) {
                findings.push(warn(
                    "smart_hosts",
                    loops(&host, binding),
                    "write another server, or another port",
                ));
            }
        }
        if let Some(security) = next_hop.security() {
            for problem in settings.handshakes.concerns(security, now) {
                findings.push(warn(
                    "ca_file",
                    problem,
                    "write the new certificate to the file, then run `relay reload`",
                ));
            }
        }
    }
    for domain in config.accepted_domains.all() {
        let Some(lookup) = &domain.recipient_lookup else { continue };
        if let Some(binding) = own_binding(&lookup.server, &settings.exchangers) {
            findings.push(ConfigProblem {
                line: domain.line,
                place: format!("accepted domain \"{}\"", domain.pattern),
                key: "recipient_lookup".to_owned(),
                problem: loops(&lookup.server, binding),
                mend: "write the server that has the mailboxes".to_owned(),
            });
        }
    }
    findings
}

/// The line of the table whose certificate cannot be used.
fn line_of(config: &Config, error: &TlsError) -> Option<u32> {
    let files = config.tls.certificates.get(error.certificate()?)?;
    Some(files.line)
}

fn at(line: Option<u32>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

/// Warns of private keys that other users may read.
fn open_keys(config: &Config) -> impl Iterator<Item = ConfigProblem> {
    config.tls.certificates.iter().filter_map(|(name, files)| {
        let mode = fs::metadata(&files.key).ok()?.permissions().mode() & 0o777;
        (mode & 0o007 != 0).then(|| ConfigProblem {
            line: files.line,
            place: name.to_string(),
            key: "key".to_owned(),
            problem: format!("other users may read {} (mode {mode:o})", files.key.display()),
            mend: format!("chmod o-rwx {}", files.key.display()),
        })
    })
}

fn loops(host: &SmartHost, binding: SocketAddr) -> String {
    format!("{host} is this daemon itself, by the binding {binding}: mail would loop")
}

fn seconds(time: SystemTime) -> i64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
