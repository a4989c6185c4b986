//! One look-up at one server: MAIL with the null sender, RCPT, and RSET before any data is sent.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::limits::{RECIPIENT_CONNECT_TIMEOUT, RECIPIENT_QUESTION};
use relay_delivery::{
    ClientHandshakes, Connection, Cut, DeliverySettings, Destination, NextHop,
    NextHopAuthoritiesError, Routes, Security, SmartHosts,
};
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::path::{ForwardPath, Mailbox};
use relay_mail::reply::{Enhanced, Reply};
use relay_policy::{RecipientFinding, RecipientLookup};
use relay_smtp::client::Timeouts;
use tokio::sync::watch;
use tokio::time::timeout;

/// Asks the server. Always returns a result in time.
pub(super) async fn ask(
    lookup: &RecipientLookup,
    mailbox: &Mailbox,
    hello_name: &str,
) -> RecipientFinding {
    let server = &lookup.server;
    let asking = async {
        let settings = settings(hello_name).map_err(|error| error.to_string())?;
        let destination = Destination::SmartHosts(Arc::new(SmartHosts {
            hosts: vec![server.clone()],
            protocol: lookup.protocol,
            security: Security::default(),
        }));
        // Only the timeout ends a look-up.
        let (_keep, cut) = watch::channel(Cut::Nothing);
        let hop = lookup.to_string();
        let connection = Connection::to(&destination, &settings, &cut).await;
        let mut connection =
            connection.map_err(|cause| OutcomeReason { hop: None, cause }.to_string())?;
        let outcome = connection.verify_recipient(ForwardPath::Mailbox(mailbox.clone())).await;
        // The server may be slow with its reply to QUIT; do not wait for it.
        tokio::spawn(connection.quit());
        outcome.ok_or_else(|| format!("{hop} did not answer"))
    };
    match timeout(RECIPIENT_QUESTION, asking).await {
        Ok(Ok(outcome)) => finding(outcome),
        Ok(Err(why)) => RecipientFinding::Unavailable(why),
        Err(_) => {
            let seconds = RECIPIENT_QUESTION.as_secs();
            let why = format!("{server} did not answer within {seconds} seconds");
            RecipientFinding::Unavailable(why)
        }
    }
}

/// The TLS settings of all look-ups. No certificate is verified.
static HANDSHAKES: LazyLock<Result<ClientHandshakes, NextHopAuthoritiesError>> =
    LazyLock::new(|| ClientHandshakes::load([]));

fn settings(hello_name: &str) -> Result<DeliverySettings, &'static NextHopAuthoritiesError> {
    let all = |time: Duration| Timeouts {
        greeting: time,
        mail: time,
        recipient: time,
        data_initiation: time,
        data_block: time,
        data_termination: time,
        ..Timeouts::default()
    };
    let handshakes = HANDSHAKES.as_ref()?.clone();
    let nowhere = Routes::new(Vec::new(), NextHop::Exchangers { security: Arc::default() });
    Ok(DeliverySettings {
        timeouts: all(RECIPIENT_QUESTION),
        connect_timeout: RECIPIENT_CONNECT_TIMEOUT,
        ..DeliverySettings::new(nowhere, handshakes, hello_name)
    })
}

/// The meaning of the reply to RCPT for the recipient. A refusal with another cause, such as our
/// address, says nothing about the recipient.
fn finding(outcome: Outcome) -> RecipientFinding {
    match outcome {
        Outcome::Delivered(_) | Outcome::Relayed(_) => RecipientFinding::Known,
        Outcome::Failed(OutcomeReason { cause: Cause::Reply { reply, .. }, .. })
            if is_about_it(&reply) =>
        {
            RecipientFinding::Unknown(reply.to_string())
        }
        Outcome::Failed(answer) | Outcome::Deferred(answer) => {
            RecipientFinding::Unavailable(answer.to_string())
        }
    }
}

/// RFC 3463: X.1.n is about the address, and X.2.1 means that the mailbox accepts no mail. The
/// reply code decides if a server sends no such code.
fn is_about_it(reply: &Reply) -> bool {
    match reply.enhanced {
        None => true,
        Some(Enhanced(_, subject, detail)) => subject == 1 || (subject, detail) == (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use relay_mail::outcome::AnsweredCommand;

    use crate::recipients::question::*;

    #[test]
    fn only_a_refusal_of_the_address_is_an_unknown_recipient() {
        let reply = |enhanced| Reply::new(550, enhanced, "No");
        let failed =
            |reply| Outcome::Failed(OutcomeReason::reply("hop", reply, AnsweredCommand::Rcpt));
        for (enhanced, is_unknown) in [
            (None, true),
            (Some(Enhanced(5, 1, 1)), true),
            (Some(Enhanced(5, 1, 10)), true),
            (Some(Enhanced(5, 2, 1)), true),
            (Some(Enhanced(5, 2, 2)), false),
            (Some(Enhanced(5, 7, 1)), false),
            (Some(Enhanced(5, 5, 1)), false),
        ] {
            let finding = finding(failed(reply(enhanced)));
            let found = matches!(finding, RecipientFinding::Unknown(_));
            assert_eq!(found, is_unknown, "{enhanced:?}");
            assert_eq!(matches!(finding, RecipientFinding::Unavailable(_)), !is_unknown);
        }
    }
}
