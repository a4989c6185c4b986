//! Users of our own, who can prove with AUTH who they are.
//!
//! This module holds what is known of a user: its [`UserName`], a hash of its password
//! ([`password`]), what SCRAM needs in its place ([`scram`]), and the addresses that it may send as
//! ([`SendAs`]). `config` reads them from the users file, `relay passwd` changes that file. How
//! a client proves to be a user is for `smtp::sasl`, what a user may do for
//! `policy`.
//!
//! Who asks for a user that does not exist shall not learn it, neither from what we answer nor from
//! how long it takes: [`Users::password_check`] and [`Users::scram_credentials`] answer for every
//! name.

pub mod limits;
pub mod password;
pub mod scram;
mod send_as;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ring::hmac;

use crate::password::{Cost, Password, PasswordCheck, PasswordHash};
use crate::scram::ScramCredentials;
use relay_mail::user_name::UserName;
pub use send_as::{SendAs, SendAsError};

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What it is called.
    pub name: UserName,
    /// What its password is compared with.
    pub password: PasswordHash,
    /// What SCRAM-SHA-256 compares; a user without it cannot use that mechanism.
    pub scram: Option<ScramCredentials>,
    /// The addresses that it may send as.
    pub send_as: Vec<SendAs>,
}

/// Every user.
#[derive(Clone, Debug)]
pub struct Users {
    users: BTreeMap<UserName, Arc<User>>,
    secret: StoredSecret,
    /// What the password of nobody is compared with: as costly as the costliest there is.
    dummy: PasswordHash,
    /// SCRAM iterations of nobody: those of the first user.
    iterations: u32,
}

/// What the salts of nobody are made of, so that they are the same for each attempt and known to
/// none. It stands in the users file.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret(Box<[u8]>);

impl Users {
    /// These users. Of two with one name the later one holds.
    pub fn new(secret: StoredSecret, users: impl IntoIterator<Item = User>) -> Self {
        let users: BTreeMap<_, _> =
            users.into_iter().map(|user| (user.name.clone(), Arc::new(user))).collect();
        let costs = users.values().map(|user| user.password.cost());
        let cost = costs.max_by_key(|cost| cost.time()).unwrap_or(Cost::of_new());
        let dummy = PasswordHash::dummy(cost);
        let iterations = users
            .values()
            .find_map(|user| user.scram.as_ref())
            .map_or(limits::SCRAM_ITERATIONS, |scram| scram.iterations.get());
        Self { users, secret, dummy, iterations }
    }

    /// The user of this name.
    pub fn get(&self, name: &UserName) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// Every user, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// Can every user use SCRAM-SHA-256? A client that is offered a mechanism may well choose it,
    /// so one that fails for some is not offered.
    pub fn all_have_scram(&self) -> bool {
        !self.users.is_empty() && self.users.values().all(|user| user.scram.is_some())
    }

    /// Do all comparisons take as long as each other, and all SCRAM exchanges look alike?
    pub fn cost_alike(&self) -> bool {
        self.users.values().all(|user| {
            let scram = user.scram.as_ref();
            user.password.cost() == self.dummy.cost()
                && scram.is_none_or(|scram| scram.iterations.get() == self.iterations)
        })
    }

    /// The comparison of a password with a user's. Without a user it takes as long, and fails.
    pub fn password_check(&self, user: Option<&User>, password: Password) -> PasswordCheck {
        let hash = user.map_or(&self.dummy, |user| &user.password);
        PasswordCheck::new(hash.clone(), password)
    }

    /// What SCRAM compares for this name. Where there is no such user, or one that cannot use the
    /// mechanism, it is what nobody can prove to know.
    pub fn scram_credentials(&self, name: &str) -> (Option<&Arc<User>>, ScramCredentials) {
        let user = name.parse().ok().and_then(|name| self.get(&name));
        match user.and_then(|user| user.scram.clone()) {
            Some(credentials) => (user, credentials),
            None => (None, self.dummy_credentials(name)),
        }
    }

    fn dummy_credentials(&self, name: &str) -> ScramCredentials {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret.0);
        // Names that would be the same user's have the same salt here too.
        let name = match name.parse() {
            Ok(name) => UserName::to_string(&name),
            Err(_) => name.to_owned(),
        };
        let derive = |what: &str| hmac::sign(&key, format!("{what} {name}").as_bytes());
        ScramCredentials::dummy(self.iterations, derive("salt").as_ref())
    }
}

/// No user, for a configuration without a users file: nobody can authenticate then.
impl Default for Users {
    fn default() -> Self {
        Self::new(StoredSecret(Box::default()), [])
    }
}

impl StoredSecret {
    /// The secret of a new users file.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        Ok(Self(Box::new(password::random::<{ limits::SECRET_OCTETS }>()?)))
    }

    /// A secret as it stands in the file, decoded. `None`: too short to be one.
    pub fn new(octets: Vec<u8>) -> Option<Self> {
        (octets.len() >= limits::SECRET_OCTETS).then(|| Self(octets.into()))
    }

    /// The octets, for the file.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use crate::*;

    fn users() -> Users {
        let hash = |memory| PasswordHash::make_with("a", memory, 1).unwrap();
        let user = |name: &str, memory| User {
            name: name.parse().unwrap(),
            password: hash(memory),
            scram: Some(ScramCredentials::make("a", 4096).unwrap()),
            send_as: Vec::new(),
        };
        let secret = StoredSecret::new(vec![7; 32]).unwrap();
        Users::new(secret, [user("cheap", 8), user("costly", 64), user("middle", 16)])
    }

    #[test]
    fn nobody_costs_as_much_as_the_costliest_user() {
        let users = users();
        let costliest = users.get(&"costly".parse().unwrap()).unwrap();
        assert_eq!(users.dummy.cost(), costliest.password.cost());
        assert_eq!(users.password_check(None, Password::new("a").unwrap()).perform(), Ok(false));
        assert_eq!(Users::default().dummy.cost(), Cost::of_new());
        assert!(!users.cost_alike());
    }

    #[test]
    fn nobody_has_credentials_that_stay() {
        let users = users();
        let (nobody, first) = users.scram_credentials("Nobody");
        assert!(nobody.is_none());
        assert_eq!(first, users.scram_credentials("nobody").1);
        assert_ne!(first.salt, users.scram_credentials("other").1.salt);
        let (somebody, real) = users.scram_credentials("CHEAP");
        assert_eq!(somebody.unwrap().name.as_str(), "cheap");
        assert_eq!((first.salt.len(), first.iterations), (real.salt.len(), real.iterations));
    }
}
