//! MAIL as a whole: the order of all checks that may refuse it.
//!
//! Shortages of the host are facts from outside.

use crate::antispam::screen_sender;
use crate::pressure::Pressure;
use crate::{
    Decision, DecisionOrInquiry, Findings, Peer, Reasons, Rule, Rules, mail, mail_under_pressure,
    message_rate, needs_smtputf8, queue_closed,
};
use relay_mail::reply::TLS_NOT_AVAILABLE;
use relay_mail::store_error::StoreError;
use relay_message::question::Client;
use relay_smtp::command::Mail;

/// MAIL of a client that may give it in this state.
pub fn begin_transaction(
    rules: &Rules,
    peer: &Peer,
    client: &Client,
    command: &Mail,
    host: (Pressure, Option<&StoreError>),
    findings: &Findings,
) -> DecisionOrInquiry {
    let sender = &command.sender;
    if let Some(refusal) = needs_smtputf8(sender.is_ascii(), command.smtputf8) {
        return DecisionOrInquiry::Decided(refusal);
    }
    let decision = mail(rules, peer, sender, command.declared_size);
    if !decision.reply.is_positive() {
        return DecisionOrInquiry::Decided(decision);
    }
    let (pressure, queue) = host;
    // A client without the right to send gets that refusal, even during a shortage.
    if let Some(refusal) = mail_under_pressure(peer, pressure) {
        return DecisionOrInquiry::Decided(refusal);
    }
    if let Some(error) = queue {
        return DecisionOrInquiry::Decided(queue_closed(error));
    }
    if let Some(answer) = message_rate(peer, findings) {
        return answer;
    }
    screen_sender(peer, client, sender, decision, findings)
}

/// STARTTLS without a certificate: a reload has removed `[tls]` since the client was offered
/// STARTTLS, or its files cannot be read (RFC 3207 section 4).
pub fn no_certificate() -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::Tls, "there is no certificate any more");
    reasons.decide(TLS_NOT_AVAILABLE)
}
