//! Asks DNS and Rspamd about a client, a sender and a message.
//!
//! This module finds facts and makes no decisions: `relay_policy::antispam` decides when a check
//! runs and what its finding means. Every query has a deadline within
//! `relay_session::limits::INQUIRY_WAIT`, and every error is a finding too.
//!
//! [`relay_dns`] looks up names for [`block_list`], [`spf`], [`dkim`] and [`dmarc`], and [`rspamd`]
//! uses HTTP.

mod block_list;
mod dkim;
mod dmarc;
pub mod limits;
mod rspamd;
mod spf;

use crate::rspamd::Rspamd;
use futures_util::future::join_all;
use relay_dns::{self, Dns};
use relay_message::finding::{MessageFound, SenderFound};
use relay_message::question::{MessageQuestion, SenderQuestion};
use relay_queue::Incoming;
use tokio::join;

pub use crate::rspamd::{Endpoint, RspamdSettings};
pub use relay_dns::ResolverError;

/// The settings of the checks.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// `hostname`: the name of this host in SPF macros.
    pub hostname: String,
    /// `[dns]`; `None` if no check needs DNS.
    pub dns: Option<relay_dns::DnsSettings>,
    /// `[rspamd]`.
    pub rspamd: Option<RspamdSettings>,
}

/// The servers of the checks.
pub struct Checks {
    hostname: String,
    /// Absent if no check needs it.
    dns: Option<Dns>,
    /// `[rspamd]`.
    rspamd: Option<Rspamd>,
}

impl Checks {
    /// The servers of this configuration.
    ///
    /// # Errors
    /// DNS is needed, but neither the configuration nor the system has name servers.
    pub fn new(settings: CheckSettings) -> Result<Self, ResolverError> {
        Ok(Self {
            hostname: settings.hostname,
            dns: settings.dns.as_ref().map(Dns::new).transpose()?,
            rspamd: settings.rspamd.map(Rspamd::new),
        })
    }

    /// No servers: every check is unavailable.
    pub fn disabled() -> Self {
        Self { hostname: String::new(), dns: None, rspamd: None }
    }

    /// Checks client and sender. All checks run at the same time.
    pub async fn sender(&self, question: &SenderQuestion) -> SenderFound {
        let Some(dns) = &self.dns else { return question.unavailable("there is no resolver") };
        let address = question.client.address.ip();
        let lists = question.block_lists.iter();
        let block_lists = join_all(lists.map(|zone| block_list::ask(dns, zone, address)));
        let spf = async {
            match question.spf {
                true => Some(spf::ask(dns, &self.hostname, question).await),
                false => None,
            }
        };
        let (block_lists, spf) = join!(block_lists, spf);
        SenderFound { block_lists, spf }
    }

    /// Checks a message in the queue.
    pub async fn message(&self, question: &MessageQuestion, message: &Incoming) -> MessageFound {
        let signatures = async {
            match &self.dns {
                _ if !question.dkim && !question.dmarc => (None, None),
                Some(dns) => dkim::ask(dns, question, message).await,
                None => {
                    let found = question.unavailable("there is no resolver");
                    (found.dkim, found.dmarc)
                }
            }
        };
        let rspamd = async {
            match &self.rspamd {
                _ if !question.rspamd => None,
                Some(rspamd) => Some(rspamd.ask(&question.client, message).await),
                None => question.unavailable("[rspamd] is no longer configured").rspamd,
            }
        };
        let ((dkim, dmarc), rspamd) = join!(signatures, rspamd);
        MessageFound { dkim, dmarc, rspamd }
    }
}
