//! What would happen to a message? An imagined session gives the answer.
//!
//! The session is the same as for real clients, played by [`Player`](relay_session::player::Player)
//! with the client of the question. So an explanation has every rule of a session, in a session's
//! order. A [`HostState`] gives the state of the host; the caller asks other servers.

mod dialogue;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use relay_connector::{Binding, ClientAddress, Connector, RangeId, TableMatch};
use relay_mail::hello::HelloName;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::store_error::StoreError;
use relay_mail::tls::ClientCertificate;
use relay_mail::user_name::UserName;

use relay_policy::{Decision, Inquiry, InquiryAnswer, Peer, Rules};
use relay_session::Conditions;

use dialogue::Dialogue;

/// The session of a question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the client connects from.
    pub remote: ClientAddress,
    /// The local address and port that it connects to.
    pub local: SocketAddr,
    /// The client's name in EHLO; `None`: its address.
    pub helo: Option<HelloName>,
    /// Does it start TLS?
    pub tls: bool,
    /// The certificate that it shows in TLS if it is requested.
    pub client_certificate: Option<ClientCertificate>,
    /// The user that it authenticates as, with the right password.
    pub auth: Option<UserName>,
    /// Does it request SMTPUTF8?
    pub smtputf8: bool,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO, in order.
    pub recipients: Vec<ForwardPath>,
    /// Octets of the message, declared at MAIL and counted at the end of data.
    pub size: Option<u64>,
}

/// The state of a host for a client that connects now. By default the host has no shortage.
#[derive(Clone, Debug)]
pub struct HostState {
    /// Why a further connection would get no session: a limit, or back pressure.
    pub connection: Option<Decision>,
    /// The conditions of the host before each command.
    pub conditions: Conditions,
    /// Does the queue begin a message?
    pub storage: Result<(), StoreError>,
    /// Is `message_memory` used up?
    pub memory_is_short: bool,
}

impl Default for HostState {
    fn default() -> Self {
        let conditions = Conditions::default();
        Self { connection: None, conditions, storage: Ok(()), memory_is_short: false }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The binding of the connection.
    pub binding: Option<Binding>,
    /// The connector and the range that the connection belongs to.
    pub connector: Option<(Arc<Connector>, RangeId)>,
    /// Connectors whose larger ranges on this binding also contain the address.
    pub beaten: Vec<(Arc<Connector>, RangeId)>,
    /// The final identity and rights of the client.
    pub peer: Option<Peer>,
    /// The dialogue, up to the command after which the result is certain.
    pub steps: Vec<ExplainedCommand>,
    /// Would every recipient be accepted, and the message after that?
    pub accepted: bool,
}

/// One reply of the session.
#[derive(Clone, Debug)]
pub struct ExplainedCommand {
    /// The command as the client sends it; empty for the greeting, and for a further reply to one
    /// command.
    pub command: String,
    /// The reply and its reasons.
    pub decision: Decision,
    /// The question does not mention this command. The session needs it and accepts it.
    pub is_implied: bool,
}

/// Answers a question by the rules, without asking other servers. The session begins `now`.
pub fn explain(now: Instant, rules: &Arc<Rules>, question: &Question) -> Explanation {
    explain_with(now, rules, question, &HostState::default(), &mut |inquiry| inquiry.not_asked())
}

/// The same on a host in this state, with inquiries.
pub fn explain_with(
    now: Instant,
    rules: &Arc<Rules>,
    question: &Question,
    host: &HostState,
    find_out: &mut dyn FnMut(Inquiry) -> InquiryAnswer,
) -> Explanation {
    let mut explanation = play(now, rules, question, host, find_out);
    // The explanation is about the client itself, not about a client that it forwards.
    if rules.proxies.sends_header(question.remote)
        && let Some(greeting) = explanation.steps.first_mut()
    {
        greeting.decision.because.insert(0, relay_policy::own_proxy_header());
    }
    explanation
}

fn play(
    now: Instant,
    rules: &Arc<Rules>,
    question: &Question,
    host: &HostState,
    find_out: &mut dyn FnMut(Inquiry) -> InquiryAnswer,
) -> Explanation {
    let connector = match rules.table.classify(question.local, question.remote) {
        TableMatch::Connector { connector, range } => {
            rules.connector(connector).map(|connector| (Arc::clone(connector), range))
        }
        TableMatch::NoBinding | TableMatch::NoConnector => None,
    };
    let binding = rules.table.binding_of(question.local);
    let beaten = beaten(rules, binding, question.remote, connector.as_ref());
    let peer = connector.as_ref().map(|(connector, _)| Peer::new(Arc::clone(connector)));
    let mut explanation =
        Explanation { binding, connector, beaten, peer, steps: Vec::new(), accepted: false };
    let Some(peer) = explanation.peer.clone() else {
        explanation.steps.push(ExplainedCommand::greeting(relay_policy::connect(None)));
        return explanation;
    };
    if let Some(mut refusal) = host.connection.clone() {
        let has_codes = peer.connector.extensions.enhanced_status_codes_enabled;
        refusal.reply = refusal.reply.with_enhanced_codes(has_codes);
        explanation.steps.push(ExplainedCommand::greeting(refusal));
        return explanation;
    }
    let mut dialogue = Dialogue::begin(now, rules, peer, question, host, find_out);
    explanation.accepted = dialogue.is_accepted(question);
    (explanation.steps, explanation.peer) = dialogue.end();
    explanation
}

/// The other ranges around the address, the smallest first. The table refuses equal ones.
fn beaten(
    rules: &Rules,
    binding: Option<Binding>,
    remote: ClientAddress,
    winner: Option<&(Arc<Connector>, RangeId)>,
) -> Vec<(Arc<Connector>, RangeId)> {
    let Some(binding) = binding else { return Vec::new() };
    let mut found: Vec<_> = rules
        .connectors()
        .map(|(_, connector)| connector)
        .filter(|connector| connector.enabled && connector.bindings.contains(&binding))
        .flat_map(|connector| {
            (0..).map(RangeId).zip(&connector.remote_ip_ranges).filter_map(|(id, range)| {
                let width = range.high() - range.low();
                range.contains(remote).then(|| (width, (Arc::clone(connector), id)))
            })
        })
        .filter(|(_, found)| Some(found) != winner)
        .collect();
    found.sort_by_key(|(width, _)| *width);
    found.into_iter().map(|(_, found)| found).collect()
}

impl ExplainedCommand {
    fn greeting(decision: Decision) -> Self {
        Self { command: String::new(), decision, is_implied: false }
    }
}

impl Question {
    /// The header section of the message, with the line that ends it. The author is the sender; a
    /// report, whose sender is null, has no author.
    pub fn header_section(&self) -> String {
        match &self.sender {
            ReversePath::Mailbox(mailbox) => format!("From: <{mailbox}>\r\n\r\n"),
            ReversePath::Null => "\r\n".to_owned(),
        }
    }
}
