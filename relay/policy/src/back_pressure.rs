//! What follows from a level of back pressure, and for whom.
//!
//! At Medium mail is put off at MAIL, but for servers: what they hold was accepted by somebody
//! already, and to make them keep it helps nobody. At High mail is put off for everybody, and new
//! connections are turned away. Exchange may delay the reply to MAIL before it refuses; we do not,
//! since a client that waits holds what is short.

use crate::limits::RECIPIENTS_BEYOND_MEMORY;
use crate::pressure::{Pressure, PressureLevel};
use crate::{Decision, Peer, Reasons, Rule};
use relay_connector::Principal;
use relay_mail::reply::{INSUFFICIENT_RESOURCES, SYSTEM_NOT_ACCEPTING};

/// A new connection: its refusal, if there is one.
pub fn connect_under_pressure(pressure: Pressure) -> Option<Decision> {
    (pressure.level == PressureLevel::High).then(|| because(pressure).decide(SYSTEM_NOT_ACCEPTING))
}

/// MAIL that the checks of the sender let pass: its refusal, if there is one.
pub fn mail_under_pressure(peer: &Peer, pressure: Pressure) -> Option<Decision> {
    let mut reasons = because(pressure);
    match pressure.level {
        PressureLevel::Normal => return None,
        PressureLevel::Medium if is_server(peer.principal) => return None,
        PressureLevel::Medium => {
            reasons.note(Rule::BackPressure, format!("{} is no server", peer.principal));
        }
        PressureLevel::High => {}
    }
    Some(reasons.decide(INSUFFICIENT_RESOURCES))
}

/// RCPT that everything else lets pass, of a transaction whose recipients take so many octets: its
/// refusal while `message_memory` is used up, if there is one. The first few recipients are taken
/// all the same, so that ordinary mail passes.
pub fn rcpt_over_memory_share(is_used_up: bool, octets: usize) -> Option<Decision> {
    if !is_used_up || octets < RECIPIENTS_BEYOND_MEMORY {
        return None;
    }
    let mut reasons = Reasons::default();
    reasons.note(
        Rule::MessageMemory,
        format!("used up, and the recipients so far take {octets} octets"),
    );
    Some(reasons.decide(INSUFFICIENT_RESOURCES))
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
