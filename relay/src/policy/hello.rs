//! HELO and EHLO: what a client is told of us, and which extensions it may use.

use std::net::IpAddr;

use super::{Decision, Peer, Reasons, Rules, start_tls};
use crate::connector::Permission;
use crate::smtp::reply::HELLO;

/// HELO: one line.
pub fn helo(peer: &Peer, remote: IpAddr) -> Decision {
    greet(greeting(peer, remote))
}

/// EHLO: a keyword to a line after the greeting (RFC 5321 section 4.1.1.1).
pub fn ehlo(rules: &Rules, peer: &Peer, remote: IpAddr) -> Decision {
    let mut text = greeting(peer, remote);
    // RFC 1870 section 4: without a number there is no fixed maximum to tell.
    if peer.permissions.contains(Permission::BypassMessageSizeLimit) {
        text.push_str("\nSIZE");
    } else {
        text.push_str(&format!("\nSIZE {}", peer.connector.limits.max_message_size));
    }
    text.push_str("\nPIPELINING\nENHANCEDSTATUSCODES");
    if start_tls(rules, peer).reply.is_positive() {
        text.push_str("\nSTARTTLS");
    }
    text.push_str("\n8BITMIME\nSMTPUTF8");
    greet(text)
}

/// The name is noted in the Received field, and that is all.
fn greet(text: String) -> Decision {
    let mut reasons = Reasons::default();
    reasons.note("EHLO", "what a client calls itself gives it no right");
    reasons.decide(HELLO.with_text(text))
}

fn greeting(peer: &Peer, remote: IpAddr) -> String {
    format!("{} Hello [{}]", peer.connector.fqdn, remote.to_canonical())
}
