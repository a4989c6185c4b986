//! What would become of one message: the decisions of a session that does not take place.
//!
//! The table and the decisions are the live session's own. What a session refuses before it asks
//! for a decision, such as commands out of order, has no place in an explanation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::antispam::screen_message;
use crate::{
    Begun, Decision, Finding, Findings, HostState, Inquiry, Judgement, MessageFacts,
    PasswordFinding, Peer, Rules, auth, begin_transaction, connect, ehlo, logon, message,
    needs_smtputf8, no_certificate, not_offered, rcpt, rcpt_beyond_memory, start_tls,
};
use relay_connector::{Binding, Connector, Match, RangeId, SizeEnabled};
use relay_mail::dsn::{Addressee, MailDsn};
use relay_mail::heap::HeapOctets;
use relay_mail::hello::HelloName;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::QUEUED;
use relay_mail::tls::ClientCertificate;
use relay_mail::user_name::UserName;
use relay_message::finding::Client;
use relay_smtp::command::{Command, Mail};
use relay_smtp::sasl::{Claim, Mechanism};

/// A session as somebody imagines it.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the client connects from.
    pub remote: IpAddr,
    /// The local address and port that it connects to.
    pub local: SocketAddr,
    /// What it calls itself.
    pub helo: Option<HelloName>,
    /// Does it start TLS?
    pub tls: bool,
    /// The certificate that it shows in TLS where it is asked for one.
    pub client_certificate: Option<ClientCertificate>,
    /// The user that it authenticates as, with the right password.
    pub auth: Option<UserName>,
    /// Does it ask for SMTPUTF8?
    pub smtputf8: bool,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO, in order.
    pub recipients: Vec<ForwardPath>,
    /// Octets of the message, declared at MAIL and found at the end of data.
    pub size: Option<u64>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The binding that takes the connection.
    pub binding: Option<Binding>,
    /// The connector and the range that the connection belongs to.
    pub connector: Option<(Arc<Connector>, RangeId)>,
    /// Connectors that take the address on this binding as well, by larger ranges.
    pub beaten: Vec<(Arc<Connector>, RangeId)>,
    /// Who the client is in the end, and what it may do.
    pub peer: Option<Peer>,
    /// The dialogue, up to the command after which nothing more can come of it.
    pub steps: Vec<Step>,
    /// Would every recipient be accepted, and the message after that?
    pub accepted: bool,
}

/// One command and what is decided.
#[derive(Clone, Debug)]
pub struct Step {
    /// The command as the client sends it; empty for the greeting.
    pub command: String,
    /// The reply and its reasons.
    pub decision: Decision,
}

/// Answers a question by the rules, and asks nobody else.
pub fn explain(rules: &Rules, question: &Question) -> Explanation {
    explain_with(rules, question, &HostState::default(), &mut |inquiry| inquiry.not_asked())
}

/// The same on a host that stands like this, where what has to be found out is found out.
pub fn explain_with(
    rules: &Rules,
    question: &Question,
    host: &HostState,
    find_out: &mut dyn FnMut(Inquiry) -> Finding,
) -> Explanation {
    let connector = match rules.table.classify(question.local, question.remote) {
        Match::Connector { connector, range } => {
            rules.connector(connector).map(|connector| (Arc::clone(connector), range))
        }
        Match::NoBinding | Match::NoConnector => None,
    };
    let binding = rules.table.binding_of(question.local);
    let mut peer = connector.as_ref().map(|(connector, _)| Peer::new(Arc::clone(connector)));
    let mut steps = Vec::new();
    let accepted = walk(rules, question, host, peer.as_mut(), &mut steps, find_out);
    Explanation {
        beaten: beaten(rules, binding, question.remote, connector.as_ref()),
        binding,
        connector,
        peer,
        steps,
        accepted,
    }
}

