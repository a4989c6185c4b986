//! HELO and EHLO: our name, and the extensions that the client may use.

use relay_connector::ClientAddress;

use crate::{Consequence, Decision, Peer, Reasons, Rule, Rules, mechanisms, start_tls};
use relay_connector::{Permission, SizeEnabled};
use relay_mail::hello::HelloName;
use relay_mail::path::Domain;
use relay_mail::reply::{HELLO, INVALID_DOMAIN_NAME};
use relay_smtp::command::XClient;
use relay_smtp::sasl::Mechanism;

/// HELO: one line.
pub fn helo(peer: &Peer, client: ClientAddress, name: &HelloName) -> Decision {
    greet(peer, name, greeting(peer, client))
}

/// EHLO: one keyword per line after the greeting (RFC 5321 section 4.1.1.1), in Exchange's order.
pub fn ehlo(rules: &Rules, peer: &Peer, client: ClientAddress, name: &HelloName) -> Decision {
    let mut text = greeting(peer, client);
    let extensions = &peer.connector.extensions;
    let limits = &peer.connector.limits;
    let mut list = |is_offered: bool, keyword: &str| {
        if is_offered {
            text.push('\n');
            text.push_str(keyword);
        }
    };
    // RFC 1870 section 4: without a number no fixed maximum is announced.
    let is_exempt = peer.permissions.contains(Permission::BypassMessageSizeLimit);
    match extensions.size_enabled {
        SizeEnabled::Disabled => {}
        SizeEnabled::Enabled if !is_exempt => {
            list(true, &format!("SIZE {}", limits.max_message_size));
        }
        SizeEnabled::Enabled | SizeEnabled::EnabledWithoutValue => list(true, "SIZE"),
    }
    list(extensions.pipelining_enabled, "PIPELINING");
    list(extensions.delivery_status_notification_enabled, "DSN");
    list(extensions.enhanced_status_codes_enabled, "ENHANCEDSTATUSCODES");
    list(start_tls(peer).reply.is_positive(), "STARTTLS");
    let mechanisms: Vec<_> = mechanisms(rules, peer).into_iter().map(Mechanism::name).collect();
    list(!mechanisms.is_empty(), &format!("AUTH {}", mechanisms.join(" ")));
    list(extensions.eight_bit_mime_enabled, "8BITMIME");
    list(extensions.binary_mime_enabled, "BINARYMIME");
    list(extensions.chunking_enabled, "CHUNKING");
    // RFC 9422 section 5: announces a refusal before a client runs into it.
    list(true, &format!("LIMITS RCPTMAX={}", limits.max_recipients_per_message));
    list(peer.may_use_xclient, &format!("XCLIENT {}", XClient::ATTRIBUTES));
    list(extensions.smtp_utf8_enabled, "SMTPUTF8");
    greet(peer, name, text)
}

/// The name is noted in the Received field, and that is all.
fn greet(peer: &Peer, name: &HelloName, text: String) -> Decision {
    let mut reasons = Reasons::default();
    let is_host = || Domain::parse(name.as_str()).is_ok_and(|domain| domain.is_host_name());
    if peer.connector.require_ehlo_domain && !is_host() {
        reasons.note(Rule::RequireEhloDomain, format!("`{name}` is not a domain name"));
        return reasons.conclude(INVALID_DOMAIN_NAME, Consequence::NoDomainName);
    }
    reasons.note(Rule::Hello, "the name of a client gives it no right");
    reasons.decide(HELLO.with_text(text))
}

fn greeting(peer: &Peer, client: ClientAddress) -> String {
    format!("{} Hello [{}]", peer.connector.fqdn, client)
}
