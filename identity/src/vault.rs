//! Keeps other systems' passwords in the cluster's state so that only its coordinators can read them: sealed with a key that
//! follows from the CA's private key, which each coordinator holds and no backup does.
//!
//! ```text
//! key    = HKDF-SHA256(the CA's private key, "pvc vault v1")
//! sealed = 1 ‖ nonce, 12 random bytes ‖ ChaCha20-Poly1305(key, nonce, secret; whose it is)
//! ```
//! The owner's name is authenticated with it: a sealed password that is copied to another owner does not open. With another
//! CA nothing opens, as after a restore into a new cluster: such passwords are set anew.

use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;

use crate::ca::{Ca, CaError};
use crate::secret::Secret;
use crate::token::random;

const FORMAT: u8 = 1;
const LABEL: &[u8] = b"pvc vault v1";

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the cluster's CA can't be used on this coordinator; copy it from another one")]
    Ca(#[from] CaError),
    #[error("it was sealed for another owner, or with another CA, or is damaged: it must be set anew")]
    NotOurs,
    #[error("it was sealed by a newer version of PVC (format {0})")]
    Newer(u8),
}

/// Seals and opens with the CA that is in a directory. The CA is read for each use: its key is not kept in memory, and one
/// that was put right is used at once.
#[derive(Debug, Clone)]
pub struct Vault {
    ca_dir: PathBuf,
}

impl Vault {
    /// `ca_dir` holds `root.pem` and `root.key`.
    pub fn new(ca_dir: &Path) -> Self {
        Self { ca_dir: ca_dir.to_owned() }
    }

    /// `owner` is like "node/hv1".
    pub fn seal(&self, owner: &str, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let nonce = random::<NONCE_LEN>();
        let mut body = secret.expose().as_bytes().to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(owner.as_bytes()),
                &mut body,
            )
            .expect("a password is shorter than what one nonce is good for");
        Ok([&[FORMAT][..], &nonce, &body].concat())
    }

    pub fn open(&self, owner: &str, sealed: &[u8]) -> Result<Secret, VaultError> {
        let (format, rest) = sealed.split_first().ok_or(VaultError::NotOurs)?;
        if *format != FORMAT {
            return Err(VaultError::Newer(*format));
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::NotOurs)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self.key()?;
        let opened = key.open_in_place(nonce, Aad::from(owner.as_bytes()), &mut body);
        let opened = opened.map_err(|_| VaultError::NotOurs)?;
        Ok(Secret::new(std::str::from_utf8(opened).map_err(|_| VaultError::NotOurs)?))
    }

    fn key(&self) -> Result<LessSafeKey, VaultError> {
        let ca = Ca::load(&self.ca_dir.join("root.pem"), &self.ca_dir.join("root.key"))?;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
        let key = salt.extract(&ca.key_der()).expand(&[LABEL], &CHACHA20_POLY1305).map(UnboundKey::from);
        Ok(LessSafeKey::new(key.expect("HKDF gives that many bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn vault(dir: &Path) -> Vault {
        let ca = Ca::create("2f1f4f2e-0000-4000-8000-000000000001", Timestamp::UNIX_EPOCH).unwrap();
        ca.save(&dir.join("root.pem"), &dir.join("root.key")).unwrap();
        Vault::new(dir)
    }

    #[test]
    fn what_was_sealed_opens_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        for text in ["lab-secret", "", "ä\n\0"] {
            let sealed = vault.seal("node/hv1", &Secret::new(text)).unwrap();
            assert_eq!(vault.open("node/hv1", &sealed).unwrap().expose(), text);
            assert!(matches!(vault.open("node/hv2", &sealed), Err(VaultError::NotOurs)), "another owner");
            assert!(text.is_empty() || !sealed.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }

    #[test]
    fn the_same_is_never_sealed_alike() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let seal = || vault.seal("node/hv1", &Secret::new("lab-secret")).unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn whatever_is_changed_it_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let sealed = vault.seal("node/hv1", &Secret::new("lab-secret")).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault.open("node/hv1", &changed).is_err(), "byte {index}");
            assert!(vault.open("node/hv1", &sealed[..index]).is_err(), "cut at {index}");
        }
        assert!(matches!(vault.open("node/hv1", &[2, 0]), Err(VaultError::Newer(2))));
    }

    #[test]
    fn another_ca_does_not_open_it_and_another_copy_does() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [one, other, copy] = dirs.each_ref().map(|dir| dir.path());
        let sealed = vault(one).seal("node/hv1", &Secret::new("lab-secret")).unwrap();
        assert!(matches!(vault(other).open("node/hv1", &sealed), Err(VaultError::NotOurs)));
        // Another coordinator, whose copy of the key has been through an editor.
        std::fs::copy(one.join("root.pem"), copy.join("root.pem")).unwrap();
        let key = std::fs::read_to_string(one.join("root.key")).unwrap();
        std::fs::copy(one.join("root.key"), copy.join("root.key")).unwrap();
        std::fs::write(copy.join("root.key"), format!("{}\n\n", key.trim().replace('\n', "\r\n"))).unwrap();
        assert_eq!(Vault::new(copy).open("node/hv1", &sealed).unwrap().expose(), "lab-secret");
        std::fs::remove_file(copy.join("root.key")).unwrap();
        assert!(matches!(Vault::new(copy).open("node/hv1", &sealed), Err(VaultError::Ca(_))));
    }
}
