//! `relay explain`: an explanation that can be sent over the control socket, and the explanation of
//! the running daemon.
//!
//! [`relay_explanation`] makes the decisions. The daemon adds its own state: the rules in force,
//! the answers of other servers, and the use of its limits.

use relay_connector::ClientAddress;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use relay_connector::{
    Connector, ConnectorId, Permission, Principal, RangeId, Standing, TableMatch,
};
use relay_delivery::{Destination, Routes};
use relay_explanation::{ExplainedCommand, Explanation, Question, explain_with};
use relay_kernel::GuardState;
use relay_kernel::classifier::publication;
use relay_mail::hello::HelloName;
use relay_mail::path::{AddressError, ForwardPath, ReversePath};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::reply::SERVICE_NOT_AVAILABLE;
use relay_mail::tls::ClientCertificate;
use relay_mail::user_name::{UserName, UserNameError};
use relay_policy::pressure::PressureLevel;
use relay_policy::{Because, Decision, Peer, Rule};
use relay_server::LimitUse;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::kernel_half::InUse;
use super::running::Daemon;
use super::status::DiskStatus;
use crate::control::QuestionText;

/// The answer to `relay explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explained {
    /// The binding of the connection.
    pub binding: Option<String>,
    /// The connector's name.
    pub connector: Option<String>,
    /// The first line of the connector.
    pub connector_line: Option<u32>,
    /// The selected range, as written.
    pub range: Option<String>,
    /// The line of the range.
    pub range_line: Option<u32>,
    /// Larger ranges that contain the address too.
    pub beaten: Vec<Beaten>,
    /// The principal of the client.
    pub principal: Option<String>,
    /// The user's name, if the client is a user.
    pub user: Option<String>,
    /// The names of the client's permissions, as in Exchange.
    pub permissions: Vec<String>,
    /// The granted and denied permissions, each with its source.
    pub rights: Vec<ExplainedRight>,
    /// The dialogue.
    pub replies: Vec<ExplainedReply>,
    /// Would the message be accepted for every recipient?
    pub accepted: bool,
    /// The route of each recipient.
    pub routes: Vec<ExplainedRoute>,
    /// The state that only a running daemon has.
    pub live: Option<Live>,
}

/// A permission that the client has, or that is denied to the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedRight {
    /// Exchange's name.
    pub permission: String,
    /// Does the client have it?
    pub has: bool,
    /// The group, grant or denial.
    pub because: String,
}

/// A larger range that was not selected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beaten {
    /// The connector.
    pub connector: String,
    /// The range, as written.
    pub range: String,
    /// The line of the range.
    pub line: u32,
}

/// One command, its reply, and the reasons.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedReply {
    /// The command; empty for the greeting.
    pub command: String,
    /// The reply code.
    pub code: u16,
    /// The enhanced status code.
    pub enhanced: Option<String>,
    /// The text, with its line breaks.
    pub text: String,
    /// The rules, in the order in which they were asked.
    pub because: Vec<ExplainedRule>,
}

/// One rule and its finding.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// The rule's name.
    pub rule: String,
    /// The finding.
    pub found: String,
}

/// The route of a message for one recipient.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// The recipient.
    pub recipient: String,
    /// The rule that selected the route.
    pub because: String,
    /// The next hop.
    pub next_hop: String,
    /// `tls` for this next hop; `None` if there is no connection.
    pub tls: Option<String>,
    /// Why the message would wait for the next hop now; `None` if the daemon is not asked or knows
    /// no reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// The state that only a running daemon has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Live {
    /// The generation in force.
    pub generation: u32,
    /// The limits for a connection from this address, and their current use.
    pub limits: Vec<LimitUse>,
    /// The level of back pressure.
    pub pressure: PressureLevel,
    /// The disk of the queue; `None` if it cannot be read.
    pub disk: Option<DiskStatus>,
    /// The guard in the kernel; `None` if no guard is attached.
    pub guard: Option<GuardLive>,
}

/// The effect of the guard on SYNs of a connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuardLive {
    /// SYNs dropped since the start of the daemon, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The key because of which the guard would drop a SYN of this client now; `None` if it would
    /// not.
    pub drops: Option<String>,
}

