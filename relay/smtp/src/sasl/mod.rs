//! The server's side of SASL (RFC 4422): PLAIN, LOGIN and SCRAM-SHA-256.
//!
//! An [`SaslExchange`] waits for a response of the client. A response turns it into a [`SaslStep`]:
//! the next challenge, credentials whose password must still be compared, or the end. Octets in,
//! octets out: [`crate::command`] handles base64 and lines, and nothing here is random or slow.
//!
//! This module decides which user the client has proved to be. `policy` decides which mechanisms a
//! connector offers, and the rights of the user.

mod login;
mod plain;
pub mod scram;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use relay_mail::user_name::UserName;
use relay_users::password::{Password, PasswordCheck};
use relay_users::{User, Users};

/// The mechanisms that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 4616: name and password in one response.
    Plain,
    /// draft-murchison-sasl-login: name and password in one response each. Obsolete, and still used
    /// by many devices.
    Login,
    /// RFC 7677: proves knowledge of the password without sending it.
    ScramSha256,
}

/// A running exchange: the expected message of the client.
#[derive(Clone, Debug)]
pub enum SaslExchange {
    /// The one message of PLAIN.
    Plain,
    /// The name, in LOGIN.
    LoginName,
    /// The password, in LOGIN.
    LoginPassword {
        /// The name, as it was given.
        name: String,
    },
    /// The client-first-message of SCRAM.
    ScramFirst,
    /// The client-final-message of SCRAM.
    ScramFinal(scram::ServerFirst),
    /// The empty response with which a client confirms the server-final-message: RFC 4954 cannot
    /// carry that message in the reply of success.
    ScramEnd {
        /// The proven user.
        user: Arc<User>,
    },
}

/// The result of a response.
#[derive(Clone, Debug)]
pub enum SaslStep {
    /// The exchange continues after this challenge.
    Challenge(SaslExchange, Vec<u8>),
    /// The password must still be compared, and the comparison decides the exchange.
    Compare(ClaimedIdentity, PasswordCheck),
    /// The client has proved to be this user.
    Proven(Arc<User>),
    /// The client has not proved to be the claimed user.
    Unproven(ClaimedIdentity, &'static str),
    /// Nothing can be proved now.
    Unavailable(&'static str),
    /// The response is not in the form of the mechanism.
    Malformed(&'static str),
}

/// The identity that a client claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedIdentity {
    /// The name, if it is a valid user name.
    pub name: Option<UserName>,
    /// The user of that name.
    pub user: Option<Arc<User>>,
}

impl Mechanism {
    /// Every mechanism, in the order in which they are offered.
    pub const ALL: &[Self] = &[Self::Plain, Self::Login, Self::ScramSha256];

    /// The name that IANA registered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of this name, without regard to case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

impl SaslExchange {
    /// The exchange at its beginning, and the challenge for a client that sent no initial response.
    pub fn begin(mechanism: Mechanism) -> (Self, Vec<u8>) {
        match mechanism {
            Mechanism::Plain => (Self::Plain, Vec::new()),
            Mechanism::Login => (Self::LoginName, login::NAME_PROMPT.to_vec()),
            Mechanism::ScramSha256 => (Self::ScramFirst, Vec::new()),
        }
    }

    /// Handles a response. `seed` is random and new for each exchange; it makes the nonce of SCRAM,
    /// which cannot work without it.
    pub fn step(&self, response: &[u8], users: &Users, seed: Option<&[u8; 32]>) -> SaslStep {
        match self {
            Self::Plain => plain::step(response, users),
            Self::LoginName => login::name(response),
            Self::LoginPassword { name } => login::password(name, response, users),
            Self::ScramFirst => match seed {
                Some(seed) => scram::first(response, users, seed),
                None => SaslStep::Unavailable("there are no random numbers for a nonce"),
            },
            Self::ScramFinal(first) => first.step(response),
            Self::ScramEnd { user } if response.is_empty() => SaslStep::Proven(Arc::clone(user)),
            Self::ScramEnd { .. } => {
                SaslStep::Malformed("something follows the last message of SCRAM")
            }
        }
    }
}

impl ClaimedIdentity {
    /// The claim to be the user with this name.
    pub fn new(name: &str, users: &Users) -> Self {
        let name: Option<UserName> = name.parse().ok();
        let user = name.as_ref().and_then(|name| users.get(name)).cloned();
        Self { name, user }
    }

    /// The step for a claim with a password. It does not depend yet on whether the user exists.
    fn with_password(self, password: &str, users: &Users) -> SaslStep {
        // A text that cannot be a password is compared with a dummy user, which needs the same
        // time.
        let (user, password) = match Password::new(password) {
            Ok(password) => (self.user.clone(), password),
            Err(_) => (None, Password::dummy()),
        };
        let check = users.password_check(user.as_deref(), password);
        SaslStep::Compare(Self { user, ..self }, check)
    }
}
