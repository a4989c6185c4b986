//! The events of messages, in the form in which they are reported: typed, and cheap to send. The
//! writer of the log makes texts of them, in [`super::line`].

use std::sync::Arc;
use std::time::SystemTime;

use relay_connector::Connection;
use relay_connector::Principal;
use relay_kernel::classifier::{ConnectorChoice, DecidedBy};
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_mail::tls::TlsInfo;
use relay_queue::event::{MessageStorage, QueueEvent};
use relay_session::{Decisions, Refused};
use relay_users::User;

/// One event of one message.
#[derive(Debug)]
pub struct TrackingEvent {
    /// The time.
    pub at: SystemTime,
    /// The message; `None` for a refusal, after which there is no message.
    pub id: Option<QueueId>,
    /// The event.
    pub what: Happening,
}

/// The kind of an event.
#[derive(Debug)]
pub enum Happening {
    /// A session received a message, and the queue stored it.
    Received(Box<Receipt>),
    /// The queue changed or delivered a message.
    Queue(QueueEvent),
    /// A connection, a command or a message was refused, or a session ended early.
    Refused(Box<RefusalEvent>),
}

impl From<QueueEvent> for Happening {
    fn from(event: QueueEvent) -> Self {
        Self::Queue(event)
    }
}

/// The reception of a message.
#[derive(Debug)]
pub struct Receipt {
    /// The name of the session in the protocol log.
    pub session: u64,
    /// The addresses of its connection.
    pub connection: Connection,
    /// The connector and its range.
    pub connector: Option<ConnectorChoice>,
    /// The generation of the session's rules.
    pub generation: u32,
    /// The classifier that selected the connector.
    pub decided_by: DecidedBy,
    /// The principal of the client.
    pub principal: Principal,
    /// The user, if the client authenticated.
    pub user: Option<Arc<User>>,
    /// The client's name in EHLO.
    pub hello: Option<String>,
    /// The encryption.
    pub tls: Option<TlsInfo>,
    /// The result of the check of the client's certificate.
    pub client_certificate: Option<String>,
    /// AUTH= of MAIL, if it was trusted.
    pub submitter: Option<String>,
    /// The sender.
    pub sender: ReversePath,
    /// The decisions, by command.
    pub decisions: Decisions,
    /// Octets of the stored message.
    pub size: u64,
    /// The place of storage.
    pub kept: MessageStorage,
    /// Has the client got the reply?
    pub confirmation: Confirmation,
}

/// Does the client of a stored message know that it is stored?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It got the reply.
    Sent,
    /// The queue was too slow: the client got another reply, and the message may be stored.
    TooLate,
}

/// The refused client, and the refused request.
#[derive(Debug)]
pub struct RefusalEvent {
    /// The name of the session; `None` for a connection without a session.
    pub session: Option<u64>,
    /// The addresses of its connection.
    pub connection: Connection,
    /// The connector's name.
    pub connector: Option<String>,
    /// The principal of the client; `None` for a connection without a session.
    pub principal: Option<Principal>,
    /// The user, if the client authenticated.
    pub user: Option<Arc<User>>,
    /// The client's name in EHLO.
    pub hello: Option<String>,
    /// The refused request, and the reason.
    pub refused: Refused,
    /// Refusals of this source since its last recorded refusal.
    pub suppressed: u64,
}

impl TrackingEvent {
    /// Approximate octets of memory; referenced objects count with their average size.
    pub fn octets(&self) -> usize {
        const MESSAGE: usize = 1024;
        const RECIPIENT: usize = 512;
        let recipients = match &self.what {
            Happening::Received(receipt) => receipt.decisions.list.len(),
            Happening::Queue(QueueEvent::Attempted(attempt)) => attempt.outcomes.len(),
            Happening::Queue(QueueEvent::Expired(recipients)) => recipients.len(),
            Happening::Queue(QueueEvent::Reported { recipients, .. }) => recipients.len(),
            Happening::Refused(refusal) => refusal.refused.recipients.len(),
            Happening::Queue(
                QueueEvent::Damaged { .. } | QueueEvent::Administered(_) | QueueEvent::Ended,
            ) => {
                return MESSAGE / 4;
            }
        };
        MESSAGE + recipients * RECIPIENT
    }
}
