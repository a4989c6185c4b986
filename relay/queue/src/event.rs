//! The events of messages in the queue, and their observer.
//!
//! The queue and delivery make the events; an [`Observer`], such as the message tracking log,
//! decides what to do with them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Entry;
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;

/// Observes what happens to messages.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Does the observer want events now? If not, none is made.
    fn is_listening(&self) -> bool;

    /// An event of a message. The caller is working on the message, so the observer must not wait.
    fn observe(&self, id: QueueId, event: QueueEvent);
}

/// One thing that happened to one message.
#[derive(Debug)]
pub enum QueueEvent {
    /// The message was offered to a next hop.
    Attempted(Box<Attempt>),
    /// Its time was over for these recipients.
    Expired(Vec<(ForwardPath, OutcomeReason)>),
    /// Its sender is sent a report.
    Reported {
        /// The id of the report, which is a message of its own.
        report: QueueId,
        /// The recipient of the report.
        sender: ReversePath,
        /// The recipients that the report is about.
        recipients: Vec<ForwardPath>,
    },
    /// An administrator changed something.
    Administered(AdminAction),
    /// A part of the message could not be read at a start; the message left the queue undelivered.
    Damaged {
        /// The damage.
        what: String,
        /// Where its octets are kept for an administrator.
        set_aside: Option<PathBuf>,
    },
    /// The message has left the queue.
    Ended,
}

/// An action of an administrator on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAction {
    /// Stop its delivery.
    Hold,
    /// Let its delivery go on.
    Release,
    /// Remove the message from the queue.
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
    /// The connection of the attempt; none if no connection could be opened.
    pub connection: Option<Arc<NextHopConnection>>,
    /// The outcome of each recipient that was tried, by its index.
    pub outcomes: Vec<(usize, Outcome)>,
}

/// The facts about a connection to a next hop.
#[derive(Debug)]
pub struct NextHopConnection {
    /// The other end.
    pub address: SocketAddr,
    /// Protocol and cipher suite, where there is TLS.
    pub tls: Option<String>,
}
