//! The inquiries of the checks: what they are asked about a client, its sender and its message.

use relay_connector::ClientAddress;
use relay_mail::path::{Domain, ReversePath};

use crate::finding::{
    DkimFinding, DmarcFinding, ListFinding, ListVerdict, MessageFound, RspamdFinding, SenderFound,
    SpfFinding, SpfIdentity, SpfResult,
};

/// The client as the checks see it. Only SPF uses its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it connects from.
    pub address: ClientAddress,
    /// Its name in EHLO.
    pub hello: String,
    /// The user as which it authenticated.
    pub user: Option<String>,
}

/// The inquiry about client and sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderQuestion {
    /// The client.
    pub client: Client,
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// The zones that the client's address is looked up in.
    pub block_lists: Vec<Domain>,
    /// Does SPF run?
    pub spf: bool,
}

/// The inquiry about a message that is in the queue and not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageQuestion {
    /// The client.
    pub client: Client,
    /// The finding of SPF at MAIL, if it ran.
    pub spf: Option<SpfFinding>,
    /// Are signatures verified? They are if `dmarc` runs.
    pub dkim: bool,
    /// Does DMARC run?
    pub dmarc: bool,
    /// Does Rspamd run?
    pub rspamd: bool,
}

impl SenderQuestion {
    /// The identity that SPF checks, and its domain.
    pub fn identity(&self) -> (SpfIdentity, String) {
        match &self.sender {
            ReversePath::Mailbox(mailbox) => {
                let domain = mailbox.domain().map(Domain::ascii).unwrap_or_default();
                (SpfIdentity::MailFrom, domain.to_owned())
            }
            ReversePath::Null => (SpfIdentity::Helo, self.client.hello.clone()),
        }
    }

    /// The findings if no answer is available.
    pub fn unavailable(&self, why: &str) -> SenderFound {
        let unavailable = |zone: &Domain| {
            let verdict = ListVerdict::Unavailable(why.to_owned());
            ListFinding { zone: zone.clone(), verdict }
        };
        let (identity, domain) = self.identity();
        let spf = SpfFinding { result: SpfResult::TempError, identity, domain };
        SenderFound {
            block_lists: self.block_lists.iter().map(unavailable).collect(),
            spf: self.spf.then_some(spf),
        }
    }
}

impl MessageQuestion {
    /// The findings if no answer is available.
    pub fn unavailable(&self, why: &str) -> MessageFound {
        MessageFound {
            dkim: self.dkim.then(|| DkimFinding::Unavailable(why.to_owned())),
            dmarc: self.dmarc.then(|| DmarcFinding::unavailable(why)),
            rspamd: self.rspamd.then(|| RspamdFinding::Unavailable(why.to_owned())),
        }
    }
}
