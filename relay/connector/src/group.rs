//! Permission groups and the permissions of each.
//!
//! The sets are those of Exchange's documentation. Permissions without an effect in a relay
//! (Exch50, XShadow and similar ones) are left out. `Custom` is not a group: it says that there are
//! single permissions besides the groups, which are `grants` and `denies` here.

use std::fmt;

use crate::{Permission, PermissionSet, Principal};

/// A named set of rights, for one principal or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermissionGroup {
    /// Rights of clients that did not authenticate.
    AnonymousUsers,
    /// Rights of clients that authenticated as a user.
    ExchangeUsers,
    /// Rights of servers: our own, and the externally secured ones.
    ExchangeServers,
    /// Rights of servers of Exchange 2003 and older. No client can be one here.
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

/// A user is not a server: it sends as its own addresses, and within the size limit.
const EXCHANGE_USERS: PermissionSet = PermissionSet::of(&[
    Permission::Submit,
    Permission::AcceptAnyRecipient,
    Permission::BypassAntiSpam,
    Permission::AcceptHeadersRouting,
]);

/// The permissions of `MS Exchange\Externally Secured Servers` in ExchangeServers: unlike
/// Exchange's own servers, they may not send organization and forest header fields.
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

/// Partners may write to us, like any client with their domain: neither relay, nor send as us.
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

    /// The permissions that the group gives to this principal.
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

    /// The principals to which the group gives permissions.
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

    /// Exchange's `None`: the group gives no permissions.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for PermissionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
