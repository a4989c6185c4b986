//! What can happen to a message, as those who see it tell it: typed, and cheap to hand over.
//! Texts are made of it by whoever writes the log, in [`super::line`].

use relay_connector::Connection;
use std::sync::Arc;
use std::time::SystemTime;

use relay_connector::Principal;
use relay_kernel::classifier::{ConnectorChoice, DecidedBy};
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_mail::tls::TlsInfo;
use relay_queue::event::{MessageStorage, QueueEvent};
use relay_session::{Decisions, Refused};
use relay_users::User;

/// One thing that happened to one message.
#[derive(Debug)]
pub struct TrackingEvent {
    /// When.
    pub at: SystemTime,
    /// To which message; `None` for a refusal, of which none has come.
    pub id: Option<QueueId>,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Debug)]
pub enum Happening {
    /// A session brought a message, and the queue keeps it.
    Received(Box<Receipt>),
    /// Something happened to a message in the queue.
    Queue(QueueEvent),
    /// A connection, a command or a message was refused, or a session broke off.
    Refused(Box<RefusalEvent>),
}

impl From<QueueEvent> for Happening {
    fn from(event: QueueEvent) -> Self {
        Self::Queue(event)
    }
}

/// How a message came.
#[derive(Debug)]
pub struct Receipt {
    /// The name of its session, as the protocol log has it.
    pub session: u64,
    /// The addresses of its connection.
    pub connection: Connection,
    /// The connector and its range.
    pub connector: Option<ConnectorChoice>,
    /// The generation whose rules held.
    pub generation: u32,
    /// By whose word it was that connector.
    pub decided_by: DecidedBy,
    /// Who the client was.
    pub principal: Principal,
    /// The user that it was.
    pub user: Option<Arc<User>>,
    /// What it called itself.
    pub hello: Option<String>,
    /// The encryption.
    pub tls: Option<TlsInfo>,
    /// What the client's certificate was worth.
    pub client_certificate: Option<String>,
    /// AUTH= of MAIL, where it was believed.
    pub submitter: Option<String>,
    /// The sender.
    pub sender: ReversePath,
    /// What was decided, by command.
    pub decisions: Decisions,
    /// Octets of the message as it is kept.
    pub size: u64,
    /// Where it is kept.
    pub kept: MessageStorage,
    /// Has the client been told that it is kept? Else the queue took too long: it may be.
    pub answered: bool,
}

/// Who was refused, and what.
#[derive(Debug)]
pub struct RefusalEvent {
    /// The name of the session; `None` for a connection that got none.
    pub session: Option<u64>,
    /// The addresses of its connection.
    pub connection: Connection,
    /// The connector's name.
    pub connector: Option<String>,
    /// Who the client was; `None` for a connection that got no session.
    pub principal: Option<Principal>,
    /// The user that it was.
    pub user: Option<Arc<User>>,
    /// What it called itself.
    pub hello: Option<String>,
    /// What was refused, and why.
    pub refused: Refused,
    /// Refusals of this source since the last one that is recorded.
    pub suppressed: u64,
}

impl TrackingEvent {
    /// About how much memory it takes, in octets: what it points to is taken for as much as it has
    /// on average.
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
