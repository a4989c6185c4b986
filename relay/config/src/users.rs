//! The users file: converts a text to [`Users`], or to refusals with file, line, key, problem and
//! remedy.
//!
//! `relay passwd` writes the file; these refusals are for administrators who edit it. If users
//! other than its owner and group can read the file, it is refused, not only warned of: an attacker
//! with the hashes can guess passwords as long as necessary, without a trace in any log.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::document::{Document, Section, Value, Wrong};
use crate::limits::USERS_FILE_OCTETS;
use crate::value::text;
use crate::{ConfigErrors, LoadError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_mail::user_name::UserName;
use relay_users::limits::SECRET_OCTETS;
use relay_users::password::PasswordHash;
use relay_users::{SendAs, StoredSecret, User, Users};

/// Reads the file.
///
/// # Errors
/// It cannot be read, others may read it, it is too large, or it is refused.
pub fn load(path: &Path) -> Result<Users, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o027 != 0 {
        return Err(LoadError::TooOpen { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = String::new();
    file.take(USERS_FILE_OCTETS + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > USERS_FILE_OCTETS {
        return Err(LoadError::TooLarge { path: path.to_owned(), most: USERS_FILE_OCTETS });
    }
    Ok(parse(&text, &path.display().to_string())?)
}

/// Reads a text; `file_name` is its name in refusals.
///
/// # Errors
/// All refusals, in the order of lines.
pub fn parse(text: &str, file_name: &str) -> Result<Users, ConfigErrors> {
    let (document, root) = Document::parse(text, file_name)?;
    let mut root = document.root(root);
    let mend = "create the file with `relay passwd`, which writes a secret";
    let secret = root.require("secret", mend, secret);
    let users = users(root.take_sections("user"));
    root.finish(|_| None);
    match secret {
        Some(secret) if !document.has_refusals() => Ok(Users::new(secret, users)),
        _ => Err(document.into_refusals()),
    }
}

fn users(sections: Vec<Section<'_, '_>>) -> Vec<User> {
    let mut lines: HashMap<UserName, u32> = HashMap::new();
    let mut users = Vec::new();
    for mut section in sections {
        let name = section.require("name", "write name = \"alice\"", name);
        if let Some(name) = &name {
            section.place = format!("user \"{name}\"");
            if let Some(earlier) = lines.insert(name.clone(), section.line) {
                let problem = format!("is the name of another user (line {earlier})");
                section.refuse(section.line, "name", Wrong::new(problem, "remove one of them"));
            }
        }
        let mend = "write it with `relay passwd`";
        let password = section.require("password", mend, |value| {
            let text = text(value)?;
            PasswordHash::parse(&text).map_err(|error| Wrong::new(error.to_string(), mend))
        });
        let scram = section.take("scram", |value| {
            let text = text(value)?;
            text.parse().map_err(|error| Wrong::new(format!("{error}"), mend))
        });
        let send_as = section.take_list("send_as", send_as);
        if let (Some(name), Some(password)) = (name, password) {
            users.push(User { name, password, scram, send_as });
        }
        section.finish(|_| None);
    }
    users
}

fn secret(value: Value<'_>) -> Result<StoredSecret, Wrong> {
    let text = text(value)?;
    STANDARD.decode(text).ok().and_then(StoredSecret::new).ok_or_else(|| {
        Wrong::new(
            format!("is not {SECRET_OCTETS} octets or more in base64"),
            format!("write what `head -c {SECRET_OCTETS} /dev/urandom | base64` prints"),
        )
    })
}

fn name(value: Value<'_>) -> Result<UserName, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|error| Wrong::new(format!("{error}"), "write name = \"alice\""))
}

fn send_as(value: Value<'_>) -> Result<SendAs, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|error| {
        Wrong::new(
            format!("{error}"),
            "write an address, or @contoso.example for all of a domain, or @*.contoso.example for \
             its subdomains as well",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::users::*;

    const SECRET: &str = "secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";
    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_sound_file() {
        let text = format!(
            "{SECRET}[[user]]\nname = \"Alice\"\npassword = \"{HASH}\"\n\
             send_as = [\"alice@contoso.example\", \"@*.contoso.example\"]\n"
        );
        let users = parse(&text, "users.toml").unwrap();
        let alice = users.get(&"alice".parse().unwrap()).unwrap();
        assert_eq!(alice.password.as_str(), HASH);
        assert_eq!(alice.scram, None);
        let send_as: Vec<_> = alice.send_as.iter().map(ToString::to_string).collect();
        assert_eq!(send_as, ["alice@contoso.example", "@*.contoso.example"]);
        assert!(!users.all_have_scram());
    }

    #[test]
    fn every_refusal_by_its_text() {
        let user = format!("[[user]]\nname = \"alice\"\npassword = \"{HASH}\"\n");
        for (text, expected) in [
            (
                String::new(),
                "users.toml:1: secret: is missing\n    create the file with `relay passwd`, which \
                 writes a secret",
            ),
            (
                "secret = \"AAAA\"\n".to_owned(),
                "users.toml:1: secret: is not 32 octets or more in base64\n    write what `head -c \
                 32 /dev/urandom | base64` prints",
            ),
            (
                format!("{SECRET}{user}{user}"),
                "users.toml:5: user \"alice\": name: is the name of another user (line 2)\n    \
                 remove one of them",
            ),
            (
                format!("{SECRET}[[user]]\nname = \"alice\"\npassword = \"secret\"\n"),
                "users.toml:4: user \"alice\": password: it is not a hash in the PHC string \
                 format: password hash string missing field\n    write it with `relay passwd`",
            ),
            (
                format!("{SECRET}[[user]]\nname = \"\"\npassword = \"{HASH}\"\n"),
                "users.toml:3: [[user]]: name: the name is empty\n    write name = \"alice\"",
            ),
            (
                format!("{SECRET}{user}scram = \"x\"\n"),
                "users.toml:5: user \"alice\": scram: it is not of the form \
                 SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey\n    write it with `relay \
                 passwd`",
            ),
            (
                format!("{SECRET}{user}send_as = [\"contoso.example\"]\n"),
                "users.toml:5: user \"alice\": send_as: `contoso.example` is not an address: \
                 the address has no @ and domain\n    write an address, or @contoso.example for all of a domain, or \
                 @*.contoso.example for its subdomains as well",
            ),
            (
                format!("{SECRET}{user}mail = 1\n"),
                "users.toml:5: user \"alice\": mail: is not a key of this table\n    known here: \
                 name, password, scram, send_as",
            ),
        ] {
            let refusals = parse(&text, "users.toml").unwrap_err().to_string();
            assert_eq!(refusals, expected);
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(&path, SECRET).unwrap();
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&path).map(drop)
        };
        for mode in [0o600, 0o640, 0o400] {
            set(mode).unwrap();
        }
        for mode in [0o604, 0o660, 0o601, 0o644] {
            let error = set(mode).unwrap_err().to_string();
            assert!(error.ends_with(&format!("users.toml: others may read or write it (mode {mode:o}); chmod 600, or 640 where the daemon's group reads it")), "{error}");
        }
    }
}
