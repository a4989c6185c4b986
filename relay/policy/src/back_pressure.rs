//! What follows from a level of back pressure, and for which clients?
//!
//! At Medium, MAIL is refused temporarily, except from servers: their messages were already
//! accepted elsewhere, and keeping them there does not reduce the load. At High, mail of every
//! client is refused temporarily, and new connections are refused. Exchange may delay the reply to
//! MAIL before it refuses; we do not, since a waiting client uses the short resource.

use crate::limits::RECIPIENTS_BEYOND_MEMORY;
use crate::pressure::{Pressure, PressureLevel};
use crate::{Decision, Found, Peer, Reasons, Rule};
use relay_connector::Principal;
use relay_mail::reply::{INSUFFICIENT_RESOURCES, SYSTEM_NOT_ACCEPTING};

/// A new connection: its refusal, if there is one.
pub fn connect_under_pressure(pressure: Pressure) -> Option<Decision> {
    (pressure.level == PressureLevel::High).then(|| because(pressure).decide(SYSTEM_NOT_ACCEPTING))
}

/// MAIL that passes the checks of the sender: its refusal, if there is one.
pub fn mail_under_pressure(peer: &Peer, pressure: Pressure) -> Option<Decision> {
    let mut reasons = because(pressure);
    match pressure.level {
        PressureLevel::Normal => return None,
        PressureLevel::Medium if is_server(peer.principal) => return None,
        PressureLevel::Medium => {
            reasons.note(Rule::BackPressure, format!("{} is not a server", peer.principal));
        }
        PressureLevel::High => {}
    }
    Some(reasons.decide(INSUFFICIENT_RESOURCES))
}

/// RCPT that passes everything else, in a transaction whose recipients use this many octets: its
/// refusal while `message_memory` is used up, if there is one. The first few recipients are
/// accepted nevertheless, so that ordinary mail passes.
pub fn rcpt_over_memory_share(is_used_up: bool, octets: usize) -> Option<Decision> {
    if !is_used_up || octets < RECIPIENTS_BEYOND_MEMORY {
        return None;
    }
    let mut reasons = Reasons::default();
    let (octets, limit) = (octets as u64, RECIPIENTS_BEYOND_MEMORY as u64);
    reasons.note(Rule::MessageMemory, Found::RecipientsMemory { octets, limit });
    Some(reasons.decide(INSUFFICIENT_RESOURCES))
}

/// A message whose header section must still be buffered while `message_memory` is used up.
pub fn message_beyond_memory() -> Decision {
    let found = "the memory for messages that are being received is used up";
    Decision::new(INSUFFICIENT_RESOURCES, Rule::MessageMemory, found)
}

fn is_server(principal: Principal) -> bool {
    match principal {
        Principal::ExternallySecured | Principal::Server => true,
        Principal::Anonymous | Principal::Partner | Principal::User => false,
    }
}

fn because(pressure: Pressure) -> Reasons {
    let mut reasons = Reasons::default();
    let resource = pressure.resource.map_or("nothing", |resource| resource.name());
    reasons.note(Rule::BackPressure, format!("{resource} is at level {}", pressure.level));
    reasons
}
