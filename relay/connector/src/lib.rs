//! The data of a receive connector: bindings, remote ranges, permission groups, limits.
//!
//! This crate has data that was already validated; `config` makes it, and `policy` decides what
//! follows from it. The one decision made here is in [`table`]: to which connector, and to which of
//! its ranges, does a connection belong?

pub mod antispam;
pub mod binding;
pub mod connection;
pub mod connector_limits;
pub mod encryption;
pub mod extensions;
pub mod group;
pub mod id;
pub mod limits;
pub mod permission;
pub mod principal;
pub mod proxies;
pub mod range;
pub mod table;

use std::num::NonZeroU32;

use relay_mail::user_name::UserName;

pub use antispam::{AntiSpam, BlockList, CheckMode};
pub use binding::Binding;
pub use connection::{ClientAddress, Connection};
pub use connector_limits::{Limits, MessageRateSource, RejectRecipientDomains};
pub use encryption::{CertificateName, ConnectorTls, TlsVersion};
pub use extensions::{Extensions, SizeEnabled};
pub use group::{PermissionGroup, PermissionGroups};
pub use id::{ConnectorId, ConnectorIds, RangeId};
pub use permission::{Permission, PermissionSet};
pub use principal::{Grantee, Principal};
pub use proxies::Proxies;
pub use range::Range;
pub use table::{Clients, Table, TableMatch};

/// A named policy: on these bindings, from these ranges, these principals have these rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// `name`: unique without regard to case.
    pub name: String,
    /// The line of the configuration that the connector begins on.
    pub line: u32,
    /// `comment`: the administrator's own words.
    pub comment: String,
    /// `enabled`: a disabled connector is not in the table.
    pub enabled: bool,
    /// `bindings` and `implicit_tls_bindings`: where it listens.
    pub bindings: Vec<Binding>,
    /// `remote_ip_ranges`: its clients. A [`RangeId`] is an index into this list.
    pub remote_ip_ranges: Vec<Range>,
    /// `auth_mechanism`: what it offers and what it assumes.
    pub auth_mechanism: AuthMechanism,
    /// `permission_groups`: rights by the dozen.
    pub permission_groups: PermissionGroups,
    /// `grants`: single permissions, in addition to those of the groups.
    pub grants: Vec<AccessEntry>,
    /// `denies`: permissions that a principal does not have, even if a group or a grant gives them.
    pub denies: Vec<AccessEntry>,
    /// How it encrypts.
    pub encryption: ConnectorTls,
    /// `require_tls`: no mail without STARTTLS.
    pub require_tls: bool,
    /// `refuse`: connections get a 421, or the guard drops them if it is attached.
    pub refuse: bool,
    /// `syn_budget`: SYNs of all its sources together. `None`: not limited.
    pub syn_budget: Option<SynBudget>,
    /// `syn_budget_per_source`: SYNs of each source address. `None`: not limited.
    pub syn_budget_per_source: Option<SynBudget>,
    /// `banner`: the whole greeting after `220 `; `None` means `<fqdn> ESMTP`.
    pub banner: Option<String>,
    /// `fqdn`: the name in the greeting, the EHLO reply and the Received field.
    pub fqdn: String,
    /// `require_ehlo_domain`: a client without a domain name in EHLO is refused.
    pub require_ehlo_domain: bool,
    /// Which extensions it offers.
    pub extensions: Extensions,
    /// Recipients that are refused only because of their domain.
    pub reject_recipient_domains: RejectRecipientDomains,
    /// Its checks of mail from strangers.
    pub antispam: AntiSpam,
    /// The limits of one message or session.
    pub limits: Limits,
    /// `protocol_logging_level`: are the commands and replies of its sessions logged?
    pub protocol_logging_level: ProtocolLoggingLevel,
}

/// `AuthMechanism`, as far as this version supports it. All values off: Exchange's `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthMechanism {
    /// `Tls`: STARTTLS is offered when there is a certificate.
    pub tls: bool,
    /// `BasicAuth`: users may authenticate.
    pub basic_auth: Option<BasicAuth>,
    /// `ExternalAuthoritative`: every client is externally secured from the first octet.
    pub external_authoritative: bool,
    /// `ExchangeServer`: a certificate of our own servers makes a client a server.
    pub exchange_server: bool,
}

/// When users may authenticate. PLAIN and LOGIN send the password readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicAuth {
    /// `BasicAuth` alone: at any time, also unencrypted.
    InClear,
    /// With `BasicAuthRequireTLS`: within TLS.
    WithinTls,
}

/// `ProtocolLoggingLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolLoggingLevel {
    /// The one line of every session.
    #[default]
    None,
    /// Also commands, replies and other events, one line each; neither messages nor authentication
    /// data.
    Verbose,
}

