//! The protocol between the command line and the running daemon: one line of JSON each way over a
//! Unix socket that only its owner may open. An exported message follows in pieces.
//!
//! This module transports requests and answers; [`crate::daemon`] carries them out.

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

/// A request to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Explain what would happen to a message now.
    Explain(Box<QuestionText>),
    /// Changes messages, at most [`relay_queue::limits::QUEUE_PAGE_CHANGES`].
    QueueChange {
        /// The change.
        change: BulkAction,
        /// Only messages that arrived after this one.
        after: Option<QueueId>,
        /// Only messages that arrived up to this one.
        until: Option<QueueId>,
        /// The messages.
        filter: Box<Filter>,
    },
    /// Counts messages, and looks at most at [`relay_queue::limits::QUEUE_PAGE_LOOKED_AT`].
    QueueCount {
        /// Only messages that arrived after this one. `None`: from the oldest.
        after: Option<QueueId>,
        /// The messages.
        filter: Box<Filter>,
    },
    /// The octets of a message. The answer is its envelope; the octets follow as [`export`]
    /// describes.
    QueueExport {
        /// The message.
        id: QueueId,
    },
    /// Holds a message.
    QueueHold {
        /// The message.
        id: QueueId,
    },
    /// Messages in the queue, oldest first: at most [`relay_queue::limits::QUEUE_PAGE_MESSAGES`].
    QueueList {
        /// Only messages that arrived after this one. `None`: from the oldest.
        after: Option<QueueId>,
        /// The messages.
        filter: Box<Filter>,
        /// The most messages in the answer.
        limit: usize,
    },
    /// Releases a held message.
    QueueRelease {
        /// The message.
        id: QueueId,
    },
    /// Shows one message.
    QueueShow {
        /// The message.
        id: QueueId,
    },
    /// Removes a message from the queue.
    QueueRemove {
        /// The message.
        id: QueueId,
        /// Does the sender get a report?
        #[serde(default)]
        report: bool,
    },
    /// Retries a message now.
    QueueRetry {
        /// The message.
        id: QueueId,
    },
    /// Loads the configuration again.
    Reload {
        /// The absolute path of the file that the administrator named, if any.
        #[serde(default)]
        file: Option<PathBuf>,
    },
    /// The state of the daemon.
    Status,
    /// Have all events so far been written to the message tracking log? The answer comes when they
    /// are written, or cannot be written.
    TrackingLogWritten,
}

impl ControlRequest {
    /// Does the request change something, even if no client waits for the answer?
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

    /// How long a client waits for the answer.
    pub(super) const fn patience(&self) -> Duration {
        match self {
            Self::QueueCount { .. }
            | Self::QueueList { .. }
            | Self::QueueShow { .. }
            | Self::Status
            | Self::TrackingLogWritten => CONTROL_LOOK,
            // The daemon may need DNS, disks and files.
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
    /// The client's address.
    pub from: IpAddr,
    /// The local address and port of the connection.
    pub to_binding: SocketAddr,
    /// The client's name in EHLO.
    pub helo: Option<String>,
    /// Does the client start TLS?
    pub tls: bool,
    /// Host names of the client's certificate. Empty: the client shows none.
    #[serde(default)]
    pub client_certificate: Vec<String>,
    /// The user as which the client authenticates.
    pub auth: Option<String>,
    /// Does the client ask for SMTPUTF8?
    pub smtputf8: bool,
    /// The sender, in angle brackets.
    pub mail_from: String,
    /// The recipients, in angle brackets.
    pub rcpt_to: Vec<String>,
    /// Octets of the message.
    pub size: Option<u64>,
}

/// An answer of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAnswer {
    /// The request failed, for this reason.
    Error(String),
    /// The request was carried out.
    Ok(Value),
}

/// The value of [`ControlAnswer::Ok`]. Answers consist of strings, numbers and maps with string keys, all
/// of which JSON can express.
pub fn as_value(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
