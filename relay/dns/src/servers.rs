//! The name servers are asked one after the other, until one has an answer.
//!
//! The resolver library accepts the first reply of any server as the answer, even an error. So here
//! each server has its own resolver, and after an error the next server is asked.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::DnsSettings;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::limits;

/// All name servers. Clones share connections and caches.
#[derive(Clone)]
pub(super) struct NameServers(Arc<[Server]>);

struct Server {
    /// Its resolver, and the verifier of SPF, DKIM and DMARC that uses it.
    resolver: MessageAuthenticator,
    /// The time of its last failure, if it has not answered since.
    failed: Mutex<Option<Instant>>,
}

impl NameServers {
    /// The servers of the configuration, or of the system. Names are asked without the search list
    /// and the hosts file of this host, which must not affect foreign mail.
    pub(super) fn new(dns: &DnsSettings) -> Result<Self, NetError> {
        let servers = match dns.servers.as_slice() {
            [] => read_system_conf()?.0.name_servers().to_vec(),
            servers => servers.iter().map(name_server).collect(),
        };
        let servers: Vec<_> = servers.into_iter().take(limits::DNS_SERVERS).collect();
        let cached = limits::DNS_CACHED_ANSWERS / servers.len().max(1) as u64;
        let server = |server| Server::new(server, dns.timeout, cached);
        Ok(Self(servers.into_iter().map(server).collect::<Result<_, _>>()?))
    }

    /// The first answer. An error of one server is not final; while a slow server is waited for,
    /// the next one is asked too; and a server that failed lately is asked after the others.
    ///
    /// # Errors
    /// The error of each server; empty if there is no server.
    pub(super) async fn ask<'a, T, E, F>(
        &'a self,
        question: impl Fn(&'a MessageAuthenticator) -> F,
    ) -> Result<T, Vec<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut servers: Vec<_> = self.0.iter().collect();
        // The sort is stable: equal servers stay in the order of the configuration.
        servers.sort_by_key(|server| server.has_failed());
        let mut servers = servers.into_iter();
        let mut asked = FuturesUnordered::new();
        // In the order in which the servers were asked.
        let mut silent: Vec<&Server> = Vec::new();
        let mut errors = Vec::new();
        loop {
            if let Some(server) = servers.next() {
                let answer = question(&server.resolver);
                asked.push(async move { (server, answer.await) });
                silent.push(server);
            }
            let replied = if servers.len() == 0 {
                asked.next().await
            } else {
                match timeout(limits::DNS_NEXT_SERVER, asked.next()).await {
                    Ok(replied) => replied,
                    Err(_) => continue,
                }
            };
            let Some((server, reply)) = replied else { return Err(errors) };
            let place = silent.iter().position(|it| std::ptr::eq(*it, server));
            match reply {
                Ok(answer) => {
                    server.remember(None);
                    let slower = silent.iter().take(place.unwrap_or_default());
                    slower.for_each(|it| it.remember(Some(Instant::now())));
                    return Ok(answer);
                }
                Err(error) => {
                    server.remember(Some(Instant::now()));
                    errors.push(error);
                    place.map(|place| silent.remove(place));
                }
            }
        }
    }
}

impl Server {
    fn new(server: NameServerConfig, timeout: Duration, cached: u64) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = limits::DNS_RETRIES;
        options.max_active_requests = limits::DNS_QUESTIONS;
        options.cache_size = cached;
        options.positive_max_ttl = Some(limits::DNS_LONGEST_CACHED);
        options.negative_max_ttl = Some(limits::DNS_LONGEST_CACHED);
        options.use_hosts_file = ResolveHosts::Never;
        let configuration = ResolverConfig::from_name_servers(vec![server]);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(configuration, provider);
        let resolver = MessageAuthenticator(builder.with_options(options).build()?);
        Ok(Self { resolver, failed: Mutex::default() })
    }

    fn has_failed(&self) -> bool {
        let failed = *self.failed.lock();
        failed.is_some_and(|at| at.elapsed() < limits::DNS_SERVER_PAUSE)
    }

    fn remember(&self, failed: Option<Instant>) {
        *self.failed.lock() = failed;
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}
