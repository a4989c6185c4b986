//! Asks DNS and Rspamd what the policy wants to know of a client, a sender and a message.
//!
//! This module finds facts and judges none of them: what becomes of a finding is for
//! `relay_policy::antispam`, when it is asked for, too. Every question has a deadline of its own
//! within `relay_session::limits::INQUIRY_WAIT`, and whatever goes wrong is an answer that says so.
//!
//! [`relay_dns`] is the way to DNS, [`block_list`], [`spf`], [`dkim`] and [`dmarc`] ask it, and
//! [`rspamd`] speaks HTTP.

mod block_list;
mod dkim;
mod dmarc;
pub mod limits;
mod rspamd;
mod spf;

use crate::rspamd::Rspamd;
use futures_util::future::join_all;
use relay_dns::{self, Dns};
use relay_message::finding::{MessageFound, MessageQuestion, SenderFound, SenderQuestion};
use relay_queue::Incoming;
use tokio::join;

pub use crate::rspamd::{Endpoint, RspamdSettings};
pub use relay_dns::ResolverError;

/// What the checks need to know of a configuration.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// `hostname`: what SPF macros call this host.
    pub hostname: String,
    /// `[dns]`; `None` where no check of the configuration needs DNS.
    pub dns: Option<relay_dns::DnsSettings>,
    /// `[rspamd]`.
    pub rspamd: Option<RspamdSettings>,
}

/// Whoever can be asked.
pub struct Checks {
    hostname: String,
    /// Absent where no check of the configuration needs it.
    dns: Option<Dns>,
    /// `[rspamd]`.
    rspamd: Option<Rspamd>,
}

impl Checks {
    /// Those that this configuration asks.
    ///
    /// # Errors
    /// DNS is needed, no servers are configured, and the system's own configuration does not
    /// name any.
    pub fn new(settings: CheckSettings) -> Result<Self, ResolverError> {
        Ok(Self {
            hostname: settings.hostname,
            dns: settings.dns.as_ref().map(Dns::new).transpose()?,
            rspamd: settings.rspamd.map(Rspamd::new),
        })
    }

    /// Nobody is asked, and nothing is found out.
    pub fn disabled() -> Self {
        Self { hostname: String::new(), dns: None, rspamd: None }
    }

    /// What is found about client and sender. Everything is asked at the same time.
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

    /// What is found about a message that is with the queue.
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
                None => question.unavailable("[rspamd] is gone").rspamd,
            }
        };
        let ((dkim, dmarc), rspamd) = join!(signatures, rspamd);
        MessageFound { dkim, dmarc, rspamd }
    }
}
