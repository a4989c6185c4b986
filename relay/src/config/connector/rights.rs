//! `auth_mechanism`, `permission_groups`, `grants`, `require_tls`: who may do what.
//!
//! What Exchange has and this version cannot give effect to is refused, not ignored: mechanisms
//! that need AUTH, and groups whose principals come from them. What is only without effect in one
//! place, such as AnonymousUsers beside ExternalAuthoritative, is legal and warned about.

use super::super::document::{Section, Value, Wrong};
use super::super::value::{boolean, text, unknown_word};
use crate::connector::{
    AuthMechanism, Grant, Grantee, Permission, PermissionGroup, PermissionGroups, Principal,
};
use crate::users::UserNameError;

enum MechanismWord {
    None,
    Tls,
    ExternalAuthoritative,
}

enum GroupWord {
    None,
    Group(PermissionGroup),
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
        return Err(Wrong::new(
            "Custom only says that single rights were added",
            "write them down: grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }",
        ));
    }
    if ["ExchangeLegacyServers", "Partners"].into_iter().any(is) {
        return Err(Wrong::new(
            format!("{word} is not supported by this version: nobody can authenticate as one"),
            "remove it",
        ));
    }
    Err(unknown_word(&word, &["AnonymousUsers", "ExchangeUsers", "ExchangeServers", "None"]))
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
        return AuthMechanism { tls: true, external_authoritative: false };
    }
    let has = |wanted: fn(&MechanismWord) -> bool| words.iter().any(wanted);
    let mechanism = AuthMechanism {
        tls: has(|word| matches!(word, MechanismWord::Tls)),
        external_authoritative: has(|word| matches!(word, MechanismWord::ExternalAuthoritative)),
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
    if mechanism.tls && !has_tls {
        let wrong = Wrong::new(
            "Tls without [tls]: STARTTLS is not offered",
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
    if ["Integrated", "BasicAuth", "BasicAuthRequireTLS", "ExchangeServer"].into_iter().any(is) {
        return Err(Wrong::new(
            format!("{word} is not supported by this version, which has no AUTH"),
            "remove it",
        ));
    }
    Err(unknown_word(&word, &["None", "Tls", "ExternalAuthoritative"]))
}

/// Reads `require_tls`.
pub(super) fn require_tls(
    section: &mut Section<'_, '_>,
    mechanism: AuthMechanism,
    has_tls: bool,
) -> bool {
    let line = section.line_of("require_tls");
    let require_tls = section.take("require_tls", boolean).unwrap_or(false);
    if require_tls && !mechanism.tls {
        let wrong = Wrong::new(
            "needs Tls in auth_mechanism",
            "write auth_mechanism = [\"Tls\"], or require_tls = false",
        );
        section.refuse(line, "require_tls", wrong);
    } else if require_tls && !has_tls {
        let wrong = Wrong::new(
            "needs a certificate: nobody could send",
            "name certificate and key in [tls], or write require_tls = false",
        );
        section.refuse(line, "require_tls", wrong);
    }
    require_tls
}

/// Reads `grants = { anonymous = ["ms-Exch-…"], "user:alice" = ["ms-Exch-…"] }`.
pub(super) fn grants(section: &mut Section<'_, '_>) -> Vec<Grant> {
    let place = format!("{}: grants", section.place);
    let mut table = section.take_section("grants", &place);
    let mut grants: Vec<Grant> = Vec::new();
    let mut lists = Vec::new();
    for &principal in Principal::ALL {
        let line = table.line_of(principal.name());
        let list = table.take_list(principal.name(), permission);
        lists.push((Grantee::Principal(principal), line, list));
    }
    for (name, line, list) in table.take_lists("user:", permission) {
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
        for permission in list {
            let grant = Grant { to: to.clone(), permission };
            if grants.contains(&grant) {
                let wrong = Wrong::new(format!("{permission} stands twice"), "remove one of them");
                table.refuse(line, &to.to_string(), wrong);
            } else {
                grants.push(grant);
            }
        }
    }
    table.finish(|key| {
        key.to_lowercase().contains("anonymous").then(|| {
            Wrong::new("is not how the principal is called here", "write anonymous = [ … ]")
        })
    });
    grants
}

/// Rights of Exchange that mean nothing to a relay without AUTH and mailboxes.
const WITHOUT_EFFECT: &[&str] = &[
    "ms-Exch-SMTP-Accept-Exch50",
    "ms-Exch-SMTP-Accept-XAttr",
    "ms-Exch-SMTP-Accept-XProxyFrom",
    "ms-Exch-SMTP-Accept-XSessionParams",
    "ms-Exch-SMTP-Accept-XShadow",
    "ms-Exch-SMTP-Accept-XSysProbe",
];

fn permission(value: Value<'_>) -> Result<Permission, Wrong> {
    let name = text(value)?;
    let permission: Permission = name.parse().map_err(|_| {
        if WITHOUT_EFFECT.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Wrong::new(format!("{name} has no effect on a relay"), "remove it");
        }
        let permissions = Permission::ALL.iter().filter(|permission| permission.has_effect());
        unknown_word(&name, &permissions.map(|permission| permission.name()).collect::<Vec<_>>())
    })?;
    if !permission.has_effect() {
        let found = format!("{permission} has no effect in this version");
        return Err(Wrong::new(found, "remove it"));
    }
    Ok(permission)
}
