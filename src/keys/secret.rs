//! Secrets: what callers send to be recognised.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};

use super::{digest::Digest, key::Role};

/// The letters of a secret. None of them needs quotes in a shell, a URL or a header.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The letters of the public part, by which people tell secrets apart.
const PUBLIC_LETTERS: usize = 8;

/// The letters of the secret part: 256 random bits.
const SECRET_LETTERS: usize = 43;

/// How many letters at the end people see.
const SHOWN_LETTERS: usize = 4;

/// What a secret is for. It is the beginning of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// For calls.
    Live,
    /// For calls of trials and tests. The gateway treats it like [`Self::Live`].
    Test,
    /// To manage keys.
    Admin,
}

impl SecretKind {
    /// The beginning of the secret.
    fn prefix(self) -> &'static str {
        match self {
            Self::Live => "gw_live_",
            Self::Test => "gw_test_",
            Self::Admin => "gw_admin_",
        }
    }

    /// The kind of further secrets of a key with this role, whose last secret has this public id.
    pub(super) fn following(role: Role, public_id: Option<&str>) -> Self {
        if role != Role::Inference {
            Self::Admin
        } else if public_id.is_some_and(|id| id.starts_with(Self::Test.prefix())) {
            Self::Test
        } else {
            Self::Live
        }
    }
}

/// A new secret. It is shown once and not kept.
pub struct NewSecret {
    /// The whole secret.
    pub secret: SecretString,
    /// Its beginning, which is not secret: `gw_live_` and some letters.
    pub public_id: String,
    /// Its last letters.
    pub last_four: String,
}

impl NewSecret {
    /// A random secret.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate(kind: SecretKind) -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        let public_id = format!("{}{}", kind.prefix(), letters(&random, PUBLIC_LETTERS)?);
        let hidden = letters(&random, SECRET_LETTERS)?;
        let last_four = hidden.get(SECRET_LETTERS - SHOWN_LETTERS..);
        Ok(Self {
            last_four: last_four.unwrap_or_default().to_owned(),
            secret: SecretString::from(format!("{public_id}_{hidden}")),
            public_id,
        })
    }

    /// The digest of the secret.
    pub fn digest(&self) -> Digest {
        Digest::of(self.secret.expose_secret().as_bytes())
    }
}

/// The system has no random numbers.
#[derive(Clone, Copy, Debug)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random numbers, so no secret can be made")
    }
}

/// `number` letters, each as likely as any other.
fn letters(random: &SystemRandom, number: usize) -> Result<String, NoRandomness> {
    // A byte above the largest multiple of 62 is thrown away: the first letters would be likelier.
    const FAIR: usize = u8::MAX as usize / LETTERS.len() * LETTERS.len();
    let mut text = String::with_capacity(number);
    let mut bytes = [0; 64];
    while text.len() < number {
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        let fair = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < FAIR);
        let letters = fair.filter_map(|byte| LETTERS.get(byte % LETTERS.len()));
        text.extend(
            letters
                .take(number - text.len())
                .map(|letter| char::from(*letter)),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_public_id_and_its_hidden_part() {
        for (kind, prefix) in [
            (SecretKind::Live, "gw_live_"),
            (SecretKind::Test, "gw_test_"),
            (SecretKind::Admin, "gw_admin_"),
        ] {
            let new = NewSecret::generate(kind).unwrap();
            let secret = new.secret.expose_secret();
            let (public, hidden) = secret.rsplit_once('_').unwrap();
            assert_eq!(public, new.public_id);
            assert!(
                public
                    .strip_prefix(prefix)
                    .is_some_and(|id| id.len() == PUBLIC_LETTERS)
            );
            assert_eq!(hidden.len(), SECRET_LETTERS);
            assert!(hidden.ends_with(&new.last_four) && new.last_four.len() == SHOWN_LETTERS);
            let all = hidden.bytes().chain(public.bytes());
            assert!(
                all.clone()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            );
            assert_ne!(
                secret,
                NewSecret::generate(kind).unwrap().secret.expose_secret()
            );
        }
    }

    #[test]
    fn each_letter_is_as_likely_as_any_other() {
        let text = letters(&SystemRandom::new(), 62_000).unwrap();
        for letter in LETTERS {
            let times = text.bytes().filter(|byte| byte == letter).count();
            // Seven standard deviations.
            assert!((780..1220).contains(&times), "{letter}: {times}");
        }
    }
}
