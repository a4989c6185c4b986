//! Which rights do permission groups and the access list of a connector give?
//!
//! The access list contains an entry for each right of a permission group, and entries that were
//! added one by one. Only the latter become `grants` and `denies`. A denial goes before every
//! grant, as in section 3 of docs/exchange-semantics.md. Windows would put an own grant before an
//! inherited denial; the import does not, because a right too few is noticed and a right too many
//! is not.

use std::collections::BTreeMap;

use relay_connector::permission::has_no_effect;
use relay_connector::{Permission, PermissionGroup, Principal};

use crate::report::{Fate, RightReport};
use crate::source::{AccessKind, AccessOrigin, AccessRow};

/// The rights of one connector beside its groups.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    pub grants: BTreeMap<&'static str, Vec<Permission>>,
    pub denies: BTreeMap<&'static str, Vec<Permission>>,
    pub reports: Vec<RightReport>,
    /// Accounts with rights of mail that do not exist here.
    pub unknown_accounts: Vec<String>,
}

/// Whom an account stands for.
enum Account {
    Principal(Principal),
    /// Every client; only a denial can be taken over.
    Everyone,
    /// A principal that no client can be here.
    NoClient(&'static str),
    Other,
}

impl Rights {
    /// Reads the access list of a connector with these groups.
    pub(crate) fn read(groups: &[PermissionGroup], rows: &[&AccessRow]) -> Self {
        let mut rights = Self::default();
        // Denials first: they decide what becomes of the grants.
        let (denies, allows): (Vec<&AccessRow>, Vec<&AccessRow>) =
            rows.iter().partition(|row| row.kind == AccessKind::Deny);
        for row in denies.into_iter().chain(allows) {
            for right in &row.rights {
                let (fate, note) = rights.one(groups, row, right.trim());
                rights.reports.push(RightReport {
                    account: row.account.clone(),
                    right: right.trim().to_owned(),
                    kind: row.kind,
                    origin: row.origin,
                    fate,
                    note,
                });
            }
        }
        rights
    }

    fn one(&mut self, groups: &[PermissionGroup], row: &AccessRow, right: &str) -> (Fate, String) {
        if has_no_effect(right) {
            return (Fate::Meaningless, "has no effect on a relay".to_owned());
        }
        let Some(permission) = permission(right) else {
            return (Fate::Meaningless, "is no right of mail".to_owned());
        };
        match (account(&row.account), row.kind) {
            (Account::Principal(principal), AccessKind::Allow) => {
                self.allow(groups, row, principal, permission)
            }
            (Account::Principal(principal), AccessKind::Deny) => {
                push(&mut self.denies, principal, permission);
                (Fate::TakenOver, format!("denies of {principal}{}", of_origin(row)))
            }
            (Account::Everyone, AccessKind::Deny) => {
                for &principal in Principal::ALL {
                    push(&mut self.denies, principal, permission);
                }
                (Fate::Changed, "denied to each principal, since `everyone` is none".to_owned())
            }
            (Account::Everyone, AccessKind::Allow) => {
                let why = "not granted: `everyone` is no principal here; grant it to one principal";
                (Fate::Reference, why.to_owned())
            }
            (Account::NoClient(why), _) => (Fate::Meaningless, why.to_owned()),
            (Account::Other, _) => {
                if !self.unknown_accounts.contains(&row.account) {
                    self.unknown_accounts.push(row.account.clone());
                }
                (Fate::Reference, "the account does not exist here".to_owned())
            }
        }
    }

    fn allow(
        &mut self,
        groups: &[PermissionGroup],
        row: &AccessRow,
        principal: Principal,
        permission: Permission,
    ) -> (Fate, String) {
        let denied = self.denies.get(principal.name());
        if denied.is_some_and(|denied| denied.contains(&permission)) {
            return (Fate::Changed, "not granted: another entry denies it, which wins".to_owned());
        }
        let gives = |group: &&PermissionGroup| group.permissions(principal).contains(permission);
        if let Some(group) = groups.iter().find(gives) {
            return (Fate::TakenOver, format!("permission group {group} gives it"));
        }
        push(&mut self.grants, principal, permission);
        (Fate::TakenOver, format!("grants of {principal}{}", of_origin(row)))
    }
}

fn of_origin(row: &AccessRow) -> &'static str {
    match row.origin {
        AccessOrigin::Own => "",
        AccessOrigin::Inherited => "; the entry is inherited from above the connector",
    }
}

fn push(
    to: &mut BTreeMap<&'static str, Vec<Permission>>,
    principal: Principal,
    permission: Permission,
) {
    let list = to.entry(principal.name()).or_default();
    if !list.contains(&permission) {
        list.push(permission);
    }
}

fn permission(right: &str) -> Option<Permission> {
    Permission::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(right))
}

/// Accounts are compared without their domain and without regard to case. Names of Windows' own
/// accounts are translated; their SIDs are not.
fn account(text: &str) -> Account {
    let name = text.rsplit('\\').next().unwrap_or(text).trim().to_lowercase();
    match name.as_str() {
        "s-1-5-7" => return Account::Principal(Principal::Anonymous),
        "s-1-5-11" => return Account::Principal(Principal::User),
        "s-1-1-0" | "everyone" | "jeder" | "tout le monde" | "todos" | "iedereen" => {
            return Account::Everyone;
        }
        "exchangelegacyinterop" | "exchange legacy interop" | "exchangelegacyservers" => {
            return Account::NoClient("no client can be a server of Exchange 2003 here");
        }
        _ => {}
    }
    let names = |principal: &&Principal| principal.accounts().contains(&name.as_str());
    if let Some(&principal) = Principal::ALL.iter().find(names) {
        return Account::Principal(principal);
    }
    // `ANONYMOUS-ANMELDUNG`, `ANONYMOUS LOGON`: only Windows' own domain has such an account.
    let domain = text.split('\\').next().unwrap_or_default().to_lowercase();
    if name.contains("anonym") && domain.starts_with("nt") {
        return Account::Principal(Principal::Anonymous);
    }
    Account::Other
}
