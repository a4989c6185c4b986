//! `auth_mechanism`, `permission_groups`, `grants` and `denies`: who may do what.
//!
//! Mechanisms that this version cannot give effect to are refused, not ignored. What is only
//! without effect in one place, such as AnonymousUsers beside ExternalAuthoritative, is legal and
//! warned about; so are rights that no relay can give effect to, since they come with the output of
//! `Get-ADPermission`.

use super::super::document::{Section, Value, Wrong};
use super::super::value::{text, unknown_word};
use crate::connector::permission::has_no_effect;
use crate::connector::{
    AccessEntry, AuthMechanism, Grantee, Permission, PermissionGroup, PermissionGroups, Principal,
};
use crate::users::UserNameError;

enum MechanismWord {
    None,
    Tls,
    ExternalAuthoritative,
    ExchangeServer,
}

enum GroupWord {
    Custom,
    Group(PermissionGroup),
    None,
}

enum Right {
    Known(Permission),
    /// Of Exchange, and without an effect here.
    WithoutEffect {
        name: String,
        line: u32,
    },
}

/// Reads `permission_groups`. Without it nobody gets anything, as in Exchange.
pub(super) fn permission_groups(section: &mut Section<'_, '_>) -> PermissionGroups {
    let line = section.line_of("permission_groups");
    let words = section.take_list("permission_groups", group_word);
    let mut groups = PermissionGroups::default();
    for word in &words {
        if let GroupWord::Group(group) = word {
            groups.insert(*group);
        }
    }
    let has_none = words.iter().any(|word| matches!(word, GroupWord::None));
    if has_none && !groups.is_empty() {
        let wrong = Wrong::new("None stands beside other groups", "remove None, or the others");
        section.refuse(line, "permission_groups", wrong);
    }
    // Custom says that single rights exist, which Exchange keeps elsewhere. To believe it without
    // them would load a connector that lacks rights, or denials, it has in Exchange.
    let has_custom = words.iter().any(|word| matches!(word, GroupWord::Custom));
    if has_custom && !section.has("grants") && !section.has("denies") {
        let wrong = Wrong::new(
            "Custom says that single rights were added, and none is here",
            "write what Get-ADPermission shows as grants and denies, or remove Custom",
        );
        section.refuse(line, "permission_groups", wrong);
    }
    groups
}

fn group_word(value: Value<'_>) -> Result<GroupWord, Wrong> {
    let word = text(value)?;
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("None") {
        return Ok(GroupWord::None);
    }
    if let Some(&group) = PermissionGroup::ALL.iter().find(|group| is(group.name())) {
        return Ok(GroupWord::Group(group));
    }
    if is("Custom") {
        return Ok(GroupWord::Custom);
    }
    let names = PermissionGroup::ALL.iter().map(|group| group.name());
    Err(unknown_word(&word, &names.chain(["Custom", "None"]).collect::<Vec<_>>()))
}

/// Reads `auth_mechanism`. Without it a connector has Tls, as in Exchange.
pub(super) fn auth_mechanism(
    section: &mut Section<'_, '_>,
    groups: PermissionGroups,
    has_tls: bool,
) -> AuthMechanism {
    const KEY: &str = "auth_mechanism";
    let is_there = section.has(KEY);
    let line = section.line_of(KEY);
    let words = section.take_list(KEY, mechanism_word);
    if !is_there {
        return AuthMechanism { tls: true, ..AuthMechanism::default() };
    }
    let has = |wanted: fn(&MechanismWord) -> bool| words.iter().any(wanted);
    let mechanism = AuthMechanism {
        tls: has(|word| matches!(word, MechanismWord::Tls)),
        external_authoritative: has(|word| matches!(word, MechanismWord::ExternalAuthoritative)),
        exchange_server: has(|word| matches!(word, MechanismWord::ExchangeServer)),
    };
    if has(|word| matches!(word, MechanismWord::None)) && mechanism != AuthMechanism::default() {
        let wrong = Wrong::new("None stands beside other mechanisms", "remove None, or the others");
        section.refuse(line, KEY, wrong);
    }
    if mechanism.external_authoritative && !groups.contains(PermissionGroup::ExchangeServers) {
        let wrong = Wrong::new(
            "ExternalAuthoritative needs the permission group ExchangeServers",
            "write permission_groups = [\"ExchangeServers\"]",
        );
        section.refuse(line, KEY, wrong);
    }
    if mechanism.external_authoritative && mechanism.exchange_server {
        let wrong = Wrong::new(
            "ExternalAuthoritative may stand beside Tls only",
            "remove ExternalAuthoritative, or ExchangeServer",
        );
        section.refuse(line, KEY, wrong);
    }
    if mechanism.tls && !has_tls {
        let wrong = Wrong::new(
            "Tls without a certificate: STARTTLS is not offered",
            "name certificate and key in [tls], or remove Tls",
        );
        section.warn(line, KEY, wrong);
    }
    mechanism
}