impl Explained {
    /// Converts an explanation to text.
    pub fn new(explanation: &Explanation) -> Self {
        let connector = explanation.connector.as_ref();
        let range = connector.and_then(|(connector, id)| connector.range(*id));
        let peer = explanation.peer.as_ref();
        Self {
            binding: explanation.binding.map(|binding| binding.to_string()),
            connector: connector.map(|(connector, _)| connector.name.clone()),
            connector_line: connector.map(|(connector, _)| connector.line),
            range: range.map(|range| range.text().to_owned()),
            range_line: range.map(|range| range.line),
            beaten: explanation.beaten.iter().filter_map(beaten).collect(),
            principal: peer.map(|peer| peer.principal.to_string()),
            user: peer.and_then(Peer::user_name).map(ToString::to_string),
            permissions: peer.map_or_else(Vec::new, permissions),
            rights: peer.map_or_else(Vec::new, |peer| {
                rights(&peer.connector, peer.principal, peer.user_name())
            }),
            replies: explanation.steps.iter().filter(|step| !step.is_implied).map(reply).collect(),
            accepted: explanation.accepted,
            routes: Vec::new(),
            live: None,
        }
    }

    /// Adds the route of each recipient, and the daemon's knowledge of the next hops.
    pub fn with_routes(
        self,
        routes: &Routes,
        question: &Question,
        waits: impl Fn(&Destination) -> Option<String>,
    ) -> Self {
        let explain = |recipient: &ForwardPath| {
            let because = match routes.route(&question.sender, recipient) {
                Some(route) => format!("[[route]] (line {})", route.line),
                None => "[delivery]".to_owned(),
            };
            let destination = routes.destination(&question.sender, recipient);
            let tls = match &destination {
                Destination::SmartHosts(_) | Destination::Exchangers { .. } => {
                    Some(destination.security().tls.to_string())
                }
                Destination::Maildir(_) | Destination::Nowhere => None,
            };
            let next_hop = match destination.protocol() {
                DeliveryProtocol::Smtp => destination.to_string(),
                DeliveryProtocol::Lmtp => format!("{destination} (LMTP)"),
            };
            let waits = waits(&destination);
            ExplainedRoute { recipient: recipient.to_string(), because, next_hop, tls, waits }
        };
        Self { routes: question.recipients.iter().map(explain).collect(), ..self }
    }
}

