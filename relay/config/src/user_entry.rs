//! Changes to the users file, for `relay passwd`.
//!
//! An entry is changed in its position, so that the administrator's comments, order and other
//! entries stay. The file is replaced as a whole: a reader sees the old file or the new file, even
//! after a power failure in between.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_mail::user_name::UserName;
use relay_users::limits::SCRAM_ITERATIONS;
use relay_users::password::{HashError, Password, PasswordHash};
use relay_users::scram::ScramCredentials;
use relay_users::{SendAs, StoredSecret};
use rustix::fs::{FlockOperation, flock};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// The change of a user.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// Set this password, and these addresses if there are any. Add the user if it does not exist.
    Set {
        /// The password.
        password: Password,
        /// Replaces the user's current list; `None` keeps the list.
        send_as: Option<Vec<SendAs>>,
    },
    /// Remove the user.
    Remove,
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChanged {
    /// The user was added.
    Added,
    /// The user was changed.
    Changed,
    /// The user was removed.
    Removed,
    /// The user to remove does not exist.
    NotThere,
}

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The file cannot be read or replaced.
    #[error("cannot {what} the users file: {source}")]
    File {
        /// `read` or `replace`.
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not TOML, or not tables of users.
    #[error("cannot changed the users file: {0}")]
    Text(String),
    /// A hash or a secret cannot be created.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Changes the file at `path`, which need not exist. Concurrent changes wait for each other.
///
/// # Errors
/// As [`ChangeError`] lists them; the file is unchanged.
pub fn change(
    path: &Path,
    name: &UserName,
    change: &UserChange,
) -> Result<UserChanged, ChangeError> {
    let unreadable = |source| ChangeError::File { what: "read", source };
    let not_replaced = |source| ChangeError::File { what: "replace", source };
    // A symbolic link stays: its target is replaced, in the directory of the target.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // The file itself is replaced, so the lock is on its directory.
    let folder_file = File::open(folder).map_err(unreadable)?;
    flock(&folder_file, FlockOperation::LockExclusive).map_err(|error| unreadable(error.into()))?;
    let before = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(error)),
    };
    let (after, done) = edit(before.as_deref(), name, change)?;
    if done != UserChanged::NotThere {
        replace(path, folder, &after).map_err(not_replaced)?;
        folder_file.sync_all().map_err(not_replaced)?;
    }
    Ok(done)
}

/// The changed text.
fn edit(
    before: Option<&str>,
    name: &UserName,
    change: &UserChange,
) -> Result<(String, UserChanged), ChangeError> {
    let mut document: DocumentMut = before
        .unwrap_or_default()
        .parse()
        .map_err(|error| ChangeError::Text(format!("{error}")))?;
    if before.is_none() {
        let secret =
            StoredSecret::random().map_err(|error| HashError::NotMade(error.to_string()))?;
        document["secret"] = value(STANDARD.encode(secret.octets()));
        document.decor_mut().set_prefix(HEADING);
    }
    let users = document
        .entry("user")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .ok_or_else(|| ChangeError::Text("its users are not below [[user]]".to_owned()))?;
    let is_it = |table: &Table| {
        table
            .get("name")
            .and_then(Item::as_str)
            .is_some_and(|other| other.parse() == Ok(name.clone()))
    };
    let place = users.iter().position(is_it);
    let done = match (change, place) {
        (UserChange::Remove, None) => UserChanged::NotThere,
        (UserChange::Remove, Some(place)) => {
            users.remove(place);
            UserChanged::Removed
        }
        (UserChange::Set { password, send_as }, Some(place)) => {
            if let Some(table) = users.get_mut(place) {
                set(table, password, send_as.as_deref())?;
            }
            UserChanged::Changed
        }
        (UserChange::Set { password, send_as }, None) => {
            let mut table = Table::new();
            table["name"] = value(name.as_str());
            set(&mut table, password, Some(send_as.as_deref().unwrap_or_default()))?;
            users.push(table);
            UserChanged::Added
        }
    };
    Ok((document.to_string(), done))
}

