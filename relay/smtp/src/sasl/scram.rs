//! The messages of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! ```text
//! C: n,,n=user,r=client-nonce                          client-first-message
//! S: r=client-nonce server-nonce,s=salt,i=iterations   server-first-message
//! C: c=biws,r=client-nonce server-nonce,p=proof        client-final-message
//! S: v=server-signature                                server-final-message
//! ```

use crate::limits::SCRAM_NONCE_MOST;
use crate::sasl::{ClaimedIdentity, SaslExchange, SaslStep};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_mail::limits::USER_NAME_OCTETS;
use relay_users::Users;
use relay_users::scram::ScramCredentials;
use ring::hmac;

/// An exchange after the server-first-message.
#[derive(Clone, Debug)]
pub struct ServerFirst {
    claim: ClaimedIdentity,
    credentials: ScramCredentials,
    /// The gs2-header as the client sent it.
    gs2_header: String,
    /// Both nonces.
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`: the beginning of the AuthMessage.
    so_far: String,
}

/// Handles the client-first-message. The server's nonce depends on `seed` and on this message, so
/// that no two are equal.
pub(super) fn first(message: &[u8], users: &Users, seed: &[u8; 32]) -> SaslStep {
    let nonce = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), message);
    first_with_nonce(message, users, &STANDARD.encode(&nonce.as_ref()[..18]))
}

pub(super) fn first_with_nonce(message: &[u8], users: &Users, server_nonce: &str) -> SaslStep {
    let Ok(message) = str::from_utf8(message) else {
        return SaslStep::Malformed("the message is not UTF-8");
    };
    match ClientFirst::parse(message) {
        Err(problem) => SaslStep::Malformed(problem),
        Ok(first) => first.answer(users, server_nonce),
    }
}

struct ClientFirst<'m> {
    gs2_header: &'m str,
    authorization: Option<String>,
    bare: &'m str,
    name: String,
    nonce: &'m str,
}

impl<'m> ClientFirst<'m> {
    /// RFC 5802 section 7.
    fn parse(message: &'m str) -> Result<Self, &'static str> {
        const NOT_THE_FORM: &str = "it is not a client-first-message";
        let mut parts = message.splitn(3, ',');
        let flag = parts.next().unwrap_or_default();
        let (Some(authorization), Some(bare)) = (parts.next(), parts.next()) else {
            return Err(NOT_THE_FORM);
        };
        // `y`: the client would bind a channel and assumes that we cannot, which is true.
        if flag.starts_with("p=") {
            return Err("it binds a channel, which was not offered");
        }
        if !matches!(flag, "n" | "y") {
            return Err(NOT_THE_FORM);
        }
        let authorization = match authorization {
            "" => None,
            text => Some(text.strip_prefix("a=").and_then(saslname).ok_or(NOT_THE_FORM)?),
        };
        let gs2_header = &message[..message.len() - bare.len()];
        let mut attributes = bare.split(',');
        let name = attributes.next().and_then(|first| first.strip_prefix("n=")).and_then(saslname);
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let (Some(name), Some(nonce)) = (name, nonce.filter(|nonce| is_nonce(nonce))) else {
            // `m=` before them announces an extension that must be understood: we know none.
            return Err(NOT_THE_FORM);
        };
        if !attributes.all(is_attribute) {
            return Err(NOT_THE_FORM);
        }
        Ok(Self { gs2_header, authorization, bare, name, nonce })
    }

    fn answer(self, users: &Users, server_nonce: &str) -> SaslStep {
        let claim = ClaimedIdentity::new(&self.name, users);
        let for_another =
            |other: String| other.parse().ok().is_none_or(|other| Some(other) != claim.name);
        if self.authorization.is_some_and(for_another) {
            return SaslStep::Unproven(claim, "it asks to act for another user");
        }
        let (user, credentials) = users.scram_credentials(&self.name);
        // A user who cannot use the mechanism counts as unknown.
        let claim = ClaimedIdentity { user: user.cloned(), ..claim };
        let nonce = format!("{}{server_nonce}", self.nonce);
        let salt = STANDARD.encode(&credentials.salt);
        let challenge = format!("r={nonce},s={salt},i={}", credentials.iterations);
        let so_far = format!("{},{challenge},", self.bare);
        let gs2_header = self.gs2_header.to_owned();
        let first = ServerFirst { claim, credentials, gs2_header, nonce, so_far };
        SaslStep::Challenge(SaslExchange::ScramFinal(first), challenge.into_bytes())
    }
}

impl ServerFirst {
    /// The client-final-message.
    pub(super) fn step(&self, message: &[u8]) -> SaslStep {
        const NOT_THE_FORM: &str = "it is not a client-final-message";
        let Ok(message) = str::from_utf8(message) else {
            return SaslStep::Malformed("the message is not UTF-8");
        };
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else {
            return SaslStep::Malformed(NOT_THE_FORM);
        };
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|first| first.strip_prefix("c="));
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let proof = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let (Some(binding), Some(nonce), Some(proof)) = (binding, nonce, proof) else {
            return SaslStep::Malformed(NOT_THE_FORM);
        };
        if !attributes.all(is_attribute) {
            return SaslStep::Malformed(NOT_THE_FORM);
        }
        let unproven = |why| SaslStep::Unproven(self.claim.clone(), why);
        if binding != STANDARD.encode(&self.gs2_header) {
            return unproven("the channel binding is not the one of the first message");
        }
        if nonce != self.nonce {
            return unproven("the nonce is not the one of this exchange");
        }
        let auth_message = format!("{}{without_proof}", self.so_far);
        let accepted = self.credentials.accepts(auth_message.as_bytes(), &proof);
        match &self.claim.user {
            Some(user) if accepted => {
                let signature = self.credentials.server_signature(auth_message.as_bytes());
                let message = format!("v={}", STANDARD.encode(signature));
                let exchange = SaslExchange::ScramEnd { user: user.clone() };
                SaslStep::Challenge(exchange, message.into_bytes())
            }
            _ => unproven("the proof is wrong"),
        }
    }
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign, and no other `=` is allowed.
fn saslname(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        let (code, after) = after.split_at_checked(2)?;
        name.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = after;
    }
    name.push_str(rest);
    let is_name = !name.is_empty() && !name.contains('\0') && name.len() <= USER_NAME_OCTETS;
    is_name.then_some(name)
}

/// `printable` without the comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= SCRAM_NONCE_MOST
        && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

/// `attr-val`: an extension, which need not be understood.
fn is_attribute(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|letter| letter.is_ascii_alphabetic())
        && characters.next() == Some('=')
        && characters.next().is_some()
        && !text.contains('\0')
}
