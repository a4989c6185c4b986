//! A message with its envelope, as it would leave: `relay queue export ID`.

use bytes::Bytes;
use relay_mail::envelope::BodyType;
use relay_mail::path::ForwardPath;
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_message::outbound::OutboundFirewall;
use serde::{Deserialize, Serialize};

use super::{Entry, MessageReader, Queue, Recipient, RecipientState};

/// The commands that a message would be sent with to a next hop that knows every extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeText {
    /// MAIL and its parameters.
    pub mail: String,
    /// RCPT and its parameters, for each recipient that waits.
    pub recipients: Vec<String>,
}

/// A message that is being exported.
#[derive(Debug)]
pub struct Export {
    /// Its envelope.
    pub envelope: EnvelopeText,
    reader: MessageReader,
    firewall: Option<OutboundFirewall>,
    /// What goes out before more is read.
    ready: std::vec::IntoIter<Bytes>,
}

/// Opens a message. `is_internal` says of a recipient that its next hop belongs to our organization;
/// where one of those that wait does not, what organizations say to themselves is left out.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Damaged`].
pub async fn open(
    queue: &Queue,
    id: QueueId,
    is_internal: impl Fn(&ReversePath, &ForwardPath) -> bool,
) -> Result<Export, StoreError> {
    let entry = queue.store().find(id).await?;
    let reader = queue.store().read(id).await?;
    let passes_all = entry.pending().all(|(_, recipient)| is_internal(&entry.sender, recipient));
    Ok(Export {
        envelope: EnvelopeText::from(&entry),
        reader,
        firewall: Some(OutboundFirewall::new(passes_all)),
        ready: Vec::new().into_iter(),
    })
}

impl Export {
    /// The next piece; none at the end, which is reached only when every octet was as it was
    /// committed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it was not.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(piece) = self.ready.next() {
                return Ok(Some(piece));
            }
            let Some(mut firewall) = self.firewall.take() else { return Ok(None) };
            match self.reader.next().await? {
                Some(piece) => {
                    self.ready = firewall.pass(piece).into_iter();
                    self.firewall = Some(firewall);
                }
                None => self.ready = vec![firewall.finish()].into_iter(),
            }
        }
    }
}

impl From<&Entry> for EnvelopeText {
    fn from(entry: &Entry) -> Self {
        let body = match entry.body {
            BodyType::BinaryMime => " BODY=BINARYMIME",
            BodyType::EightBitMime => " BODY=8BITMIME",
            BodyType::SevenBit => "",
        };
        let smtputf8 = if entry.smtputf8 { " SMTPUTF8" } else { "" };
        let waits = |recipient: &&Recipient| matches!(recipient.state, RecipientState::Pending(_));
        let rcpt = |recipient: &Recipient| format!("RCPT TO:<{}>{}", recipient.path, recipient.dsn);
        Self {
            mail: format!("MAIL FROM:<{}>{body}{smtputf8}{}", entry.sender, entry.dsn),
            recipients: entry.recipients.iter().filter(waits).map(rcpt).collect(),
        }
    }
}
