//! RCPT: may this principal send to that recipient?
//!
//! A domain without the right to relay is refused permanently before the number of recipients is
//! checked: a client that is told to try again later would only come back for the same refusal.
//! Whether a recipient exists is checked last, and only if everything else lets it pass.

use crate::{
    AcceptedDomain, DecisionOrInquiry, Findings, Found, Peer, Reasons, Rule, Rules, existence,
};
use relay_connector::Permission;
use relay_mail::path::{Domain, ForwardPath, Mailbox};
use relay_mail::reply::{RECIPIENT_NOT_FOUND, RECIPIENT_OK, TOO_MANY_RECIPIENTS, UNABLE_TO_RELAY};

/// RCPT with this recipient, after `accepted_so_far` recipients of the same message.
///
/// ```
/// use relay_mail::path::ForwardPath;
/// use relay_policy::{DecisionOrInquiry, Findings, Peer, rcpt};
///
/// # use std::sync::Arc;
/// # let text = r#"
/// # hostname = "edge1.contoso.example"
/// # delivery.smart_host = "127.0.0.1:2626"
/// # accepted_domain = [{ name = "contoso.example" }]
/// # [[connector]]
/// # name = "Default Frontend"
/// # bindings = ["0.0.0.0:25"]
/// # remote_ip_ranges = ["0.0.0.0/0"]
/// # permission_groups = ["AnonymousUsers"]
/// # "#;
/// # let config = relay_config::Config::parse(text, "relay.toml").unwrap();
/// # let rules = config.rules(&mut relay_connector::ConnectorIds::default(), 1).unwrap();
/// # let connector = Arc::clone(rules.connectors().next().unwrap().1);
/// // The rules accept mail for contoso.example; the connector has the group AnonymousUsers.
/// let peer = Peer::new(connector);
/// let ask = |path: &str| {
///     let path = ForwardPath::parse(path).unwrap();
///     match rcpt(&rules, &peer, &path, 0, &Findings::default()) {
///         DecisionOrInquiry::Decided(decision) => decision,
///         DecisionOrInquiry::Needs(inquiry) => panic!("{inquiry:?}"),
///     }
/// };
/// assert_eq!(ask("<b@contoso.example>").reply.code, 250);
/// let refusal = ask("<b@stranger.example>");
/// assert_eq!(refusal.reply.to_string(), "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain");
/// // The last reason is the rule that decided: the client lacks the relay right.
/// let rule = refusal.because.last().unwrap().rule;
/// assert_eq!(rule.to_string(), "ms-Exch-SMTP-Accept-Any-Recipient");
/// ```
pub fn rcpt(
    rules: &Rules,
    peer: &Peer,
    recipient: &ForwardPath,
    accepted_so_far: usize,
    findings: &Findings,
) -> DecisionOrInquiry {
    let mut reasons = Reasons::default();
    let decided = |reasons: Reasons, reply| DecisionOrInquiry::Decided(reasons.decide(reply));
    let may_send = match recipient {
        // RFC 5321 section 4.5.1 requires to accept it from every client, if it has a reader.
        ForwardPath::Postmaster => match &rules.postmaster {
            Some(mailbox) => {
                reasons.note(Rule::Postmaster, format!("its mail goes to {mailbox}"));
                MaySend::Yes
            }
            None => {
                let found = "neither this key nor an authoritative domain is configured";
                reasons.note(Rule::Postmaster, found);
                return decided(reasons, RECIPIENT_NOT_FOUND);
            }
        },
        ForwardPath::Mailbox(mailbox) => {
            if let Some(reply) = super::reserved_domain::refusal(peer, mailbox, &mut reasons) {
                return decided(reasons, reply);
            }
            may_send_to(rules, peer, mailbox, &mut reasons)
        }
    };
    let accepted = match may_send {
        MaySend::ToAcceptedDomain(accepted) => Some(accepted),
        MaySend::Yes => None,
        MaySend::No => return decided(reasons, UNABLE_TO_RELAY),
    };
    if let ForwardPath::Mailbox(mailbox) = recipient
        && mailbox.has_route()
        && !may_route(peer, &mut reasons)
    {
        return decided(reasons, UNABLE_TO_RELAY);
    }
    let most = peer.connector.limits.max_recipients_per_message;
    if accepted_so_far >= usize::try_from(most).unwrap_or(usize::MAX) {
        reasons.note(Rule::MaxRecipientsPerMessage, Found::Recipients { limit: most.into() });
        return decided(reasons, TOO_MANY_RECIPIENTS);
    }
    let (ForwardPath::Mailbox(mailbox), Some(accepted)) = (recipient, accepted) else {
        return decided(reasons, RECIPIENT_OK);
    };
    existence::judge(mailbox, accepted, findings, reasons)
}

/// May the peer send to a recipient?
enum MaySend<'rules> {
    /// Yes, since the recipient is in this domain.
    ToAcceptedDomain(&'rules AcceptedDomain),
    /// Yes, for another reason.
    Yes,
    No,
}

/// An accepted domain of any type needs no right; every other host, address literals included,
/// needs Accept-Any-Recipient.
fn may_send_to<'rules>(
    rules: &'rules Rules,
    peer: &Peer,
    mailbox: &Mailbox,
    reasons: &mut Reasons,
) -> MaySend<'rules> {
    let domain = mailbox.domain().map(Domain::ascii);
    if let Some(accepted) = domain.and_then(|domain| rules.accepted_domains.covering(domain)) {
        reasons.note(Rule::AcceptedDomain, format!("the recipient is in {accepted}"));
        return MaySend::ToAcceptedDomain(accepted);
    }
    reasons.note(Rule::AcceptedDomain, format!("`{}` is not accepted", mailbox.host()));
    match reasons.permits(peer, Permission::AcceptAnyRecipient) {
        true => MaySend::Yes,
        false => MaySend::No,
    }
}

/// The domain of `someone%elsewhere.example@contoso.example` is ours, but an inner server that
/// reads the local part as a route would relay, since it trusts us. So a route needs the right that
/// its destination would need.
fn may_route(peer: &Peer, reasons: &mut Reasons) -> bool {
    reasons.note(Rule::Recipient, "the local part can be read as a route to another host");
    reasons.permits(peer, Permission::AcceptAnyRecipient)
}
