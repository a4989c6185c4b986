//! Users who can authenticate with AUTH.
//!
//! This module has the data of a user: its [`UserName`], a hash of its password ([`password`]),
//! credentials for SCRAM ([`scram`]), and the addresses as which it may send ([`SendAs`]). `config`
//! reads them from the users file, and `relay passwd` changes that file. `smtp::sasl` authenticates
//! a client as a user, and `policy` decides the rights of a user.
//!
//! A client must not learn whether a user exists, neither from a reply nor from its delay:
//! [`Users::password_check`] and [`Users::scram_credentials`] return a value for every name.

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
    /// The name.
    pub name: UserName,
    /// The hash of the password.
    pub password: PasswordHash,
    /// The credentials of SCRAM-SHA-256; without them the user cannot use the mechanism.
    pub scram: Option<ScramCredentials>,
    /// The addresses as which the user may send.
    pub send_as: Vec<SendAs>,
}

/// All users.
#[derive(Clone, Debug)]
pub struct Users {
    users: BTreeMap<UserName, Arc<User>>,
    secret: StoredSecret,
    /// The hash that is compared if the user does not exist: as costly as the most costly hash.
    dummy: PasswordHash,
    /// SCRAM iterations if the user does not exist: those of the first user.
    iterations: u32,
}

/// The key of dummy salts: with it, a name without a user has the same salt at each attempt, but no
/// client can compute it. It is in the users file.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret(Box<[u8]>);

impl Users {
    /// A set of users. Of two users with one name, the later one counts.
    pub fn new(secret: StoredSecret, users: impl IntoIterator<Item = User>) -> Self {
        let users: BTreeMap<_, _> =
            users.into_iter().map(|user| (user.name.clone(), Arc::new(user))).collect();
        let costs = users.values().map(|user| user.password.cost());
        let cost = costs.max_by_key(|cost| cost.time()).unwrap_or(Cost::for_new_hash());
        let dummy = PasswordHash::dummy(cost);
        let iterations = users
            .values()
            .find_map(|user| user.scram.as_ref())
            .map_or(limits::SCRAM_ITERATIONS, |scram| scram.iterations.get());
        Self { users, secret, dummy, iterations }
    }

    /// The user with this name.
    pub fn get(&self, name: &UserName) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// Can all users use SCRAM-SHA-256? If some cannot, the mechanism is not offered, because their
    /// clients might choose it.
    pub fn all_have_scram(&self) -> bool {
        !self.users.is_empty() && self.users.values().all(|user| user.scram.is_some())
    }

    /// Do all comparisons have equal cost, and do all SCRAM exchanges look alike?
    pub fn have_equal_cost(&self) -> bool {
        self.users.values().all(|user| {
            let scram = user.scram.as_ref();
            user.password.cost() == self.dummy.cost()
                && scram.is_none_or(|scram| scram.iterations.get() == self.iterations)
        })
    }

    /// The comparison of a password with a user's hash. Without a user, the comparison costs the
    /// same and fails.
    pub fn password_check(&self, user: Option<&User>, password: Password) -> PasswordCheck {
        let hash = user.map_or(&self.dummy, |user| &user.password);
        PasswordCheck::new(hash.clone(), password)
    }

    /// The SCRAM credentials of this name. If there is no user, or the user cannot use the
    /// mechanism, the credentials fit no proof.
    pub fn scram_credentials(&self, name: &str) -> (Option<&Arc<User>>, ScramCredentials) {
        let user = name.parse().ok().and_then(|name| self.get(&name));
        match user.and_then(|user| user.scram.clone()) {
            Some(credentials) => (user, credentials),
            None => (None, self.dummy_credentials(name)),
        }
    }

    fn dummy_credentials(&self, name: &str) -> ScramCredentials {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret.0);
        // Spellings of one user's name must have the same salt here too.
        let name = match name.parse() {
            Ok(name) => UserName::to_string(&name),
            Err(_) => name.to_owned(),
        };
        let derive = |what: &str| hmac::sign(&key, format!("{what} {name}").as_bytes());
        ScramCredentials::dummy(self.iterations, derive("salt").as_ref())
    }
}

/// No users, for a configuration without a users file: no client can authenticate.
impl Default for Users {
    fn default() -> Self {
        Self::new(StoredSecret(Box::default()), [])
    }
}

impl StoredSecret {
    /// The secret of a new users file.
    ///
    /// # Errors
    /// The system returned no random numbers.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        Ok(Self(Box::new(password::random::<{ limits::SECRET_OCTETS }>()?)))
    }

    /// A decoded secret of the file. `None`: it is too short.
    pub fn new(octets: Vec<u8>) -> Option<Self> {
        (octets.len() >= limits::SECRET_OCTETS).then(|| Self(octets.into()))
    }

    /// The octets, to be written to the file.
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
    fn an_unknown_user_costs_as_much_as_the_costliest_user() {
        let users = users();
        let costliest = users.get(&"costly".parse().unwrap()).unwrap();
        assert_eq!(users.dummy.cost(), costliest.password.cost());
        assert_eq!(users.password_check(None, Password::new("a").unwrap()).perform(), Ok(false));
        assert_eq!(Users::default().dummy.cost(), Cost::for_new_hash());
        assert!(!users.have_equal_cost());
    }

    #[test]
    fn an_unknown_user_has_stable_credentials() {
        let users = users();
        let (unknown, first) = users.scram_credentials("Unknown");
        assert!(unknown.is_none());
        assert_eq!(first, users.scram_credentials("unknown").1);
        assert_ne!(first.salt, users.scram_credentials("other").1.salt);
        let (known, real) = users.scram_credentials("CHEAP");
        assert_eq!(known.unwrap().name.as_str(), "cheap");
        assert_eq!((first.salt.len(), first.iterations), (real.salt.len(), real.iterations));
    }
}
