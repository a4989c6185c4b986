//! What becomes of the header section of a message that comes in: is the message refused for it, and
//! which fields are stored?

use bytes::Bytes;
use relay_message::authentication_results::AuthservIds;
use relay_message::header::Collected;
use relay_message::identity::Identity;
use relay_message::received::{self, WithKeyword};
use relay_message::{author, firewall, hops, stamp};

use crate::hello::{Hello, HelloKind};
use crate::reception::{Reception, Stage};
use crate::{Action, Context, MessageBegun};

/// Our Received field for this message.
pub(super) fn trace(
    context: &Context,
    hello: &Hello,
    smtputf8: bool,
    begun: &MessageBegun,
) -> Bytes {
    let connector = &context.peer.connector;
    let has_authenticated = context.peer.user.is_some();
    let protocol = match (smtputf8, hello.kind, context.summary.tls.is_some(), has_authenticated) {
        (true, _, true, true) => WithKeyword::Utf8Smtpsa,
        (true, _, true, false) => WithKeyword::Utf8Smtps,
        (true, _, false, true) => WithKeyword::Utf8Smtpa,
        (true, _, false, false) => WithKeyword::Utf8Smtp,
        (false, HelloKind::Ehlo, true, true) => WithKeyword::Esmtpsa,
        (false, HelloKind::Ehlo, true, false) => WithKeyword::Esmtps,
        (false, HelloKind::Ehlo, false, true) => WithKeyword::Esmtpa,
        (false, HelloKind::Ehlo, false, false) => WithKeyword::Esmtp,
        (false, HelloKind::Helo, _, _) => WithKeyword::Smtp,
    };
    received::ReceivedField {
        hello: &hello.name,
        client: context.connection.client(),
        by: &connector.fqdn,
        local: context.connection.local().ip(),
        protocol,
        id: begun.id,
        connector: &connector.name,
        principal: context.peer.principal,
        tls: context.summary.tls.as_ref(),
        at: begun.at,
    }
    .to_field()
}

impl Reception {
    /// If the header section has ended: checks it and writes the fields that may pass.
    pub(super) fn header(
        &mut self,
        context: &Context,
        collected: Collected,
        act: &mut impl FnMut(Action),
    ) {
        let (section, body, is_separated) = match collected {
            Collected::Incomplete => return,
            Collected::TooLarge { size } => {
                self.facts.header_size = size;
                let decision = relay_policy::header_too_large(&context.peer, size);
                return self.discard(decision, act);
            }
            Collected::Complete { section, body, is_separated } => (section, body, is_separated),
        };
        self.identity = Identity::of(&section);
        self.facts.header_size = section.size();
        self.facts.header_fields = section.fields().count();
        self.stage = Stage::Body;
        self.facts.bare_line_ending |= self.finds_violation();
        self.check(context, act);
        if !matches!(self.stage, Stage::Body) {
            return;
        }
        // Before the firewall removes them: otherwise a loop would be hidden.
        self.facts.hops = section.hops();
        if context.peer.connector.limits.max_local_hop_count > 0 {
            self.facts.local_hops = hops::local(&section, |name| context.rules.is_our_name(name));
        }
        self.check(context, act);
        if !matches!(self.stage, Stage::Body) {
            return;
        }
        let authors = || author::authors(&section);
        let decision = relay_policy::authors(&context.rules, &context.peer, authors);
        if !decision.reply.is_positive() {
            return self.discard(decision, act);
        }
        let mut admitted = firewall::admit(
            &section,
            context.peer.permissions,
            AuthservIds {
                hostname: context.rules.hostname.ascii(),
                fqdn: &context.peer.connector.fqdn,
            },
            |name| context.rules.is_our_name(name),
        );
        let trace = std::mem::take(&mut self.trace);
        let stamp = match admitted.is_stamped {
            true => Bytes::new(),
            false => {
                let fqdn = &context.peer.connector.fqdn;
                stamp::fields(relay_policy::auth_as(&context.peer), fqdn)
            }
        };
        let mut separator = Bytes::new();
        if !is_separated {
            separator = Bytes::from_static(b"\r\n");
            admitted.changes.put_separator();
        }
        self.changes = admitted.changes;
        let parts = [trace, stamp].into_iter().chain(admitted.slices).chain([separator, body]);
        for part in parts.filter(|part| !part.is_empty()) {
            self.writer.write(part, act);
        }
    }
}
