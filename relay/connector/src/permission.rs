//! Permissions by their Exchange names, and sets of them.

use std::fmt;
use std::str::FromStr;

macro_rules! permissions {
    ($($(#[$meta:meta])* $name:ident = $exchange:literal,)*) => {
        /// One permission. Permissions of Exchange without an effect in a relay do not exist here;
        /// see [`has_no_effect`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $($(#[$meta])* $name,)* }

        impl Permission {
            /// Every permission, in the order of the documentation's table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The Exchange name, as `grants` spells it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $exchange,)* }
            }
        }
    };
}

permissions! {
    /// May send mail at all.
    Submit = "ms-Exch-SMTP-Submit",
    /// May name recipients of any domain: relay.
    AcceptAnyRecipient = "ms-Exch-SMTP-Accept-Any-Recipient",
    /// The sender is not checked against the principal.
    AcceptAnySender = "ms-Exch-SMTP-Accept-Any-Sender",
    /// May use our own authoritative domains as sender.
    AcceptAuthoritativeDomainSender = "ms-Exch-SMTP-Accept-Authoritative-Domain-Sender",
    /// The client counts as internal: its messages are stamped `Internal`, see `policy::auth_as`.
    AcceptAuthenticationFlag = "ms-Exch-SMTP-Accept-Authentication-Flag",
    /// Block lists, SPF, DKIM, DMARC and Rspamd are skipped.
    BypassAntiSpam = "ms-Exch-Bypass-Anti-Spam",
    /// `MaxMessageSize` is not applied.
    BypassMessageSizeLimit = "ms-Exch-Bypass-Message-Size-Limit",
    /// Received and Resent fields are kept.
    AcceptHeadersRouting = "ms-Exch-Accept-Headers-Routing",
    /// X-MS-Exchange-Organization fields are kept.
    AcceptHeadersOrganization = "ms-Exch-Accept-Headers-Organization",
    /// X-MS-Exchange-Forest fields are kept.
    AcceptHeadersForest = "ms-Exch-Accept-Headers-Forest",
}

/// Permissions of Exchange without an effect in a relay, as `Get-ADPermission` shows them: parts of
/// the protocol between Exchange servers, and the permissions of send connectors.
const WITHOUT_EFFECT: &[&str] = &[
    "ms-Exch-SMTP-Accept-Exch50",
    "ms-Exch-SMTP-Accept-XAttr",
    "ms-Exch-SMTP-Accept-XProxyFrom",
    "ms-Exch-SMTP-Accept-XSessionParams",
    "ms-Exch-SMTP-Accept-XShadow",
    "ms-Exch-SMTP-Accept-XSysProbe",
    "ms-Exch-SMTP-Send-Exch50",
    "ms-Exch-SMTP-Send-XShadow",
    "ms-Exch-Send-Headers-Routing",
    "ms-Exch-Send-Headers-Organization",
    "ms-Exch-Send-Headers-Forest",
];
/// Exchange has one for each kind of context.
const WITHOUT_EFFECT_PREFIX: &str = "ms-Exch-SMTP-Send-XMessageContext-";

/// Is this a permission of Exchange that has no effect here?
pub fn has_no_effect(name: &str) -> bool {
    let begins_with = name.get(..WITHOUT_EFFECT_PREFIX.len());
    begins_with.is_some_and(|start| start.eq_ignore_ascii_case(WITHOUT_EFFECT_PREFIX))
        || WITHOUT_EFFECT.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PermissionSet(u16);

const _: () = assert!(Permission::ALL.len() <= u16::BITS as usize);

impl PermissionSet {
    /// No permission.
    pub const EMPTY: Self = Self(0);

    /// The set of these permissions.
    pub const fn of(permissions: &[Permission]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < permissions.len() {
            bits |= 1 << permissions[index] as u16;
            index += 1;
        }
        Self(bits)
    }

    /// Is this permission in the set?
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u16) != 0
    }

    /// Permissions of either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Permissions of this set that are not in the other.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Is the set empty?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |&permission| self.contains(permission))
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not that of a permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a permission of this relay")]
pub struct UnknownPermission(pub String);

/// As in Exchange, names are compared without regard to case.
impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownPermission(text.to_owned()))
    }
}
