//! Sends a report in another form to a server that would refuse it as it is queued.
//! [`relay_queue::adapt`] changes it; every other message is sent unchanged or not at all.

use crate::hop::Hop;
use crate::limits::ADAPTED_REPORT_OCTETS;
use relay_queue::{Entry, MessageReader, adapt};
use relay_smtp::client::{Capabilities, SizeLimit, Transaction};
use tracing::info;

impl Hop {
    /// The message to send instead of a report of this host that needs more than the server offers.
    /// `None`: the message is sent unchanged.
    pub(super) async fn adapted(
        &self,
        capabilities: &Capabilities,
        entry: &Entry,
        transaction: &Transaction,
    ) -> Option<(Transaction, MessageReader)> {
        let lacking = transaction.missing_extension(capabilities)?;
        if !adapt::looks_like_report(entry) || entry.size > ADAPTED_REPORT_OCTETS {
            return None;
        }
        let mut reader = self.queue.store().read(entry.id).await.ok()?;
        let mut message = Vec::new();
        while let Some(piece) = reader.next().await.ok()? {
            message.extend_from_slice(&piece);
        }
        let most = match capabilities.size {
            Some(SizeLimit::Octets(most)) => Some(most),
            Some(SizeLimit::Unknown) | None => None,
        };
        let adapt::Adapted { message, recipient } = adapt::adapt(entry, &message, most)?;
        let transaction = Transaction {
            recipients: vec![recipient],
            size: message.len() as u64,
            unterminated: false,
            eight_bit: false,
            binary: false,
            smtputf8: false,
            ..transaction.clone()
        };
        if transaction.missing_extension(capabilities).is_some() {
            return None;
        }
        info!(id = %entry.id, hop = self.name, ?lacking, "report adapted to its next hop");
        Some((transaction, MessageReader::memory(entry.id, message)))
    }
}
