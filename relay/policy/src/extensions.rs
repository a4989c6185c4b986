//! Extensions that a connector does not offer: their commands and parameters are treated as
//! unknown.

use crate::{Consequence, Decision, Peer, Reasons, Rule};
use relay_connector::SizeEnabled;
use relay_mail::dsn::{Addressee, MailDsn, RcptDsn};
use relay_mail::envelope::BodyType;
use relay_mail::reply::{UNRECOGNIZED_COMMAND, UNSUPPORTED_PARAMETER};
use relay_smtp::command::{Command, Mail};

/// The refusal of a command, or of one of its parameters, that belongs to an extension which the
/// connector does not offer; `None` if it may be used.
pub fn not_offered(peer: &Peer, command: &Command) -> Option<Decision> {
    let (rule, found, reply) = match command {
        Command::Mail(mail) => {
            let (rule, parameter) = mail_parameter(peer, mail)?;
            (rule, format!("{parameter} is not offered"), UNSUPPORTED_PARAMETER)
        }
        Command::Rcpt(Addressee { dsn, .. })
            if *dsn != RcptDsn::default()
                && !peer.connector.extensions.delivery_status_notification_enabled =>
        {
            let found = "NOTIFY or ORCPT is not offered".to_owned();
            (Rule::DeliveryStatusNotificationEnabled, found, UNSUPPORTED_PARAMETER)
        }
        Command::XClient(_) if !peer.may_use_xclient => {
            (Rule::XClientFrom, "XCLIENT is not offered".to_owned(), UNRECOGNIZED_COMMAND)
        }
        Command::Bdat(_) if !peer.connector.extensions.chunking_enabled => {
            return Some(unknown_bdat());
        }
        _ => return None,
    };
    let mut reasons = Reasons::default();
    reasons.note(rule, found);
    Some(reasons.conclude(reply, Consequence::ProtocolError))
}

/// BDAT if CHUNKING is off, with any arguments.
pub fn unknown_bdat() -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::ChunkingEnabled, "BDAT is not offered");
    reasons.conclude(UNRECOGNIZED_COMMAND, Consequence::ProtocolError)
}

/// The key and the name of the first parameter that is not offered.
fn mail_parameter(peer: &Peer, mail: &Mail) -> Option<(Rule, &'static str)> {
    let extensions = &peer.connector.extensions;
    if mail.declared_size.is_some() && extensions.size_enabled == SizeEnabled::Disabled {
        return Some((Rule::SizeEnabled, "SIZE"));
    }
    match mail.body {
        Some(BodyType::BinaryMime) if !extensions.binary_mime_enabled => {
            return Some((Rule::BinaryMimeEnabled, "BODY=BINARYMIME"));
        }
        Some(BodyType::EightBitMime | BodyType::SevenBit) if !extensions.eight_bit_mime_enabled => {
            return Some((Rule::EightBitMimeEnabled, "BODY"));
        }
        _ => {}
    }
    if mail.dsn != MailDsn::default() && !extensions.delivery_status_notification_enabled {
        return Some((Rule::DeliveryStatusNotificationEnabled, "RET or ENVID"));
    }
    if mail.smtputf8 && !extensions.smtp_utf8_enabled {
        return Some((Rule::SmtpUtf8Enabled, "SMTPUTF8"));
    }
    None
}
