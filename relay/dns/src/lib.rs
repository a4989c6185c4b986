//! DNS look-ups with the configured servers or the system's, with bounded time and memory.
//!
//! This module classifies answers: records, no record, no such domain, or no answer now.
//! [`servers`] decides which server is asked when. Callers decide what follows.

mod answers;
pub mod limits;
mod servers;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};

use crate::servers::NameServers;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail_auth::MessageAuthenticator;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

pub use crate::answers::{DnsCache, Knowing};

/// `[dns]`: the name servers for delivery and the checks of foreign mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// `servers`; empty for the servers of the system.
    pub servers: Vec<SocketAddr>,
    /// `timeout`: for one query to one server.
    pub timeout: Duration,
}

/// Why DNS cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot use DNS: {0}; write name servers in [dns], as in servers = [\"127.0.0.1:53\"]")]
pub struct ResolverError(NetError);

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The domain does not exist (NXDOMAIN).
    #[error("{0} does not exist")]
    NoDomain(String),
    /// The domain exists but has no record of this type.
    #[error("{name} has no {records} record")]
    NoRecords {
        /// The domain.
        name: String,
        /// The type of record.
        records: String,
    },
    /// No server has an answer: SERVFAIL, silence, malformed replies. A later query may succeed.
    #[error("cannot look up the {records} record of {name}: {why}")]
    Unavailable {
        /// The domain.
        name: String,
        /// The type of record.
        records: String,
        /// The cause.
        why: String,
    },
}

/// One mail exchanger of a domain (RFC 5321 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    /// A lower value is tried first.
    pub preference: u16,
    /// The host name in lower case, without the final dot; empty for the root, which is a null MX
    /// (RFC 7505).
    pub host: String,
}

/// The name servers. Clones share connections and caches.
#[derive(Clone)]
pub struct Dns(NameServers);

/// The answer of a server about a name.
enum Answer<T> {
    Records(Vec<T>),
    /// NXDOMAIN.
    NoDomain,
}

impl Dns {
    /// The name servers of this configuration.
    ///
    /// # Errors
    /// [`ResolverError`] if the system has no name servers and the configuration has none.
    pub fn new(dns: &DnsSettings) -> Result<Self, ResolverError> {
        NameServers::new(dns).map(Self).map_err(ResolverError)
    }

    /// Runs an evaluation of SPF, DKIM or DMARC with one server after another, until one run has an
    /// answer to each query. The evaluation itself decides whether it is complete.
    ///
    /// # Errors
    /// The result with each server, if no run is complete.
    pub async fn evaluate<'a, T, E, F>(
        &'a self,
        answers: &'a DnsCache,
        evaluation: impl Fn(&'a MessageAuthenticator, &'a DnsCache) -> F,
    ) -> Result<T, Vec<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let known = answers.count();
            let found = self.0.ask(|server| evaluation(server, answers)).await;
            // While a run gets new answers, the next run may be complete.
            if found.is_ok() || answers.count() == known {
                return found;
            }
        }
    }

    /// Does a host have this kind of record, and which? None if there is no such record or no such
    /// host.
    ///
    /// # Errors
    /// [`LookupError::Unavailable`]
    pub async fn first_ipv4(&self, host: &str) -> Result<Option<Ipv4Addr>, LookupError> {
        let read = |data: &RData| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        };
        match self.lookup(host, RecordType::A, read).await {
            Ok(addresses) => Ok(addresses.into_iter().next()),
            Err(LookupError::NoDomain(_) | LookupError::NoRecords { .. }) => Ok(None),
            Err(error @ LookupError::Unavailable { .. }) => Err(error),
        }
    }

    /// The mail exchangers of a domain, without order. Aliases are followed.
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

    /// The addresses of a host, IPv4 before IPv6: more hosts have broken IPv6 than broken IPv4, and
    /// each failure costs a timeout. If one family cannot be looked up, the other is still
    /// returned.
    ///
    /// # Errors
    /// [`LookupError`] if neither family has an address.
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
        // With the final dot, so that the search list is not used.
        let query = Name::from_ascii(format!("{name}."))
            .map_err(|_| LookupError::NoDomain(name.to_owned()))?;
        let limit = limits::LOOKUP_TIMEOUT;
        let read = &read;
        let question = |server| ask_one(server, query.clone(), records, read);
        match timeout(limit, self.0.ask(question)).await {
            Err(_) => Err(unavailable(format!("no answer within {} seconds", limit.as_secs()))),
            Ok(Ok(Answer::Records(list))) if list.is_empty() => Err(none()),
            Ok(Ok(Answer::Records(list))) => Ok(list),
            Ok(Ok(Answer::NoDomain)) => Err(LookupError::NoDomain(name.to_owned())),
            Ok(Err(errors)) => Err(unavailable(match errors.as_slice() {
                [] => "there is no name server".to_owned(),
                errors => errors.join("; "),
            })),
        }
    }
}

/// Asks one server. An error is a reply without an answer.
async fn ask_one<T>(
    server: &MessageAuthenticator,
    name: Name,
    records: RecordType,
    read: &impl Fn(&RData) -> Option<T>,
) -> Result<Answer<T>, String> {
    match server.0.lookup(name, records).await {
        Ok(found) => {
            let list = found.answers().iter().filter_map(|record| read(&record.data));
            Ok(Answer::Records(list.collect()))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(empty))) => match empty.response_code {
            ResponseCode::NXDomain => Ok(Answer::NoDomain),
            // RFC 2308 section 2.2: name servers without the SOA record are a referral, which comes
            // from a server that does not ask other servers for us.
            ResponseCode::NoError if empty.ns.is_some() && empty.soa.is_none() => {
                Err("a referral to other servers".to_owned())
            }
            ResponseCode::NoError => Ok(Answer::Records(Vec::new())),
            code => Err(code.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}
