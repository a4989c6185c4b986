//! Permission groups and the rights that each gives.
//!
//! The sets are those of Exchange's documentation. Only groups with a principal that can exist in
//! this version are here: ExchangeLegacyServers and Partners need mutual TLS, and
//! [`crate::config`] refuses them rather than give nobody their rights.

use std::fmt;

use super::{Permission, PermissionSet, Principal};

/// A named set of rights for one principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermissionGroup {
    /// Rights for everybody who did not authenticate.
    AnonymousUsers,
    /// Rights for everybody who authenticated as a user.
    ExchangeUsers,
    /// Rights for servers; here, for the externally secured ones.
    ExchangeServers,
}

/// The permission groups of a connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermissionGroups {
    /// `AnonymousUsers`.
    pub anonymous_users: bool,
    /// `ExchangeUsers`.
    pub exchange_users: bool,
    /// `ExchangeServers`.
    pub exchange_servers: bool,
}

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

impl PermissionGroup {
    /// Every group, in Exchange's order.
    pub const ALL: &[Self] = &[Self::AnonymousUsers, Self::ExchangeUsers, Self::ExchangeServers];

    /// The name, as `permission_groups` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnonymousUsers => "AnonymousUsers",
            Self::ExchangeUsers => "ExchangeUsers",
            Self::ExchangeServers => "ExchangeServers",
        }
    }

    /// Who gets the rights.
    pub const fn principal(self) -> Principal {
        match self {
            Self::AnonymousUsers => Principal::Anonymous,
            Self::ExchangeUsers => Principal::User,
            Self::ExchangeServers => Principal::ExternallySecured,
        }
    }

    /// The rights.
    pub const fn permissions(self) -> PermissionSet {
        match self {
            Self::AnonymousUsers => ANONYMOUS_USERS,
            Self::ExchangeUsers => EXCHANGE_USERS,
            Self::ExchangeServers => EXTERNALLY_SECURED_SERVERS,
        }
    }
}

impl PermissionGroups {
    /// The groups, in Exchange's order.
    pub fn iter(self) -> impl Iterator<Item = PermissionGroup> {
        PermissionGroup::ALL.iter().copied().filter(move |&group| self.contains(group))
    }

    /// Is this group among them?
    pub const fn contains(self, group: PermissionGroup) -> bool {
        match group {
            PermissionGroup::AnonymousUsers => self.anonymous_users,
            PermissionGroup::ExchangeUsers => self.exchange_users,
            PermissionGroup::ExchangeServers => self.exchange_servers,
        }
    }

    /// Adds a group.
    pub const fn insert(&mut self, group: PermissionGroup) {
        match group {
            PermissionGroup::AnonymousUsers => self.anonymous_users = true,
            PermissionGroup::ExchangeUsers => self.exchange_users = true,
            PermissionGroup::ExchangeServers => self.exchange_servers = true,
        }
    }

    /// Exchange's `None`: nobody gets anything.
    pub const fn is_empty(self) -> bool {
        !self.anonymous_users && !self.exchange_users && !self.exchange_servers
    }
}

impl fmt::Display for PermissionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
