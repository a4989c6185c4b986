//! The recipients of a transaction: each of them once, even if it was given several times.

use crate::hello::Hello;
use relay_mail::dsn::Addressee;
use relay_mail::heap::{HeapOctets, allocation};
use relay_smtp::command::Mail;

/// After the first RCPT that was accepted.
#[derive(Debug)]
pub(crate) struct EnvelopeRecipients {
    pub(super) hello: Hello,
    pub(super) mail: Mail,
    /// Each recipient once.
    pub(super) recipients: Vec<Addressee>,
    /// Accepted RCPT commands: the number that `max_recipients_per_message` limits.
    pub(super) accepted: usize,
    /// Octets that the recipients point to.
    pointed_to: usize,
}

impl EnvelopeRecipients {
    pub(super) fn new(hello: Hello, mail: Mail, recipient: Addressee) -> Self {
        let pointed_to = recipient.heap_octets();
        Self { hello, mail, recipients: vec![recipient], accepted: 1, pointed_to }
    }

    /// Another RCPT was accepted.
    pub(super) fn add(&mut self, recipient: Addressee) {
        self.accepted += 1;
        let is_it = |there: &&mut Addressee| there.path.is_same_recipient(&recipient.path);
        match self.recipients.iter_mut().find(is_it) {
            Some(there) => {
                let before = there.heap_octets();
                there.dsn.merge(recipient.dsn);
                self.pointed_to += there.heap_octets().saturating_sub(before);
            }
            None => {
                self.pointed_to += recipient.heap_octets();
                self.recipients.push(recipient);
            }
        }
    }

    /// Octets of sender and recipients, with all allocations that they point to.
    pub(crate) fn octets(&self) -> usize {
        self.mail.heap_octets() + self.list_octets()
    }

    pub(super) fn list_octets(&self) -> usize {
        allocation(self.recipients.capacity() * size_of::<Addressee>()) + self.pointed_to
    }
}
