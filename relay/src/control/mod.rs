//! How the command line talks to the running daemon: one line of JSON each way over a Unix
//! socket that only its owner may open. A message that is exported follows in pieces.
//!
//! This module carries requests and answers; what they mean is for [`crate::daemon`] to say.

mod client;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use relay_mail::queue_id::QueueId;
use relay_queue::bulk::BulkAction;
use relay_queue::filter::Filter;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{CONTROL_LOOK, CONTROL_TIMEOUT};

pub use client::{ControlError, Exported, ask, export, probe};
pub use server::{ControlHandler, ControlSocket, has_old_socket};

/// What the daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum ControlRequest {
    /// What would become of a message now.
    Explain(Box<QuestionText>),
    /// Does something to messages, [`relay_queue::limits::QUEUE_PAGE_CHANGES`] at most.
    QueueChange {
        /// What.
        change: BulkAction,
        /// Only to those that arrived after this one.
        after: Option<QueueId>,
        /// Only to those that arrived up to this one.
        until: Option<QueueId>,
        /// To which.
        filter: Box<Filter>,
    },
    /// How many messages there are, of [`relay_queue::limits::QUEUE_PAGE_LOOKED_AT`] at most.
    QueueCount {
        /// Those that arrived after this one. `None`: from the oldest.
        after: Option<QueueId>,
        /// Which.
        filter: Box<Filter>,
    },
    /// The bytes of a message. The answer is its envelope; what follows is said at [`export`].
    QueueExport {
        /// Which.
        id: QueueId,
    },
    /// Stops the delivery of a message.
    QueueHold {
        /// Which.
        id: QueueId,
    },
    /// Messages in the queue, oldest first: at most [`relay_queue::limits::QUEUE_PAGE_MESSAGES`].
    QueueList {
        /// Those that arrived after this one. `None`: from the oldest.
        after: Option<QueueId>,
        /// Which.
        filter: Box<Filter>,
        /// How many at most.
        limit: usize,
    },
    /// Lets the delivery of a held message go on.
    QueueRelease {
        /// Which.
        id: QueueId,
    },
    /// One message.
    QueueShow {
        /// Which.
        id: QueueId,
    },
    /// Takes a message out of the queue.
    QueueRemove {
        /// Which.
        id: QueueId,
        /// Is its sender sent a report?
        #[serde(default)]
        report: bool,
    },
    /// Tries a message now.
    QueueRetry {
        /// Which.
        id: QueueId,
    },
    /// Loads the configuration again.
    Reload {
        /// The file that is meant, as an absolute path, where one was named.
        #[serde(default)]
        file: Option<PathBuf>,
    },
    /// What the instance is doing.
    Status,
    /// Has everything that has happened so far been written to the message tracking log? The answer
    /// comes when it has, or cannot be.
    TrackingLogWritten,
}

impl ControlRequest {
    /// Does the daemon change something, whether or not anybody waits for the answer?
    pub(super) const fn is_change(&self) -> bool {
        !matches!(
            self,
            Self::Explain(_)
                | Self::QueueCount { .. }
                | Self::QueueExport { .. }
                | Self::QueueList { .. }
                | Self::QueueShow { .. }
                | Self::Status
                | Self::TrackingLogWritten
        )
    }

    /// How long its answer is waited for.
    pub(super) const fn patience(&self) -> Duration {
        match self {
            Self::QueueCount { .. }
            | Self::QueueList { .. }
            | Self::QueueShow { .. }
            | Self::Status
            | Self::TrackingLogWritten => CONTROL_LOOK,
            // DNS may be asked, disks written, files read.
            Self::Explain(_)
            | Self::QueueChange { .. }
            | Self::QueueExport { .. }
            | Self::QueueHold { .. }
            | Self::QueueRelease { .. }
            | Self::QueueRemove { .. }
            | Self::QueueRetry { .. }
            | Self::Reload { .. } => CONTROL_TIMEOUT,
        }
    }
}

/// A [`relay_explanation::Question`] as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionText {
    /// Where the client connects from.
    pub from: IpAddr,
    /// The local address and port that it connects to.
    pub to_binding: SocketAddr,
    /// What it calls itself.
    pub helo: Option<String>,
    /// Does it start TLS?
    pub tls: bool,
    /// Host names of the certificate that it shows. Empty: it shows none.
    #[serde(default)]
    pub client_certificate: Vec<String>,
    /// The user that it authenticates as.
    pub auth: Option<String>,
    /// Does it ask for SMTPUTF8?
    pub smtputf8: bool,
    /// The sender, in angle brackets.
    pub mail_from: String,
    /// The recipients, in angle brackets.
    pub rcpt_to: Vec<String>,
    /// Octets of the message.
    pub size: Option<u64>,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAnswer {
    /// It could not be done, and why.
    Error(String),
    /// It was done.
    Ok(Value),
}
