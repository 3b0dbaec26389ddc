//! The digest of a secret.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use ring::digest::{SHA256, digest};

/// How many bytes SHA-256 has.
pub const DIGEST_BYTES: usize = 32;

/// The SHA-256 of a secret: the only form in which the gateway keeps it.
///
/// A fast hash is enough, because a secret that the gateway makes has 256 random bits. It also
/// keeps the time of a lookup independent of how much of a secret is right: two secrets that differ
/// in one letter have digests without any relation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of `secret`.
    pub fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; DIGEST_BYTES];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }

    /// A number that two secrets never have in common, and from which the digest cannot be told.
    pub fn number(&self) -> u64 {
        let words = self.0.chunks_exact(size_of::<u64>());
        words
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .fold(0, std::ops::BitXor::bitxor)
    }

    /// The bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

impl From<[u8; DIGEST_BYTES]> for Digest {
    fn from(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }
}

/// Prints nothing of the digest.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Hashes digests for a map by their first bytes, which are as good as random.
pub type BuildDigestHasher = BuildHasherDefault<DigestHasher>;

/// The hasher of [`BuildDigestHasher`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only digests are hashed, by `write_u64`.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