const HEADING: &str = "# Users who may authenticate; see `users_file` of the configuration. `relay passwd` changes it,\n\
     # `relay reload` makes the daemon read it again. The secret is no password: it prevents that names\n\
     # of users are guessed.\n";

fn set(
    table: &mut Table,
    password: &Password,
    send_as: Option<&[SendAs]>,
) -> Result<(), ChangeError> {
    table["password"] = value(PasswordHash::make(password)?.as_str());
    let scram = ScramCredentials::make(password.as_str(), SCRAM_ITERATIONS)?;
    table["scram"] = value(scram.to_string());
    if let Some(send_as) = send_as {
        table["send_as"] = value(send_as.iter().map(ToString::to_string).collect::<Array>());
    }
    Ok(())
}

/// Writes a temporary file, syncs it, and renames it. Owner and mode stay; only its owner can read
/// a new file.
fn replace(path: &Path, folder: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or(OsStr::new("users")).to_owned();
    name.push(".new");
    let beside = folder.join(name);
    // An earlier change left this file behind, and no other process uses it, because we hold the
    // lock.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = (|| {
        if let Ok(before) = fs::metadata(path) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use crate::user_entry::*;
    use crate::users;

    fn set_to(password: &str, send_as: Option<&[&str]>) -> UserChange {
        let send_as = send_as.map(|list| list.iter().map(|text| text.parse().unwrap()).collect());
        UserChange::Set { password: Password::new(password).unwrap(), send_as }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_through_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let (alice, bob) = ("Alice".parse().unwrap(), "bob".parse().unwrap());
        let opens = |name, password: &str| {
            let users = users::load(&path).unwrap();
            let user = users.get(name).unwrap();
            let password = Password::new(password).unwrap();
            users.password_check(Some(user), password).perform().unwrap()
        };

        let first = set_to("one", Some(&["alice@contoso.example"]));
        assert_eq!(change(&path, &alice, &first).unwrap(), UserChanged::Added);
        assert_eq!(mode(&path), 0o600);
        assert!(opens(&alice, "one"));
        assert!(users::load(&path).unwrap().all_have_scram());

        // The rest of the file stays: comments, order, mode and addresses.
        let text = fs::read_to_string(&path).unwrap().replace("[[user]]", "# the first\n[[user]]");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(change(&path, &bob, &set_to("two", None)).unwrap(), UserChanged::Added);
        assert_eq!(change(&path, &alice, &set_to("three", None)).unwrap(), UserChanged::Changed);
        assert_eq!(mode(&path), 0o640);
        assert!(opens(&alice, "three") && !opens(&alice, "one") && opens(&bob, "two"));
        let alice_now = users::load(&path).unwrap().get(&alice).unwrap().clone();
        assert_eq!(alice_now.send_as, ["alice@contoso.example".parse().unwrap()]);
        assert!(
            fs::read_to_string(&path).unwrap().contains("# the first\n[[user]]\nname = \"alice\"")
        );

        assert_eq!(change(&path, &bob, &UserChange::Remove).unwrap(), UserChanged::Removed);
        assert_eq!(change(&path, &bob, &UserChange::Remove).unwrap(), UserChanged::NotThere);
        assert!(users::load(&path).unwrap().get(&bob).is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    /// An administrator has the file elsewhere and links to it.
    #[test]
    fn a_link_stays_a_link_and_its_target_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link.toml"), folder.path().join("users.toml"));
        let alice = "alice".parse().unwrap();
        change(&target, &alice, &set_to("wonderland", None)).unwrap();
        std::os::unix::fs::symlink("users.toml", &link).unwrap();
        change(&link, &alice, &UserChange::Remove).unwrap();
        assert!(link.is_symlink());
        assert!(users::load(&target).unwrap().get(&alice).is_none());
    }

    #[test]
    fn a_file_that_cannot_be_changed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let alice = "alice".parse().unwrap();
        for text in ["user = 1\n", "[[user]\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(
                change(&path, &alice, &UserChange::Remove),
                Err(ChangeError::Text(_))
            ));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
