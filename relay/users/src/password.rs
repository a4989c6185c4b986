//! Passwords and their hashes: Argon2id in the PHC string format.
//!
//! A comparison needs tens of milliseconds and megabytes, on purpose. So it is an inquiry
//! (`policy::Inquiry`), which does not block other sessions.

use std::fmt;
use std::sync::Arc;

use crate::limits::{
    PASSWORD_MEMORY_KIBIBYTES, PASSWORD_MEMORY_MOST, PASSWORD_PASSES, SALT_OCTETS,
};
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};

/// A password of a client, prepared with SASLprep (RFC 4013). It is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

/// The hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash {
    phc: Arc<str>,
    cost: Cost,
}

/// The cost of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    memory_kibibytes: u32,
    passes: u32,
    lanes: u32,
}

/// A password that has not been compared yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordCheck {
    hash: PasswordHash,
    password: Password,
}

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The prepared text is empty.
    #[error("the password is empty")]
    Empty,
    /// The text contains a character that SASLprep prohibits.
    #[error("the password has a character that is not allowed")]
    Prohibited,
}

/// Why a text cannot be used as a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text is not in the PHC string format, or incomplete.
    #[error("it is not a hash in the PHC string format: {0}")]
    Format(String),
    /// The hash has another algorithm.
    #[error("it is a hash of {0}, not of argon2id")]
    OtherKind(String),
    /// The hash needs more memory than allowed.
    #[error("it needs {0} KiB of memory, more than {PASSWORD_MEMORY_MOST}")]
    TooCostly(u32),
    /// A new hash cannot be computed.
    #[error("it cannot be computed: {0}")]
    NotMade(String),
}

impl Password {
    /// A password of a client.
    ///
    /// # Errors
    /// It is empty, or contains a character that SASLprep prohibits.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Prohibited)?;
        if prepared.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(Self(prepared.into()))
    }

    /// Replaces a text that cannot be a password, so that the comparison costs the same. No user
    /// has it, because [`Password::new`] never returns it.
    pub fn dummy() -> Self {
        Self(Box::default())
    }

    /// The text, for hashing; it is not shown anywhere.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PasswordHash {
    /// A hash of the users file.
    ///
    /// # Errors
    /// It is not an Argon2id hash, or costs too much.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let format = |error: &dyn fmt::Display| HashError::Format(error.to_string());
        let phc = Phc::new(text).map_err(|error| format(&error))?;
        if phc.algorithm.as_str() != Algorithm::Argon2id.as_str() {
            return Err(HashError::OtherKind(phc.algorithm.to_string()));
        }
        if phc.hash.is_none() || phc.salt.is_none() {
            return Err(HashError::Format("salt and hash are missing".to_owned()));
        }
        let params = Params::try_from(&phc).map_err(|error| format(&error))?;
        if params.m_cost() > PASSWORD_MEMORY_MOST {
            return Err(HashError::TooCostly(params.m_cost()));
        }
        let cost = Cost {
            memory_kibibytes: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        };
        Ok(Self { phc: text.into(), cost })
    }

    /// The hash of a password, with a new salt.
    ///
    /// # Errors
    /// The system returned no random numbers or no memory.
    pub fn make(password: &Password) -> Result<Self, HashError> {
        Self::make_with(&password.0, PASSWORD_MEMORY_KIBIBYTES, PASSWORD_PASSES)
    }

    /// The same with another cost: memory in KiB, and passes.
    pub fn make_with(password: &str, memory: u32, passes: u32) -> Result<Self, HashError> {
        let failed = |error: &dyn fmt::Display| HashError::NotMade(error.to_string());
        let params = Params::new(memory, passes, 1, None).map_err(|error| failed(&error))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let salt: [u8; SALT_OCTETS] = random().map_err(|error| failed(&error))?;
        let phc = argon2
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|error| failed(&error))?;
        Self::parse(&phc.to_string())
    }

    /// As it stands in the users file.
    /// The text, for hashing; it is not shown anywhere.
    pub fn as_str(&self) -> &str {
        &self.phc
    }

    /// The cost of a comparison with this hash.
    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// A hash without a password, which is compared if there is no user.
    pub(crate) fn dummy(cost: Cost) -> Self {
        let Cost { memory_kibibytes, passes, lanes } = cost;
        let phc = format!(
            "$argon2id$v=19$m={memory_kibibytes},t={passes},p={lanes}\
             $bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        );
        Self { phc: phc.into(), cost }
    }
}