/// One entry of `grants` or `denies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The grantee.
    pub to: Grantee,
    /// The permission that is granted or denied.
    pub permission: Permission,
}

/// A token bucket: `rate` tokens are added per second, and it has at most `burst` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynBudget {
    /// Tokens a second.
    pub rate: NonZeroU32,
    /// Tokens of a full bucket.
    pub burst: NonZeroU32,
}

/// The source of a peer's permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionSource {
    /// `grants` names it, for this grantee.
    Grants(Grantee),
    /// It comes from a permission group.
    Group(PermissionGroup),
}

/// Does a peer have a permission, and why?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// `denies` names it.
    Denied {
        /// The grantee of the entry.
        to: Grantee,
        /// The source that would give the permission otherwise.
        against: Option<PermissionSource>,
    },
    /// It has it.
    Granted(PermissionSource),
    /// Nothing gives it.
    NotGranted,
}

impl Connector {
    /// The principal of a client of this connector before it authenticates.
    pub const fn principal(&self) -> Principal {
        if self.auth_mechanism.external_authoritative {
            Principal::ExternallySecured
        } else {
            Principal::Anonymous
        }
    }

    /// Can a peer of this connector ever be this principal?
    pub fn can_be(&self, principal: Principal) -> bool {
        match principal {
            Principal::Anonymous | Principal::ExternallySecured => principal == self.principal(),
            Principal::Partner => self.encryption.domain_secure_enabled,
            Principal::Server => self.auth_mechanism.exchange_server,
            Principal::User => self.auth_mechanism.basic_auth.is_some(),
        }
    }

    /// The principals that a client of this connector can have.
    pub fn principals(&self) -> impl Iterator<Item = Principal> {
        Principal::ALL.iter().copied().filter(|&principal| self.can_be(principal))
    }

    /// All permissions that this connector gives to this principal.
    pub fn permissions(&self, principal: Principal) -> PermissionSet {
        self.permissions_of(principal, None)
    }

    /// All permissions that this connector gives to a peer: as this principal and, if it has
    /// authenticated, as this user.
    pub fn permissions_of(&self, principal: Principal, user: Option<&UserName>) -> PermissionSet {
        let of = |entries: &[AccessEntry]| {
            entries
                .iter()
                .filter(|entry| entry.to.covers(principal, user))
                .map(|entry| PermissionSet::of(&[entry.permission]))
                .fold(PermissionSet::EMPTY, PermissionSet::union)
        };
        self.permission_groups
            .iter()
            .map(|group| group.permissions(principal))
            .fold(of(&self.grants), PermissionSet::union)
            .without(of(&self.denies))
    }

    /// Does a peer have a permission, and what is its source? A denial goes before everything, like
    /// deny entries in Exchange.
    pub fn source_of_permission(
        &self,
        principal: Principal,
        user: Option<&UserName>,
        permission: Permission,
    ) -> Standing {
        let entry = |entries: &[AccessEntry]| {
            let is_meant = |entry: &&AccessEntry| {
                entry.permission == permission && entry.to.covers(principal, user)
            };
            entries.iter().find(is_meant).map(|entry| entry.to.clone())
        };
        let source = self
            .permission_groups
            .iter()
            .find(|group| group.permissions(principal).contains(permission))
            .map(PermissionSource::Group)
            .or_else(|| entry(&self.grants).map(PermissionSource::Grants));
        match (entry(&self.denies), source) {
            (Some(to), against) => Standing::Denied { to, against },
            (None, Some(source)) => Standing::Granted(source),
            (None, None) => Standing::NotGranted,
        }
    }

    /// The range that an id names.
    pub fn range(&self, id: RangeId) -> Option<&Range> {
        self.remote_ip_ranges.get(usize::try_from(id.0).ok()?)
    }
}

impl Standing {
    /// The text for a reason, for a peer that is this principal.
    pub fn describe(&self, principal: Principal) -> String {
        match self {
            Self::Granted(PermissionSource::Group(group)) => {
                format!("granted to {principal} by permission group {group}")
            }
            Self::Granted(PermissionSource::Grants(to)) => format!("granted to {to} by grants"),
            Self::Denied { to, against: None } => format!("denied to {to} by denies"),
            Self::Denied { to, against: Some(PermissionSource::Group(group)) } => {
                format!("denied to {to} by denies, against permission group {group}")
            }
            Self::Denied { to, against: Some(PermissionSource::Grants(_)) } => {
                format!("denied to {to} by denies, against grants")
            }
            Self::NotGranted => format!("not granted to {principal}"),
        }
    }
}
