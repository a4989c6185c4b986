//! Who the peer is.

use std::fmt;

use relay_mail::user_name::UserName;

/// Who the peer is, by what the connector knows of it. Nothing that the client says about itself
/// in HELO or MAIL makes a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// `NT AUTHORITY\ANONYMOUS LOGON`: everybody who did not authenticate.
    Anonymous,
    /// `MS Exchange\Externally Secured Servers`: trusted by where it connects from.
    ExternallySecured,
    /// `MS Exchange\Partner Servers`: a certificate shows that it belongs to a partner's domain.
    Partner,
    /// `<Domain>\Exchange Servers`: a certificate shows that it belongs to our own fleet.
    Server,
    /// `NT AUTHORITY\Authenticated Users`: who has proved with AUTH to be a user of ours.
    User,
}

/// Whom an entry of `grants` or `denies` is for.
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

    /// Accounts that Exchange knows as this principal, without their domain and in lower case: how
    /// `Get-ADPermission` shows it.
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
    /// Is it for a peer that is this principal and, where it authenticated, this user?
    pub fn covers(&self, principal: Principal, user: Option<&UserName>) -> bool {
        match self {
            Self::Principal(every) => *every == principal,
            Self::User(name) => user == Some(name),
        }
    }

    /// Who it is at least: a user of whatever name is a user.
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