/// The other ranges around the address, the smallest first. The table refuses equal ones.
fn beaten(
    rules: &Rules,
    binding: Option<Binding>,
    remote: IpAddr,
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

/// Decides, with whatever has to be found out for it.
fn decide(
    find_out: &mut dyn FnMut(Inquiry) -> Finding,
    judge: impl Fn(&Findings) -> Judgement,
) -> Decision {
    let mut findings = Findings::default();
    loop {
        match judge(&findings) {
            Judgement::Decided(decision) => return decision,
            Judgement::Needs(inquiry) => findings.insert(find_out(inquiry)),
        }
    }
}

/// Goes through the dialogue; true when it leads to an accepted message.
fn walk(
    rules: &Rules,
    question: &Question,
    host: &HostState,
    mut peer: Option<&mut Peer>,
    steps: &mut Vec<Step>,
    find_out: &mut dyn FnMut(Inquiry) -> Finding,
) -> bool {
    let has_codes =
        peer.as_ref().is_none_or(|peer| peer.connector.extensions.enhanced_status_codes_enabled);
    let binding = rules.table.binding_of(question.local);
    let certificate = question.client_certificate.as_ref();
    let mut take = |command: String, mut decision: Decision| {
        decision.reply = decision.reply.with_codes(has_codes);
        let is_positive = decision.reply.is_positive();
        steps.push(Step { command, decision });
        is_positive
    };
    let mut greeting = connect(peer.as_ref().map(|peer| &*peer.connector));
    // Limits and pressure are asked before the connector's own word.
    if peer.is_some()
        && let Some(refusal) = &host.connection
    {
        greeting = refusal.clone();
    }
    if let Some(peer) = &mut peer
        && greeting.reply.is_positive()
        && binding.is_some_and(|binding| peer.connector.encryption.is_implicit_on(binding))
    {
        match host.certificate {
            true => greeting.because.extend(peer.secure(rules, certificate)),
            false => greeting = no_certificate(),
        }
    }
    let (true, Some(peer)) = (take(String::new(), greeting), peer) else { return false };
    if let Some(name) = &question.helo
        && !take(format!("EHLO {}", name.as_str()), ehlo(rules, peer, question.remote, name))
    {
        return false;
    }
    // Where TLS begins with the first octet it has begun.
    if question.tls && !peer.tls {
        let mut decision = start_tls(peer);
        if decision.reply.is_positive() && !host.certificate {
            decision = no_certificate();
        }
        if decision.reply.is_positive() {
            decision.because.extend(peer.secure(rules, certificate));
        }
        if !take("STARTTLS".to_owned(), decision) {
            return false;
        }
    }
    if let Some(name) = &question.auth {
        let claim = Claim::new(name.as_str(), &rules.users);
        let (command, offer) = ("AUTH PLAIN", auth(rules, peer, Mechanism::Plain.name()));
        let decision = match offer.reply.is_positive() {
            true => logon(peer, &claim, &PasswordFinding::NotAsked),
            false => offer,
        };
        let (true, Some(user)) = (take(command.to_owned(), decision), claim.user) else {
            return false;
        };
        *peer = peer.authenticated(user);
    }
    // A client that was not told of SIZE does not use it.
    let is_told = peer.connector.extensions.size_enabled != SizeEnabled::Disabled;
    let declared_size = question.size.filter(|_| is_told);
    let size = declared_size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
    let smtputf8 = if question.smtputf8 { " SMTPUTF8" } else { "" };
    let command = format!("MAIL FROM:<{}>{size}{smtputf8}", question.sender);
    let given = Mail {
        sender: question.sender.clone(),
        declared_size,
        body: None,
        dsn: MailDsn::default(),
        smtputf8: question.smtputf8,
        submitter: None,
    };
    let hello = question.helo.as_ref().map(HelloName::as_str).unwrap_or_default().to_owned();
    let user = peer.user_name().map(ToString::to_string);
    let client = Client { address: question.remote, hello, user };
    let queue = host.queue.as_ref().map(|why| why as &dyn std::fmt::Display);
    let host_now = (host.pressure, queue);
    let mut findings = Findings::default();
    let decision = match not_offered(peer, &Command::Mail(given.clone())) {
        Some(refusal) => refusal,
        None => loop {
            match begin_transaction(rules, peer, &client, &given, host_now, &findings) {
                Begun::Accepted(decision)
                | Begun::Refused(decision)
                | Begun::Fault(decision)
                | Begun::Ends(decision) => break decision,
                Begun::Needs(inquiry) => findings.insert(find_out(inquiry)),
            }
        },
    };
    if !take(command, decision) {
        return false;
    }
    let (mut accepted, mut octets) = (0, 0);
    for recipient in &question.recipients {
        let decision =
            needs_smtputf8(recipient.is_ascii(), question.smtputf8).unwrap_or_else(|| {
                decide(find_out, |findings| rcpt(rules, peer, recipient, accepted, findings))
            });
        let decision = match decision.reply.is_positive() {
            true => rcpt_beyond_memory(host.memory_is_short, octets).unwrap_or(decision),
            false => decision,
        };
        octets += recipient.heap_octets() + size_of::<Addressee>();
        if take(format!("RCPT TO:<{recipient}>"), decision) {
            accepted += 1;
        }
    }
    if accepted == 0 {
        return false;
    }
    let allowed = match question.size {
        Some(size) => message(peer, &MessageFacts { size, ..MessageFacts::default() }),
        None if peer.connector.antispam.checks_message() => {
            Decision { reply: QUEUED, because: Vec::new() }
        }
        // Nothing is asked of a message that nothing is said of.
        None => return accepted == question.recipients.len(),
    };
    let decision = if allowed.reply.is_positive() {
        // There is no message that anybody could be asked about.
        decide(&mut |inquiry| inquiry.not_asked(), |findings| {
            screen_message(peer, &client, None, allowed.clone(), findings)
        })
    } else {
        allowed
    };
    let message_passes = take("(end of data)".to_owned(), decision);
    message_passes && accepted == question.recipients.len()
}
