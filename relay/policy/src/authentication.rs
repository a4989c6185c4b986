//! AUTH: which mechanisms does a client get, and what follows from a proof?
//!
//! [`relay_smtp::sasl`] verifies the proof. A refusal tells the client the same for every reason;
//! the log has the reason.

use std::sync::Arc;

use crate::{
    Consequence, Decision, DecisionOrInquiry, Findings, Inquiry, PasswordFinding, Peer, Reasons,
    Rule, Rules,
};
use relay_connector::{BasicAuth, Permission};
use relay_mail::path::{Mailbox, ReversePath};
use relay_mail::reply::{
    AUTHENTICATED, AUTHENTICATION_UNAVAILABLE, AUTHENTICATION_UNSUCCESSFUL, CHALLENGE, Reply,
    UNRECOGNIZED_AUTHENTICATION,
};
use relay_smtp::sasl::{ClaimedIdentity, Mechanism};
use relay_users::password::PasswordCheck;

/// The mechanisms that the peer may choose now. None: AUTH is not offered.
pub fn mechanisms(rules: &Rules, peer: &Peer) -> Vec<Mechanism> {
    match is_offered(peer) {
        Ok(_) => {
            let is_possible = |mechanism: &Mechanism| match mechanism {
                Mechanism::Plain | Mechanism::Login => true,
                Mechanism::ScramSha256 => rules.users.all_have_scram(),
            };
            Mechanism::ALL.iter().copied().filter(is_possible).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// AUTH with a mechanism of this name: 334, or the reason of its refusal.
pub fn auth(rules: &Rules, peer: &Peer, name: &str) -> Decision {
    let mut reasons = Reasons::default();
    match is_offered(peer) {
        Ok(found) => reasons.note(Rule::AuthMechanism, found),
        Err(found) => {
            reasons.note(Rule::AuthMechanism, found);
            return reasons.conclude(UNRECOGNIZED_AUTHENTICATION, Consequence::ProtocolError);
        }
    }
    let mechanism = Mechanism::of_name(name);
    if !mechanisms(rules, peer).iter().any(|&offered| Some(offered) == mechanism) {
        reasons.note(Rule::Mechanism, format!("`{name}` is not among those that are offered"));
        return reasons.conclude(UNRECOGNIZED_AUTHENTICATION, Consequence::ProtocolError);
    }
    reasons.decide(CHALLENGE)
}

/// Is AUTH offered now, and why?
fn is_offered(peer: &Peer) -> Result<&'static str, &'static str> {
    match peer.connector.auth_mechanism.basic_auth {
        _ if peer.user.is_some() => Err("the client has authenticated already"),
        None => Err("the connector does not have BasicAuth"),
        Some(BasicAuth::WithinTls) if !peer.tls => {
            Err("the connector has BasicAuthRequireTLS, and the session is not encrypted")
        }
        Some(BasicAuth::WithinTls) => Ok("the connector has BasicAuthRequireTLS"),
        Some(BasicAuth::InClear) => Ok("the connector has BasicAuth"),
    }
}

/// AUTH= of MAIL (RFC 4954 section 5): the original submitter, if the peer is trusted. The value of
/// other peers counts as `<>`. It gives no right, and is logged.
pub fn submitter<'m>(peer: &Peer, claimed: Option<&'m ReversePath>) -> Option<&'m Mailbox> {
    match claimed? {
        ReversePath::Mailbox(mailbox) => {
            peer.permissions.contains(Permission::AcceptAuthenticationFlag).then_some(mailbox)
        }
        ReversePath::Null => None,
    }
}

/// The end of an exchange in which the client has sent a password.
pub fn password(
    peer: &Peer,
    claim: &ClaimedIdentity,
    check: &PasswordCheck,
    findings: &Findings,
) -> DecisionOrInquiry {
    match &findings.password {
        None => DecisionOrInquiry::Needs(Inquiry::Password(check.clone())),
        Some(finding) => DecisionOrInquiry::Decided(logon(peer, claim, finding)),
    }
}

/// AUTH from a source with too many failures: no password is compared, so that a client cannot tell
/// a right one from a wrong one, and the named users are not affected.
pub fn logon_refused() -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::LogonFailures, "too many logons from the client's source have failed");
    reasons.conclude(AUTHENTICATION_UNAVAILABLE, Consequence::LogonRefused)
}

/// The end of an exchange: the client claims to be a user, with this result of its proof.
pub fn logon(peer: &Peer, claim: &ClaimedIdentity, proof: &PasswordFinding) -> Decision {
    let mut reasons = Reasons::default();
    let reply = decide(peer, claim, proof, &mut reasons);
    let consequence = match reply == AUTHENTICATION_UNSUCCESSFUL {
        true => Consequence::LogonFailure,
        false => Consequence::None,
    };
    reasons.conclude(reply, consequence)
}

fn decide(
    peer: &Peer,
    claim: &ClaimedIdentity,
    proof: &PasswordFinding,
    reasons: &mut Reasons,
) -> Reply {
    const RULE: Rule = Rule::Authentication;
    let name = claim.name.as_ref().map_or("?", |name| name.as_str());
    match proof {
        PasswordFinding::Unavailable(why) => {
            reasons.note(RULE, format!("{name} could not be checked: {why}"));
            return AUTHENTICATION_UNAVAILABLE;
        }
        PasswordFinding::Wrong(why) => {
            let known = if claim.user.is_some() { "" } else { ", and there is no such user" };
            reasons.note(RULE, format!("{name}: {why}{known}"));
            return AUTHENTICATION_UNSUCCESSFUL;
        }
        PasswordFinding::Right => {}
        PasswordFinding::NotAsked => {
            reasons.note(RULE, "the client would have to prove it; assumed proved here");
        }
    }
    let Some(user) = &claim.user else {
        reasons.note(RULE, format!("there is no user {name}"));
        return AUTHENTICATION_UNSUCCESSFUL;
    };
    reasons.note(RULE, format!("the client is the user {name}"));
    // In Exchange AUTH fails, even with the right password, if Submit is missing.
    if !reasons.permits(&peer.authenticated(Arc::clone(user)), Permission::Submit) {
        return AUTHENTICATION_UNSUCCESSFUL;
    }
    AUTHENTICATED
}
