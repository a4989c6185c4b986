//! Extensions that a connector does not offer: what belongs to one is as unknown as if there were
//! no such thing.

use super::{Decision, Peer, Reasons};
use crate::connector::SizeEnabled;
use crate::smtp::command::{Command, Mail};
use crate::smtp::reply::UNSUPPORTED_PARAMETER;

/// The refusal of a command, or of one of its parameters, that belongs to an extension which the
/// connector does not offer; `None` where it may be used.
pub fn not_offered(peer: &Peer, command: &Command) -> Option<Decision> {
    let (rule, found, reply) = match command {
        Command::Mail(mail) => {
            let (rule, parameter) = mail_parameter(peer, mail)?;
            (rule, format!("{parameter} is not offered"), UNSUPPORTED_PARAMETER)
        }
        _ => return None,
    };
    let mut reasons = Reasons::default();
    reasons.note(rule, found);
    Some(reasons.decide(reply))
}

/// The key and the name of the first parameter that is not offered.
fn mail_parameter(peer: &Peer, mail: &Mail) -> Option<(&'static str, &'static str)> {
    let extensions = &peer.connector.extensions;
    if mail.declared_size.is_some() && extensions.size_enabled == SizeEnabled::Disabled {
        return Some(("size_enabled", "SIZE"));
    }
    if mail.body.is_some() && !extensions.eight_bit_mime_enabled {
        return Some(("eight_bit_mime_enabled", "BODY"));
    }
    if mail.smtputf8 && !extensions.smtp_utf8_enabled {
        return Some(("smtp_utf8_enabled", "SMTPUTF8"));
    }
    None
}