impl Cost {
    /// The cost of a new hash.
    pub(crate) const fn for_new_hash() -> Self {
        let (memory_kibibytes, passes) = (PASSWORD_MEMORY_KIBIBYTES, PASSWORD_PASSES);
        Self { memory_kibibytes, passes, lanes: 1 }
    }

    /// The duration, without a unit.
    pub(crate) fn time(self) -> u64 {
        u64::from(self.memory_kibibytes) * u64::from(self.passes)
    }
}

/// Why a password could not be compared with a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordCheckError {
    /// The hash is not in the PHC string format.
    #[error("{0}")]
    Hash(argon2::password_hash::phc::Error),
    /// Argon2 failed, for example for lack of memory.
    #[error("{0}")]
    Computation(argon2::password_hash::Error),
}

impl PasswordCheck {
    pub(super) const fn new(hash: PasswordHash, password: Password) -> Self {
        Self { hash, password }
    }

    /// Is the password right? Needs tens of milliseconds, and the memory of the hash.
    ///
    /// # Errors
    /// The hash cannot be read or computed.
    pub fn perform(&self) -> Result<bool, PasswordCheckError> {
        use argon2::password_hash::Error;
        let phc = Phc::new(&self.hash.phc).map_err(PasswordCheckError::Hash)?;
        match Argon2::default().verify_password(self.password.0.as_bytes(), &phc) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(PasswordCheckError::Computation(error)),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Random octets of the system.
pub fn random<const N: usize>() -> Result<[u8; N], ring::error::Unspecified> {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use crate::password::*;

    fn check(hash: &PasswordHash, password: &str) -> Result<bool, PasswordCheckError> {
        PasswordCheck::new(hash.clone(), Password::new(password).unwrap()).perform()
    }

    #[test]
    fn a_password_matches_its_own_hash() {
        let hash = PasswordHash::make_with("correct horse", 64, 1).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash:?}");
        assert_eq!(check(&hash, "correct horse"), Ok(true));
        assert_eq!(check(&hash, "correct horse "), Ok(false));
        assert_ne!(hash, PasswordHash::make_with("correct horse", 64, 1).unwrap());
    }

    /// Made with the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 16`.
    #[test]
    fn hashes_of_other_programs_are_accepted() {
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                    CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(hash).unwrap();
        assert_eq!(check(&hash, "password"), Ok(true));
        assert_eq!(check(&hash, "Password"), Ok(false));
    }

    #[test]
    fn texts_that_are_no_hash() {
        let error = |text| PasswordHash::parse(text).unwrap_err().to_string();
        assert!(error("secret").starts_with("it is not a hash in the PHC string format"));
        let other = "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(error(other), "it is a hash of argon2i, not of argon2id");
        let costly = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        assert!(error(costly).starts_with("it needs 4194304 KiB of memory"));
        assert!(error("$argon2id$v=19$m=64,t=1,p=1").ends_with("salt and hash are missing"));
    }

    #[test]
    fn the_dummy_hash_is_well_formed_and_matches_no_password() {
        let dummy = PasswordHash::dummy(Cost::for_new_hash());
        assert_eq!(PasswordHash::parse(dummy.as_str()), Ok(dummy.clone()));
        assert_eq!(check(&dummy, "a"), Ok(false));
    }

    #[test]
    fn texts_that_are_no_password() {
        assert_eq!(Password::new(""), Err(PasswordError::Empty));
        assert_eq!(Password::new("a\0b"), Err(PasswordError::Prohibited));
        let password = Password::new("secret").unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
    }
}
