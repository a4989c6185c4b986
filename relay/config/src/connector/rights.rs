//! `auth_mechanism`, `permission_groups`, `grants` and `denies`: the rights of clients.
//!
//! Mechanisms that this version does not support are refused, not ignored. Settings without effect
//! on a particular connector, such as AnonymousUsers beside ExternalAuthoritative, are legal and
//! cause a warning. The same holds for rights without effect on a relay, because they are in the
//! output of `Get-ADPermission`.

use crate::document::{Section, Value, Wrong};
use crate::value::{text, unknown_word};
use relay_connector::permission::has_no_effect;
use relay_connector::{
    AccessEntry, AuthMechanism, BasicAuth, Grantee, Permission, PermissionGroup, PermissionGroups,
    Principal,
};
use relay_mail::user_name::UserNameError;

#[derive(Clone, Copy, PartialEq)]
enum MechanismWord {
    None,
    Tls,
    BasicAuth,
    BasicAuthRequireTls,
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
    /// A right of Exchange without an effect here.
    WithoutEffect {
        name: String,
        line: u32,
    },
}

/// Reads `permission_groups`. Without the key no client has a right, as in Exchange.
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
        let wrong =
            Wrong::new("None is combined with other groups", "remove None, or the other entries");
        section.refuse(line, "permission_groups", wrong);
    }
    // Custom means that single rights exist, which Exchange stores elsewhere. Without them, the
    // connector would lack rights or denials that it has in Exchange.
    let has_custom = words.iter().any(|word| matches!(word, GroupWord::Custom));
    if has_custom && !section.has_key("grants") && !section.has_key("denies") {
        let wrong = Wrong::new(
            "Custom means that single rights were added, but none is configured",
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

const AUTH_MECHANISM: &str = "auth_mechanism";

/// Reads `auth_mechanism`. Without the key a connector has Tls, as in Exchange.
pub(super) fn auth_mechanism(
    section: &mut Section<'_, '_>,
    groups: PermissionGroups,
    has_certificate: bool,
    has_users: bool,
) -> AuthMechanism {
    let is_there = section.has_key(AUTH_MECHANISM);
    let line = section.line_of(AUTH_MECHANISM);
    let words = section.take_list(AUTH_MECHANISM, mechanism_word);
    if !is_there {
        return AuthMechanism { tls: true, ..AuthMechanism::default() };
    }
    let has = |wanted| words.contains(&wanted);
    let basic_auth = match (has(MechanismWord::BasicAuth), has(MechanismWord::BasicAuthRequireTls))
    {
        (_, true) => Some(BasicAuth::WithinTls),
        (true, false) => Some(BasicAuth::InClear),
        (false, false) => None,
    };
    let mechanism = AuthMechanism {
        tls: has(MechanismWord::Tls),
        basic_auth,
        external_authoritative: has(MechanismWord::ExternalAuthoritative),
        exchange_server: has(MechanismWord::ExchangeServer),
    };
    if has(MechanismWord::None) && mechanism != AuthMechanism::default() {
        let wrong = Wrong::new(
            "None is combined with other mechanisms",
            "remove None, or the other entries",
        );
        section.refuse(line, AUTH_MECHANISM, wrong);
    }
    if has(MechanismWord::BasicAuthRequireTls) && !(has(MechanismWord::BasicAuth) && mechanism.tls)
    {
        let wrong = Wrong::new(
            "BasicAuthRequireTLS needs BasicAuth and Tls",
            "write auth_mechanism = [\"Tls\", \"BasicAuth\", \"BasicAuthRequireTLS\"]",
        );
        section.refuse(line, AUTH_MECHANISM, wrong);
    }
    if let Some(basic_auth) = basic_auth {
        check_basic_auth(section, line, basic_auth, has_certificate);
        if !has_users {
            let wrong = Wrong::new(
                "BasicAuth needs users",
                "write [authentication] and users_file = \"/etc/relay/users.toml\" below it",
            );
            section.refuse(line, AUTH_MECHANISM, wrong);
        }
    }
    if mechanism.external_authoritative && !groups.contains(PermissionGroup::ExchangeServers) {
        let wrong = Wrong::new(
            "ExternalAuthoritative needs the permission group ExchangeServers",
            "write permission_groups = [\"ExchangeServers\"]",
        );
        section.refuse(line, AUTH_MECHANISM, wrong);
    }
    if mechanism.external_authoritative && (basic_auth.is_some() || mechanism.exchange_server) {
        let wrong = Wrong::new(
            "ExternalAuthoritative can be combined only with Tls: its clients do not authenticate",
            "remove ExternalAuthoritative, or the other mechanisms",
        );
        section.refuse(line, AUTH_MECHANISM, wrong);
    }
    if mechanism.tls && !has_certificate && basic_auth != Some(BasicAuth::WithinTls) {
        let wrong = Wrong::new(
            "Tls without a certificate: STARTTLS is not offered",
            "name certificate and key in [tls], or remove Tls",
        );
        section.warn(line, AUTH_MECHANISM, wrong);
    }
    mechanism
}

/// Checks the encryption that BasicAuth requires.
fn check_basic_auth(
    section: &Section<'_, '_>,
    line: u32,
    basic_auth: BasicAuth,
    has_certificate: bool,
) {
    match basic_auth {
        BasicAuth::InClear => {
            let wrong = Wrong::new(
                "BasicAuth without BasicAuthRequireTLS: passwords may cross the network unencrypted",
                "add BasicAuthRequireTLS, unless the network is trusted",
            );
            section.warn(line, AUTH_MECHANISM, wrong);
        }
        BasicAuth::WithinTls if !has_certificate => {
            let wrong = Wrong::new(
                "BasicAuthRequireTLS needs a certificate: no client could authenticate",
                "name certificate and key in [tls], or remove BasicAuthRequireTLS",
            );
            section.refuse(line, AUTH_MECHANISM, wrong);
        }
        BasicAuth::WithinTls => {}
    }
}

fn mechanism_word(value: Value<'_>) -> Result<MechanismWord, Wrong> {
    const WORDS: &[(&str, MechanismWord)] = &[
        ("None", MechanismWord::None),
        ("Tls", MechanismWord::Tls),
        ("BasicAuth", MechanismWord::BasicAuth),
        ("BasicAuthRequireTLS", MechanismWord::BasicAuthRequireTls),
        ("ExchangeServer", MechanismWord::ExchangeServer),
        ("ExternalAuthoritative", MechanismWord::ExternalAuthoritative),
    ];
    let word = text(value)?;
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if let Some((_, meaning)) = WORDS.iter().find(|(name, _)| is(name)) {
        return Ok(*meaning);
    }
    if is("Integrated") {
        return Err(Wrong::new(
            "Integrated is not supported: NTLM and Kerberos need a Windows domain",
            "write BasicAuth and BasicAuthRequireTLS, and create users with `relay passwd`",
        ));
    }
    Err(unknown_word(&word, &WORDS.iter().map(|(name, _)| *name).collect::<Vec<_>>()))
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
                let wrong =
                    Wrong::new(format!("{permission} is listed twice"), "remove one of them");
                table.refuse(line, &to.to_string(), wrong);
            } else {
                entries.push(entry);
            }
        }
    }
    table.finish(account);
    entries
}

/// The principal that corresponds to an account of Exchange, as a suggestion.
fn account(key: &str) -> Option<Wrong> {
    let account = key.rsplit('\\').next().unwrap_or(key).to_lowercase();
    let is_meant = |principal: &&Principal| {
        principal.accounts().contains(&account.as_str())
            // The name of this account is translated, but hardly ever this word in it.
            || **principal == Principal::Anonymous && account.contains("anonym")
    };
    let principal = Principal::ALL.iter().find(is_meant)?;
    let mend = format!("write {principal} = [ … ]");
    Some(Wrong::new("is not the name of the principal here", mend))
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
