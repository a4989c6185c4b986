//! The file with our credentials for a next hop.
//!
//! ```toml
//! user = "edge1"
//! password = "…"        # or: token = "…", an OAuth 2.0 access token for XOAUTH2
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use relay_smtp::client::{ClientSecret, NextHopCredentials};
use serde::Deserialize;

use crate::limits;

/// Why a file gives no credentials. No variant quotes the contents of the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("auth: cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on this host can read the file.
    #[error("auth: other users can read or write {}; run chmod o-rwx", .0.display())]
    Open(PathBuf),
    /// The file does not have the required keys.
    #[error("auth: {} must contain user = \"…\", and either password = \"…\" or token = \"…\"", .0.display())]
    Malformed(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    user: String,
    password: Option<String>,
    token: Option<String>,
}

/// Reads the file.
///
/// # Errors
/// [`CredentialsError`]; the mail waits.
pub fn read(path: &Path) -> Result<NextHopCredentials, CredentialsError> {
    let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // The mode of the open file, so that the file cannot be replaced between both steps.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(CredentialsError::Open(path.to_owned()));
    }
    let mut text = String::new();
    file.take(limits::CREDENTIALS_OCTETS).read_to_string(&mut text).map_err(unreadable)?;
    let malformed = || CredentialsError::Malformed(path.to_owned());
    let Written { user, password, token } = toml::from_str(&text).map_err(|_| malformed())?;
    // A NUL separates the parts of PLAIN, and ^A those of XOAUTH2.
    let is_clean = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
    let secret = match (password, token) {
        (Some(password), None) if is_clean(&password) => ClientSecret::Password(password),
        (None, Some(token)) if is_clean(&token) => ClientSecret::Token(token),
        _ => return Err(malformed()),
    };
    if is_clean(&user) { Ok(NextHopCredentials { user, secret }) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::Permissions;

    use crate::credentials::*;

    fn read_text(text: &str, mode: u32) -> Result<NextHopCredentials, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read(&path)
    }

    #[test]
    fn a_password_or_a_token() {
        let read = read_text("user = \"edge\"\npassword = \"pass word\"\n", 0o640).unwrap();
        let password = ClientSecret::Password("pass word".to_owned());
        assert_eq!(read, NextHopCredentials { user: "edge".to_owned(), secret: password });
        let read = read_text("user = \"edge\"\ntoken = \"t\"\n", 0o600).unwrap();
        assert!(read.secret == ClientSecret::Token("t".to_owned()));
    }

    #[test]
    fn a_file_that_others_can_read() {
        for mode in [0o644, 0o602, 0o604] {
            let read = read_text("user = \"edge\"\npassword = \"x\"\n", mode);
            assert!(matches!(read, Err(CredentialsError::Open(_))), "{mode:o}: {read:?}");
        }
    }

    #[test]
    fn invalid_credentials_are_refused() {
        for text in [
            "",
            "user = \"edge\"\n",
            "user = \"edge\"\npassword = \"x\"\ntoken = \"y\"\n",
            "user = \"edge\"\npassword = \"x\"\nsecret = 1\n",
            "user = \"\"\npassword = \"x\"\n",
            "user = \"a\\u0000b\"\npassword = \"x\"\n",
            "password: s3cret",
        ] {
            let error = read_text(text, 0o600).unwrap_err();
            assert!(matches!(error, CredentialsError::Malformed(_)), "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