fn permissions(peer: &Peer) -> Vec<String> {
    peer.permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// The permissions of a principal on a connector, and those that `denies` removes.
pub fn rights(
    connector: &Connector,
    principal: Principal,
    user: Option<&UserName>,
) -> Vec<ExplainedRight> {
    let right = |&permission: &Permission| {
        let standing = connector.source_of_permission(principal, user, permission);
        let has = match standing {
            Standing::Granted(_) => true,
            Standing::Denied { .. } => false,
            Standing::NotGranted => return None,
        };
        let (permission, because) = (permission.name().to_owned(), standing.describe(principal));
        Some(ExplainedRight { permission, has, because })
    };
    Permission::ALL.iter().filter_map(right).collect()
}

fn beaten((connector, id): &(Arc<Connector>, RangeId)) -> Option<Beaten> {
    let range = connector.range(*id)?;
    let (connector, line) = (connector.name.clone(), range.line);
    Some(Beaten { connector, range: range.text().to_owned(), line })
}

fn reply(ExplainedCommand { command, decision, .. }: &ExplainedCommand) -> ExplainedReply {
    let reply = &decision.reply;
    let because = decision.because.iter().map(|Because { rule, found }| ExplainedRule {
        rule: rule.to_string(),
        found: found.clone(),
    });
    ExplainedReply {
        command: command.clone(),
        code: reply.code,
        enhanced: reply.enhanced.map(|enhanced| enhanced.to_string()),
        text: reply.text.clone().into_owned(),
        because: because.collect(),
    }
}

/// A client certificate with these names, which counts as verified.
pub fn certificate(names: Vec<String>) -> Option<ClientCertificate> {
    (!names.is_empty()).then(|| ClientCertificate {
        names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        by_partners_ca: Ok(()),
        by_fleet_ca: Ok(()),
    })
}

/// Why the daemon cannot explain what would happen to a message.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// An address is not valid.
    #[error("{path}: {error}")]
    Path {
        /// The text.
        path: String,
        /// The problem.
        error: AddressError,
    },
    /// The user's name is not valid.
    #[error("auth: {0}")]
    UserName(UserNameError),
    /// The task that explains has failed.
    #[error("the explanation was not completed")]
    Incomplete(#[source] tokio::task::JoinError),
}

impl TryFrom<QuestionText> for Question {
    type Error = ExplainError;

    fn try_from(text: QuestionText) -> Result<Self, ExplainError> {
        let wrong = |path: &str, error| ExplainError::Path { path: path.to_owned(), error };
        let recipient =
            |path: &String| ForwardPath::parse(path).map_err(|error| wrong(path, error));
        let auth: Result<Option<UserName>, _> = text.auth.as_deref().map(str::parse).transpose();
        Ok(Self {
            remote: text.from.into(),
            local: text.to_binding,
            helo: text.helo.as_deref().map(HelloName::read),
            tls: text.tls,
            client_certificate: certificate(text.client_certificate),
            auth: auth.map_err(ExplainError::UserName)?,
            smtputf8: text.smtputf8,
            sender: ReversePath::parse(&text.mail_from)
                .map_err(|error| wrong(&text.mail_from, error))?,
            recipients: text.rcpt_to.iter().map(recipient).collect::<Result<_, _>>()?,
            size: text.size,
        })
    }
}

impl Daemon {
    /// Explains what would happen to a message now. Asks the same servers as a session.
    ///
    /// # Errors
    /// The question cannot be read, or the explanation panicked.
    pub(super) async fn explain(
        self: Arc<Self>,
        question: QuestionText,
    ) -> Result<Explained, ExplainError> {
        let question = Question::try_from(question)?;
        let rules = self.classifier.rules();
        let (id, range) = match rules.table.classify(question.local, question.remote) {
            TableMatch::Connector { connector, range } => (Some(connector), Some(range)),
            TableMatch::NoBinding | TableMatch::NoConnector => (None, None),
        };
        let connector = id.and_then(|id| rules.connector(id));
        let limits = id.zip(connector).map(|(id, connector)| {
            let range = range.and_then(|range| connector.range(range));
            self.server.limits_of(id, &connector.limits, range, question.remote)
        });
        let mut host = self.server.host_state(question.local, question.remote);
        let interfaces = self.guarded_interfaces().await;
        let is_guarded = interfaces.iter().any(|it| matches!(it.state, GuardState::Attached(_)));
        let guard = id.filter(|_| is_guarded);
        let guard = guard.and_then(|id| self.guard(id, connector, question.remote));
        if let Some(rule) = guard.as_ref().and_then(|guard| guard.drops.as_deref()) {
            host.connection = Some(dropped_by_guard(rule));
        }
        let disk = DiskStatus::of(&self.queue).await;
        // A session measures free space at DATA, so do not rely on the last measurement.
        host.storage = self.queue.store().accepts().await;
        let live = Live {
            generation: rules.generation,
            limits: limits.unwrap_or_default(),
            pressure: self.server.back_pressure().pressure().level,
            disk,
            guard,
        };
        let outlook = self.outlook.load_full();
        // The explanation runs step by step and waits for answers, so it needs its own thread.
        let runtime = Handle::current();
        let explaining = tokio::task::spawn_blocking(move || {
            let (id, remote) = (id.unwrap_or(ConnectorId::NONE), question.remote);
            let find_out =
                &mut |inquiry| runtime.block_on(self.server.find_out(inquiry, id, remote));
            let explained =
                Explained::new(&explain_with(Instant::now(), &rules, &question, &host, find_out));
            let waits = |hop: &_| outlook.hops.status_of(hop)?.reason(super::queue::moment);
            explained.with_routes(&outlook.routes, &question, waits)
        });
        let explained = explaining.await.map_err(ExplainError::Incomplete)?;
        Ok(Explained { live: Some(live), ..explained })
    }

    /// The effect of the guard on a SYN of this client.
    fn guard(
        &self,
        id: ConnectorId,
        connector: Option<&Arc<Connector>>,
        client: ClientAddress,
    ) -> Option<GuardLive> {
        let InUse::Kernel(kernel) = &self.kernel else { return None };
        let counters = kernel.counters.connector(id).ok();
        let dropped = counters.iter().flat_map(|counters| counters.named());
        let dropped = dropped
            .filter(|(name, _)| SYNS_DROPPED.contains(name))
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        let entry = publication::guarded(connector?);
        let drops = kernel.buckets.drops(id, &entry, client.ip()).map(ToOwned::to_owned);
        Some(GuardLive { dropped, drops })
    }
}

/// The counters of SYNs that the guard dropped.
const SYNS_DROPPED: [&str; 3] = ["syn_refused", "syn_over_budget", "syn_over_source_budget"];

/// The explanation of a SYN that the guard drops: no reply at all.
fn dropped_by_guard(rule: &str) -> Decision {
    let found =
        format!("the guard drops the client's SYN because of {rule}: the client gets no answer");
    Decision::new(SERVICE_NOT_AVAILABLE, Rule::Guard, found)
}
