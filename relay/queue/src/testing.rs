//! Entries without a queue, for the tests of other crates.

#![expect(clippy::unwrap_used, reason = "a test with a malformed address has failed")]

use std::time::SystemTime;

use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;

use crate::Entry;
use crate::content::Content;

/// The entry of an empty message that is in no queue.
pub fn entry_of(sender: &str, recipients: &[&str]) -> Entry {
    let path = |path: &&str| ForwardPath::parse(path).unwrap().into();
    let envelope = Envelope {
        sender: ReversePath::parse(sender).unwrap(),
        recipients: recipients.iter().map(path).collect(),
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn: MailDsn::default(),
    };
    Entry::new(QueueId::from_u64(1), envelope, Content::of(&Bytes::new()), SystemTime::now())
}
