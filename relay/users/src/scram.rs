//! The stored credentials of SCRAM-SHA-256 (RFC 5802, RFC 7677), and their computation.
//!
//! Neither the password nor the proof of a client can be computed from them, except by guessing.
//! The form is that of PostgreSQL and other programs:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, each part in base64.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::limits::{SALT_OCTETS, SCRAM_ITERATIONS_LEAST, SCRAM_ITERATIONS_MOST, SCRAM_SALT_MOST};
use crate::password::{HashError, random};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;

/// Octets of a SHA-256 digest.
pub const DIGEST_OCTETS: usize = 32;

/// The credentials of one user.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredentials {
    /// How often the client applies the hash.
    pub iterations: NonZeroU32,
    /// The salt.
    pub salt: Box<[u8]>,
    stored_key: [u8; DIGEST_OCTETS],
    server_key: [u8; DIGEST_OCTETS],
}

/// The text is not in the form above, or its numbers are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The text has another form.
    #[error("it is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
    Form,
    /// Too few iterations for RFC 7677, or more than clients accept.
    #[error("the iterations are not from {SCRAM_ITERATIONS_LEAST} to {SCRAM_ITERATIONS_MOST}")]
    Iterations,
}

impl ScramCredentials {
    /// The credentials for a password that SASLprep has prepared, with a new salt.
    ///
    /// # Errors
    /// The system returned no random numbers.
    pub fn make(password: &str, iterations: u32) -> Result<Self, HashError> {
        let salt: [u8; SALT_OCTETS] =
            random().map_err(|error| HashError::NotMade(error.to_string()))?;
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        Ok(Self::with_salt(password, iterations, Box::new(salt)))
    }

    fn with_salt(password: &str, iterations: NonZeroU32, salt: Box<[u8]>) -> Self {
        let mut salted_password = [0; DIGEST_OCTETS];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted_password);
        let client_key = sign(&salted_password, b"Client Key");
        let stored_key = hash(&client_key);
        let server_key = sign(&salted_password, b"Server Key");
        Self { iterations, salt, stored_key, server_key }
    }

    /// Credentials that fit no proof, with a salt of these octets, cut to the usual length.
    pub(super) fn dummy(iterations: u32, salt: &[u8]) -> Self {
        let salt = salt[..SALT_OCTETS.min(salt.len())].into();
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let keys = [0; DIGEST_OCTETS];
        Self { iterations, salt, stored_key: keys, server_key: keys }
    }

    /// Does this ClientProof match this AuthMessage? RFC 5802 section 3.
    pub fn accepts(&self, auth_message: &[u8], proof: &[u8; DIGEST_OCTETS]) -> bool {
        let mut client_key = sign(&self.stored_key, auth_message);
        client_key.iter_mut().zip(proof).for_each(|(octet, proof)| *octet ^= proof);
        hash(&client_key).ct_eq(&self.stored_key).into()
    }

    /// The ServerSignature over this AuthMessage.
    pub fn server_signature(&self, auth_message: &[u8]) -> [u8; DIGEST_OCTETS] {
        sign(&self.server_key, auth_message)
    }
}

fn sign(key: &[u8], message: &[u8]) -> [u8; DIGEST_OCTETS] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut octets = [0; DIGEST_OCTETS];
    octets.copy_from_slice(tag.as_ref());
    octets
}

fn hash(octets: &[u8]) -> [u8; DIGEST_OCTETS] {
    let mut hash = [0; DIGEST_OCTETS];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    hash
}

impl FromStr for ScramCredentials {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let rest = text.strip_prefix("SCRAM-SHA-256$")?;
            let (first, keys) = rest.split_once('$')?;
            let (iterations, salt) = first.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let octets = |text| STANDARD.decode(text).ok();
            let salt = octets(salt).filter(|salt| (1..=SCRAM_SALT_MOST).contains(&salt.len()))?;
            let stored_key = octets(stored_key)?.try_into().ok()?;
            let server_key = octets(server_key)?.try_into().ok()?;
            Some((iterations, salt.into_boxed_slice(), stored_key, server_key))
        };
        let (iterations, salt, stored_key, server_key) = parts().ok_or(ScramError::Form)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| ScramError::Form)?;
        if !(SCRAM_ITERATIONS_LEAST..=SCRAM_ITERATIONS_MOST).contains(&iterations.get()) {
            return Err(ScramError::Iterations);
        }
        Ok(Self { iterations, salt, stored_key, server_key })
    }
}

/// In the form of the users file.
impl fmt::Display for ScramCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, stored_key, server_key } = self;
        let [salt, stored_key, server_key] =
            [&salt[..], stored_key, server_key].map(|octets| STANDARD.encode(octets));
        write!(f, "SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}")
    }
}

/// Not printed, because the keys allow guessing.
impl fmt::Debug for ScramCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramCredentials({} iterations)", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use crate::scram::*;

    /// RFC 7677 section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let credentials = ScramCredentials::with_salt("pencil", iterations, salt.into());
        let auth_message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let mut proof: [u8; DIGEST_OCTETS] = proof.try_into().unwrap();
        assert!(credentials.accepts(auth_message, &proof));
        let signature = STANDARD.encode(credentials.server_signature(auth_message));
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        proof[31] ^= 1;
        assert!(!credentials.accepts(auth_message, &proof));
    }

    #[test]
    fn credentials_survive_the_file() {
        let made = ScramCredentials::make("pencil", 4096).unwrap();
        assert_eq!(made.to_string().parse(), Ok(made.clone()));
        assert_ne!(made, ScramCredentials::make("pencil", 4096).unwrap(), "the salt is new");
        assert_eq!(format!("{made:?}"), "ScramCredentials(4096 iterations)");
    }

    #[test]
    fn texts_in_another_form() {
        let parse = |text: &str| text.parse::<ScramCredentials>().map(drop);
        let key = STANDARD.encode([0; 32]);
        for text in [
            String::new(),
            format!("SCRAM-SHA-1$4096:AAAA${key}:{key}"),
            format!("SCRAM-SHA-256$4096:${key}:{key}"),
            format!("SCRAM-SHA-256$4096:AAAA${key}:AAAA"),
            format!("SCRAM-SHA-256$x:AAAA${key}:{key}"),
        ] {
            assert_eq!(parse(&text), Err(ScramError::Form), "{text}");
        }
        let weak = format!("SCRAM-SHA-256$4095:AAAA${key}:{key}");
        assert_eq!(parse(&weak), Err(ScramError::Iterations));
    }
}