fn mechanism_word(value: Value<'_>) -> Result<MechanismWord, Wrong> {
    let word = text(value)?;
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("None") {
        return Ok(MechanismWord::None);
    }
    if is("Tls") {
        return Ok(MechanismWord::Tls);
    }
    if is("ExternalAuthoritative") {
        return Ok(MechanismWord::ExternalAuthoritative);
    }
    if is("ExchangeServer") {
        return Ok(MechanismWord::ExchangeServer);
    }
    if ["Integrated", "BasicAuth", "BasicAuthRequireTLS"].into_iter().any(is) {
        return Err(Wrong::new(
            format!("{word} is not supported by this version, which has no AUTH"),
            "remove it",
        ));
    }
    Err(unknown_word(&word, &["None", "Tls", "ExchangeServer", "ExternalAuthoritative"]))
}

/// Reads `grants = { anonymous = ["ms-Exch-…"], "user:alice" = ["ms-Exch-…"] }`, or `denies`.
pub(super) fn access_entries(section: &mut Section<'_, '_>, key: &'static str) -> Vec<AccessEntry> {
    let place = format!("{}: {key}", section.place);
    let mut table = section.take_section(key, &place);
    let mut entries: Vec<AccessEntry> = Vec::new();
    let mut lists = Vec::new();
    for &principal in Principal::ALL {
        let line = table.line_of(principal.name());
        let list = table.take_list(principal.name(), right);
        lists.push((Grantee::Principal(principal), line, list));
    }
    for (name, line, list) in table.take_lists("user:", right) {
        match name.parse() {
            Ok(name) => lists.push((Grantee::User(name), line, list)),
            Err(error) => {
                let error: UserNameError = error;
                let wrong = Wrong::new(error.to_string(), "write \"user:alice\" = [ … ]");
                table.refuse(line, &format!("user:{name}"), wrong);
            }
        }
    }
    for (to, line, list) in lists {
        for right in list {
            let permission = match right {
                Right::Known(permission) => permission,
                Right::WithoutEffect { name, line } => {
                    let wrong = Wrong::new(format!("{name} has no effect on a relay"), "remove it");
                    table.warn(line, &to.to_string(), wrong);
                    continue;
                }
            };
            let entry = AccessEntry { to: to.clone(), permission };
            if entries.contains(&entry) {
                let wrong = Wrong::new(format!("{permission} stands twice"), "remove one of them");
                table.refuse(line, &to.to_string(), wrong);
            } else {
                entries.push(entry);
            }
        }
    }
    table.finish(account);
    entries
}

/// The principal that an account of Exchange stands for, as a mend.
fn account(key: &str) -> Option<Wrong> {
    let account = key.rsplit('\\').next().unwrap_or(key).to_lowercase();
    let is_meant = |principal: &&Principal| {
        principal.accounts().contains(&account.as_str())
            // The name of this account is translated; the word in it hardly ever.
            || **principal == Principal::Anonymous && account.contains("anonym")
    };
    let principal = Principal::ALL.iter().find(is_meant)?;
    let mend = format!("write {principal} = [ … ]");
    Some(Wrong::new("is not how the principal is called here", mend))
}

fn right(value: Value<'_>) -> Result<Right, Wrong> {
    let line = value.line;
    let name = text(value)?;
    if has_no_effect(&name) {
        return Ok(Right::WithoutEffect { name, line });
    }
    name.parse().map(Right::Known).map_err(|_| {
        let permissions = Permission::ALL.iter().map(|permission| permission.name());
        unknown_word(&name, &permissions.collect::<Vec<_>>())
    })
}
