//! Permission groups and the rights that each gives.
//!
//! The sets are those of Exchange's documentation. What Exchange gives in them and no relay can
//! give effect to (Exch50, XShadow and their like) is left out. `Custom` is no group: it says that
//! single rights exist beside the groups, which here are `grants` and `denies`.

use std::fmt;

use crate::{Permission, PermissionSet, Principal};

/// A named set of rights, for one principal or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermissionGroup {
    /// Rights for everybody who did not authenticate.
    AnonymousUsers,
    /// Rights for everybody who authenticated as a user.
    ExchangeUsers,
    /// Rights for servers: those of our own fleet, and the externally secured ones.
    ExchangeServers,
    /// Rights for servers of Exchange 2003 and older. Nobody can be one here.
    ExchangeLegacyServers,
    /// Rights for servers of partners.
    Partners,
}

/// The permission groups of a connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermissionGroups(u8);

const _: () = assert!(PermissionGroup::ALL.len() <= u8::BITS as usize);

const ANONYMOUS_USERS: PermissionSet = PermissionSet::of(&[
    Permission::Submit,
    Permission::AcceptAnySender,
    Permission::AcceptAuthoritativeDomainSender,
    Permission::AcceptHeadersRouting,
]);

/// A user is no server: it sends as itself, and within the size limit.
const EXCHANGE_USERS: PermissionSet = PermissionSet::of(&[
    Permission::Submit,
    Permission::AcceptAnyRecipient,
    Permission::BypassAntiSpam,
    Permission::AcceptHeadersRouting,
]);

/// What ExchangeServers gives `MS Exchange\Externally Secured Servers`: unlike Exchange's own
/// servers, those may not bring organization and forest header fields.
const EXTERNALLY_SECURED_SERVERS: PermissionSet = PermissionSet::of(&[
    Permission::Submit,
    Permission::AcceptAnyRecipient,
    Permission::AcceptAnySender,
    Permission::AcceptAuthoritativeDomainSender,
    Permission::AcceptAuthenticationFlag,
    Permission::BypassAntiSpam,
    Permission::BypassMessageSizeLimit,
    Permission::AcceptHeadersRouting,
]);

const EXCHANGE_SERVERS: PermissionSet = EXTERNALLY_SECURED_SERVERS.union(PermissionSet::of(&[
    Permission::AcceptHeadersOrganization,
    Permission::AcceptHeadersForest,
]));

/// Partners may write to us, as anybody may whose domain is theirs: neither relay, nor send as us.
const PARTNER_SERVERS: PermissionSet =
    PermissionSet::of(&[Permission::Submit, Permission::AcceptHeadersRouting]);

impl PermissionGroup {
    /// Every group, in Exchange's order.
    pub const ALL: &[Self] = &[
        Self::AnonymousUsers,
        Self::ExchangeUsers,
        Self::ExchangeServers,
        Self::ExchangeLegacyServers,
        Self::Partners,
    ];

    /// The name, as `permission_groups` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnonymousUsers => "AnonymousUsers",
            Self::ExchangeUsers => "ExchangeUsers",
            Self::ExchangeServers => "ExchangeServers",
            Self::ExchangeLegacyServers => "ExchangeLegacyServers",
            Self::Partners => "Partners",
        }
    }

    /// What the group gives this principal.
    pub const fn permissions(self, principal: Principal) -> PermissionSet {
        match (self, principal) {
            (Self::AnonymousUsers, Principal::Anonymous) => ANONYMOUS_USERS,
            (Self::ExchangeUsers, Principal::User) => EXCHANGE_USERS,
            (Self::ExchangeServers, Principal::ExternallySecured) => EXTERNALLY_SECURED_SERVERS,
            (Self::ExchangeServers, Principal::Server) => EXCHANGE_SERVERS,
            (Self::Partners, Principal::Partner) => PARTNER_SERVERS,
            _ => PermissionSet::EMPTY,
        }
    }

    /// Whom the group gives anything.
    pub fn principals(self) -> impl Iterator<Item = Principal> {
        Principal::ALL
            .iter()
            .copied()
            .filter(move |&principal| !self.permissions(principal).is_empty())
    }
}

impl PermissionGroups {
    /// The groups, in Exchange's order.
    pub fn iter(self) -> impl Iterator<Item = PermissionGroup> {
        PermissionGroup::ALL.iter().copied().filter(move |&group| self.contains(group))
    }

    /// Is this group among them?
    pub const fn contains(self, group: PermissionGroup) -> bool {
        self.0 & (1 << group as u8) != 0
    }

    /// Adds a group.
    pub const fn insert(&mut self, group: PermissionGroup) {
        self.0 |= 1 << group as u8;
    }

    /// Exchange's `None`: nobody gets anything.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for PermissionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
