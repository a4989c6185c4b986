//! The identity of the client for the connector.

use std::fmt;

use relay_mail::user_name::UserName;

/// The identity of the client, from the facts that the connector knows. Statements of the client in
/// HELO or MAIL do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// `NT AUTHORITY\ANONYMOUS LOGON`: clients that did not authenticate.
    Anonymous,
    /// `MS Exchange\Externally Secured Servers`: trusted because of their address.
    ExternallySecured,
    /// `MS Exchange\Partner Servers`: their certificate shows a partner's domain.
    Partner,
    /// `<Domain>\Exchange Servers`: their certificate shows one of our own servers.
    Server,
    /// `NT AUTHORITY\Authenticated Users`: clients that authenticated with AUTH as a user.
    User,
}

/// The grantee of an entry of `grants` or `denies`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// Every peer that is this principal.
    Principal(Principal),
    /// The user of this name, and no other.
    User(UserName),
}

impl Principal {
    /// Every principal, in the order of the documentation's table.
    pub const ALL: &[Self] =
        &[Self::Anonymous, Self::User, Self::Server, Self::ExternallySecured, Self::Partner];

    /// The name, as `grants`, `denies`, logs and `explain` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ExternallySecured => "externally-secured",
            Self::Partner => "partner",
            Self::Server => "server",
            Self::User => "user",
        }
    }

    /// Accounts that Exchange has for this principal, without their domain and in lower case, as
    /// `Get-ADPermission` shows them.
    pub const fn accounts(self) -> &'static [&'static str] {
        match self {
            Self::Anonymous => &["anonymous logon", "anonymoususers"],
            Self::ExternallySecured => &["externally secured servers"],
            Self::Partner => &["partner servers", "partners"],
            Self::Server => &[
                "exchange servers",
                "exchangeservers",
                "edge transport servers",
                "hub transport servers",
            ],
            Self::User => &["authenticated users", "exchangeusers"],
        }
    }
}

impl Grantee {
    /// Does it include a peer with this principal and, if it has authenticated, this user?
    pub fn covers(&self, principal: Principal, user: Option<&UserName>) -> bool {
        match self {
            Self::Principal(every) => *every == principal,
            Self::User(name) => user == Some(name),
        }
    }

    /// The principal: every named user is a user.
    pub const fn principal(&self) -> Principal {
        match self {
            Self::Principal(principal) => *principal,
            Self::User(_) => Principal::User,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As `grants` spells it: `user`, or `user:alice`.
impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => principal.fmt(f),
            Self::User(name) => write!(f, "{}:{name}", Principal::User),
        }
    }
}
