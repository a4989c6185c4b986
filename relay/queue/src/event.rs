//! The events of messages in the queue, and who is told of them.
//!
//! The queue and delivery make the events; an [`Observer`], such as the message tracking log, decides
//! what becomes of them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Entry;
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;

/// Who is told what happens to messages.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Does it want events at the moment? Otherwise none is made.
    fn is_listening(&self) -> bool;

    /// An event of a message. It is called while the message is worked on, so it must not wait.
    fn observe(&self, id: QueueId, event: QueueEvent);
}

/// One thing that happened to one message.
#[derive(Debug)]
pub enum QueueEvent {
    /// A next hop was asked to take it.
    Attempted(Box<Attempt>),
    /// Its time was over for these recipients.
    Expired(Vec<(ForwardPath, OutcomeReason)>),
    /// Its sender is sent a report.
    Reported {
        /// The id of the report, which is a message of its own.
        report: QueueId,
        /// Whom the report is for.
        sender: ReversePath,
        /// The recipients that it tells of.
        recipients: Vec<ForwardPath>,
    },
    /// An administrator changed something.
    Administered(AdminAction),
    /// A part of it could not be read at a start, and it left the queue undelivered.
    Damaged {
        /// What is wrong.
        what: String,
        /// Where its octets are kept for an administrator.
        set_aside: Option<PathBuf>,
    },
    /// It has left the queue.
    Ended,
}

/// What an administrator may do to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAction {
    /// Stop its delivery.
    Hold,
    /// Let its delivery go on.
    Release,
    /// Take it out of the queue.
    Remove,
    /// Try it now.
    Retry,
}

/// Where the queue keeps a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStorage {
    /// In its database, with the envelope.
    Database,
    /// In a file of its own, since it is large.
    File,
}

/// An attempt at one next hop.
#[derive(Debug)]
pub struct Attempt {
    /// The message as it was before.
    pub entry: Arc<Entry>,
    /// The next hop, as it was configured or found.
    pub next_hop: String,
    /// Is it a Maildir of this host?
    pub is_local: bool,
    /// The connection that it was asked on; none where there was no way to have one.
    pub connection: Option<Arc<NextHopConnection>>,
    /// What became of each recipient that was tried, by its place.
    pub outcomes: Vec<(usize, Outcome)>,
}

/// What is known of a connection to a next hop.
#[derive(Debug)]
pub struct NextHopConnection {
    /// The other end.
    pub address: SocketAddr,
    /// Protocol and cipher suite, where there is TLS.
    pub tls: Option<String>,
}
