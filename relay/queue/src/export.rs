//! A message with its envelope, as it would be sent: `relay queue export ID`.

use crate::{Entry, MessageReader, Queue, Recipient, RecipientState};
use bytes::Bytes;
use relay_mail::envelope::BodyType;
use relay_mail::path::ForwardPath;
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_message::outbound::{Audience, OutboundFirewall};
use serde::{Deserialize, Serialize};

/// The commands before the message, as a next hop with every extension would get them.
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
    /// Octets that are returned before more is read.
    ready: std::vec::IntoIter<Bytes>,
}

/// Opens a message. `audience` returns the audience of the next hop of a recipient. If one of the
/// waiting recipients is outside, the fields that are for our organization only are left out.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Damaged`].
pub async fn open(
    queue: &Queue,
    id: QueueId,
    audience: impl Fn(&ReversePath, &ForwardPath) -> Audience,
) -> Result<Export, StoreError> {
    let entry = queue.store().find(id).await?;
    let reader = queue.store().read(id).await?;
    let is_outside = |(_, to)| audience(&entry.sender, to) == Audience::Outside;
    let audience = match entry.pending().any(is_outside) {
        true => Audience::Outside,
        false => Audience::Organization,
    };
    Ok(Export {
        envelope: EnvelopeText::from(&entry),
        reader,
        firewall: Some(OutboundFirewall::new(audience)),
        ready: Vec::new().into_iter(),
    })
}

impl Export {
    /// The next piece; none at the end. The end is reached only if every octet is as it was
    /// committed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if an octet differs.
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
