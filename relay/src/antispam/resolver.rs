//! The way to DNS: the configured servers or the system's, with bounded patience and memory.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;

use crate::config::Dns;
use crate::limits::{DNS_CACHED_ANSWERS, DNS_LONGEST_CACHED, DNS_QUESTIONS, DNS_RETRIES};

/// Why DNS cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot use DNS: {0}; name servers in [dns], as in servers = [\"127.0.0.1:53\"]")]
pub struct ResolverError(NetError);

/// A resolver for this configuration. Names are asked as they are: neither the search list nor
/// the hosts file of this machine has a say about other people's mail.
pub(super) fn build(dns: &Dns) -> Result<MessageAuthenticator, ResolverError> {
    let servers = match dns.servers.as_slice() {
        [] => read_system_conf().map_err(ResolverError)?.0.name_servers().to_vec(),
        servers => servers
            .iter()
            .map(|&server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                NameServerConfig::new(server.ip(), true, connections)
            })
            .collect(),
    };
    let mut options = ResolverOpts::default();
    options.timeout = dns.timeout;
    options.attempts = DNS_RETRIES;
    options.max_active_requests = DNS_QUESTIONS;
    options.cache_size = DNS_CACHED_ANSWERS;
    options.positive_max_ttl = Some(DNS_LONGEST_CACHED);
    options.negative_max_ttl = Some(DNS_LONGEST_CACHED);
    options.use_hosts_file = ResolveHosts::Never;
    let configuration = ResolverConfig::from_name_servers(servers);
    TokioResolver::builder_with_config(configuration, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map(MessageAuthenticator)
        .map_err(ResolverError)
}
