//! The way to DNS: the configured servers or the system's, with bounded patience and memory.
//!
//! It decides what an answer is: records, none, no such domain, or none to be had now. What
//! follows from it is for whoever asked.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

use crate::config;
use crate::limits;

/// Why DNS cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot use DNS: {0}; name servers in [dns], as in servers = [\"127.0.0.1:53\"]")]
pub struct ResolverError(NetError);

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The domain does not exist (NXDOMAIN).
    #[error("{0} does not exist")]
    NoDomain(String),
    /// The domain exists and has no record of this type.
    #[error("{name} has no {records} record")]
    NoRecords {
        /// The domain.
        name: String,
        /// The type of record.
        records: String,
    },
    /// Nobody could say: SERVFAIL, silence, nonsense. Later there may be an answer.
    #[error("cannot look up the {records} record of {name}: {why}")]
    Unavailable {
        /// The domain.
        name: String,
        /// The type of record.
        records: String,
        /// What went wrong.
        why: String,
    },
}

/// One mail exchanger of a domain (RFC 5321 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    /// Lower is tried first.
    pub preference: u16,
    /// In lower case, without the final dot; empty for the root, which is a null MX (RFC 7505).
    pub host: String,
}

/// Looks up names for delivery. Clones share connections and cache.
#[derive(Clone)]
pub struct Dns(TokioResolver);

/// A resolver for this configuration. Names are asked as they are: neither the search list nor the
/// hosts file of this machine has a say about other people's mail.
///
/// # Errors
/// [`ResolverError`] where the system has no name servers and the configuration names none.
pub fn resolver(dns: &config::Dns) -> Result<TokioResolver, ResolverError> {
    let servers = match dns.servers.as_slice() {
        [] => read_system_conf().map_err(ResolverError)?.0.name_servers().to_vec(),
        servers => servers.iter().map(name_server).collect(),
    };
    let mut options = ResolverOpts::default();
    options.timeout = dns.timeout;
    options.attempts = limits::DNS_RETRIES;
    options.max_active_requests = limits::DNS_QUESTIONS;
    options.cache_size = limits::DNS_CACHED_ANSWERS;
    options.positive_max_ttl = Some(limits::DNS_LONGEST_CACHED);
    options.negative_max_ttl = Some(limits::DNS_LONGEST_CACHED);
    options.use_hosts_file = ResolveHosts::Never;
    let configuration = ResolverConfig::from_name_servers(servers);
    TokioResolver::builder_with_config(configuration, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(ResolverError)
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

impl Dns {
    /// See [`resolver`].
    ///
    /// # Errors
    /// As [`resolver`].
    pub fn new(dns: &config::Dns) -> Result<Self, ResolverError> {
        resolver(dns).map(Self)
    }

    /// The mail exchangers of a domain, in no order. An alias is followed.
    ///
    /// # Errors
    /// [`LookupError`]
    pub async fn exchangers(&self, domain: &str) -> Result<Vec<Exchanger>, LookupError> {
        let read = |data: &RData| match data {
            RData::MX(mx) => {
                let host = mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                Some(Exchanger { preference: mx.preference, host })
            }
            _ => None,
        };
        self.lookup(domain, RecordType::MX, read).await
    }

    /// The addresses of a host, IPv4 before IPv6: more hosts have a broken way to IPv6 than to
    /// IPv4, and finding out takes a time-out. One family that cannot be looked up does not hide
    /// the other.
    ///
    /// # Errors
    /// [`LookupError`] where neither family has an address.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let v4 = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        };
        let v6 = |data: &RData| match data {
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let (v4, v6) = tokio::join!(
            self.lookup(host, RecordType::A, v4),
            self.lookup(host, RecordType::AAAA, v6)
        );
        match (v4, v6) {
            (Ok(mut addresses), v6) => {
                addresses.extend(v6.unwrap_or_default());
                Ok(addresses)
            }
            (Err(_), Ok(addresses)) => Ok(addresses),
            (Err(LookupError::NoRecords { .. }), Err(error)) => Err(error),
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn lookup<T>(
        &self,
        name: &str,
        records: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, LookupError> {
        let none =
            || LookupError::NoRecords { name: name.to_owned(), records: records.to_string() };
        let unavailable = |why: String| LookupError::Unavailable {
            name: name.to_owned(),
            records: records.to_string(),
            why,
        };
        // With the final dot, or the search list would be asked too.
        let query = Name::from_ascii(format!("{name}."))
            .map_err(|_| LookupError::NoDomain(name.to_owned()))?;
        let limit = limits::LOOKUP_TIMEOUT;
        let Ok(found) = timeout(limit, self.0.lookup(query, records)).await else {
            return Err(unavailable(format!("no answer within {} seconds", limit.as_secs())));
        };
        match found {
            Ok(found) => {
                let data = |record: &Record| read(&record.data);
                let list: Vec<_> = found.answers().iter().filter_map(data).collect();
                if list.is_empty() { Err(none()) } else { Ok(list) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(empty))) => match empty.response_code {
                ResponseCode::NXDomain => Err(LookupError::NoDomain(name.to_owned())),
                ResponseCode::NoError => Err(none()),
                code => Err(unavailable(code.to_string())),
            },
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}
