//! AUTH at a next hop (RFC 4954): PLAIN, LOGIN and XOAUTH2.
//!
//! This module chooses the mechanism and writes its responses. [`super::opening`] decides whether
//! credentials may be sent on the connection.

use std::fmt;

use crate::client::Capabilities;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits;

/// Our user name at a next hop, and its proof.
#[derive(Clone, PartialEq, Eq)]
pub struct NextHopCredentials {
    /// The user name.
    pub user: String,
    /// The proof.
    pub secret: ClientSecret,
}

/// The proof for a user name.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientSecret {
    /// For PLAIN (RFC 4616) or LOGIN.
    Password(String),
    /// An OAuth 2.0 access token, for XOAUTH2 of Google and Microsoft.
    Token(String),
}

/// An exchange under way.
pub(super) struct ClientSaslExchange {
    credentials: NextHopCredentials,
    /// An initial response that is too long for the command line.
    unsent: Option<String>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Everything has been said.
    Said,
    LoginUser,
    LoginPassword,
    /// XOAUTH2 sends the reason of a refusal in a challenge; an empty response answers it.
    TokenRefused,
}

impl ClientSaslExchange {
    /// The exchange and its first line, or nothing if no offered mechanism is usable.
    pub(super) fn begin(
        credentials: NextHopCredentials,
        offered: &Capabilities,
    ) -> Option<(Self, String)> {
        let user = &credentials.user;
        let (mechanism, response, step) = match &credentials.secret {
            ClientSecret::Password(password) if offered.auth.plain => {
                let response = STANDARD.encode(format!("\0{user}\0{password}"));
                ("PLAIN", Some(response), Step::Said)
            }
            ClientSecret::Password(_) if offered.auth.login => ("LOGIN", None, Step::LoginUser),
            ClientSecret::Token(token) if offered.auth.xoauth2 => {
                let response =
                    STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"));
                ("XOAUTH2", Some(response), Step::TokenRefused)
            }
            _ => return None,
        };
        let line = format!("AUTH {mechanism}");
        let (line, unsent) = match response {
            None => (line, None),
            // A space before the response and CRLF after it.
            Some(response) if line.len() + response.len() + 3 <= limits::CLIENT_COMMAND_OCTETS => {
                (format!("{line} {response}"), None)
            }
            Some(response) => (line, Some(response)),
        };
        Some((Self { credentials, unsent, step }, line))
    }

    /// The response to a 334, or nothing if the exchange has none.
    pub(super) fn answer(&mut self) -> Option<String> {
        // RFC 4954 section 4: the challenge before it is empty; its contents do not matter.
        if let Some(response) = self.unsent.take() {
            return Some(response);
        }
        let (line, next) = match self.step {
            Step::Said => return None,
            Step::LoginUser => (STANDARD.encode(&self.credentials.user), Step::LoginPassword),
            Step::LoginPassword => match &self.credentials.secret {
                ClientSecret::Password(password) => (STANDARD.encode(password), Step::Said),
                ClientSecret::Token(_) => return None,
            },
            Step::TokenRefused => (String::new(), Step::Said),
        };
        self.step = next;
        Some(line)
    }
}

/// Without the secret: this ends in logs.
impl fmt::Debug for ClientSaslExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Exchange");
        shown.field("credentials", &self.credentials).field("step", &self.step);
        shown.finish_non_exhaustive()
    }
}

/// Without the secret: this ends in logs.
impl fmt::Debug for NextHopCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
