//! MAIL as a whole: the order of all checks that may refuse it.
//!
//! Shortages of the host are facts from outside.

use crate::antispam::screen_sender;
use crate::pressure::Pressure;
use crate::{
    Because, Decision, DecisionOrInquiry, Findings, Inquiry, Peer, Reasons, Rule, Rules, mail,
    mail_under_pressure, message_rate, needs_smtputf8,
};
use relay_mail::reply::{INSUFFICIENT_RESOURCES, TLS_NOT_AVAILABLE};
use relay_message::finding::Client;
use relay_smtp::command::Mail;

/// The result of MAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The transaction has begun.
    Accepted(Decision),
    /// It is refused.
    Refused(Decision),
    /// It is refused, which counts as a protocol error.
    Fault(Decision),
    /// It is refused, and the session ends.
    Ends(Decision),
    /// The next check needs this fact.
    Needs(Inquiry),
}

/// MAIL of a client that may give it in this state.
pub fn begin_transaction(
    rules: &Rules,
    peer: &Peer,
    client: &Client,
    command: &Mail,
    host: (Pressure, Option<&dyn std::fmt::Display>),
    findings: &Findings,
) -> Begun {
    let sender = &command.sender;
    if let Some(refusal) = needs_smtputf8(sender.is_ascii(), command.smtputf8) {
        return Begun::Fault(refusal);
    }
    let decision = mail(rules, peer, sender, command.declared_size);
    if !decision.reply.is_positive() {
        return Begun::Refused(decision);
    }
    let (pressure, queue) = host;
    // A client without the right to send gets that refusal, even during a shortage.
    if let Some(refusal) = mail_under_pressure(peer, pressure) {
        return Begun::Refused(refusal);
    }
    if let Some(why) = queue {
        let because = vec![Because { rule: Rule::Queue, found: why.to_string() }];
        return Begun::Refused(Decision { reply: INSUFFICIENT_RESOURCES, because });
    }
    match message_rate(peer, findings) {
        None => {}
        Some(DecisionOrInquiry::Needs(inquiry)) => return Begun::Needs(inquiry),
        Some(DecisionOrInquiry::Decided(decision)) => return Begun::Ends(decision),
    }
    match screen_sender(peer, client, sender, decision, findings) {
        DecisionOrInquiry::Needs(inquiry) => Begun::Needs(inquiry),
        DecisionOrInquiry::Decided(decision) if decision.reply.is_positive() => {
            Begun::Accepted(decision)
        }
        DecisionOrInquiry::Decided(decision) => Begun::Refused(decision),
    }
}

/// STARTTLS without a certificate: a reload has removed `[tls]` since the client was offered
/// STARTTLS, or its files cannot be read (RFC 3207 section 4).
pub fn no_certificate() -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::Tls, "there is no certificate any more");
    reasons.decide(TLS_NOT_AVAILABLE)
}
