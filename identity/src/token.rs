//! Bearer tokens: what a joining host or an HTTP client shows once, or at each call, in place of a certificate.
//!
//! ```text
//! pvcj1.<id, 8>.<secret, 22>.<CA pin, 43>     join token: spent once, tells the joiner which CA to trust
//! pvct1.<id, 8>.<secret, 22>                  API token: the gateway's Authorization: Bearer
//! ```
//! The id is public (lists, audit, revocation); the secret is 128 random bits, and only its SHA-256 is ever stored.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use crate::pin::CaPin;
use crate::secret::Secret;

const JOIN_PREFIX: &str = "pvcj1";
const API_PREFIX: &str = "pvct1";
const ID_CHARS: usize = 8;
const SECRET_BYTES: usize = 16;
/// Base32's letters in lower case: 5 random bits choose one evenly.
const ID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is not {kind}: it must look like {form}")]
    WrongForm { kind: &'static str, form: &'static str },
    #[error("{kind} has a damaged {part}: copy the whole token again")]
    Damaged { kind: &'static str, part: &'static str },
}

/// A one-time permission for a host to join, which also tells it the CA to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub id: String,
    pub secret: Secret,
    pub pin: CaPin,
}

/// A permission to call the HTTP API in the name and role that the cluster holds for its id.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken {
    pub id: String,
    pub secret: Secret,
}

impl JoinToken {
    const KIND: &str = "a join token";
    const FORM: &str = "pvcj1.<id>.<secret>.<CA fingerprint>";

    /// A fresh token for the cluster whose CA has this pin.
    pub fn generate(pin: CaPin) -> Self {
        Self { id: fresh_id(), secret: fresh_secret(), pin }
    }

    /// What the cluster stores: SHA-256 of the secret, 64 hex digits.
    pub fn secret_hash(&self) -> String {
        hash_hex(self.secret.expose())
    }

    /// Whether a stored hash is this token's; takes the same time wherever the two differ.
    pub fn matches_hash(&self, stored_hash: &str) -> bool {
        same(&self.secret_hash(), stored_hash)
    }

    /// The token as handed to people. This is the secret in clear.
    pub fn expose(&self) -> String {
        format!("{JOIN_PREFIX}.{}.{}.{}", self.id, self.secret.expose(), self.pin)
    }
}

impl ApiToken {
    const KIND: &str = "an API token";
    const FORM: &str = "pvct1.<id>.<secret>";

    pub fn generate() -> Self {
        Self { id: fresh_id(), secret: fresh_secret() }
    }

    /// What the cluster stores: SHA-256 of the secret, 64 hex digits.
    pub fn secret_hash(&self) -> String {
        hash_hex(self.secret.expose())
    }

    /// Whether a stored hash is this token's; takes the same time wherever the two differ.
    pub fn matches_hash(&self, stored_hash: &str) -> bool {
        same(&self.secret_hash(), stored_hash)
    }

    /// The token as handed to people. This is the secret in clear.
    pub fn expose(&self) -> String {
        format!("{API_PREFIX}.{}.{}", self.id, self.secret.expose())
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(s: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = s.trim().split('.').collect();
        let [JOIN_PREFIX, id, secret, pin] = parts[..] else {
            return Err(TokenError::WrongForm { kind: Self::KIND, form: Self::FORM });
        };
        let (id, secret) = checked(Self::KIND, id, secret)?;
        let pin =
            pin.parse().map_err(|_| TokenError::Damaged { kind: Self::KIND, part: "CA fingerprint" })?;
        Ok(Self { id, secret, pin })
    }
}

impl FromStr for ApiToken {
    type Err = TokenError;

    fn from_str(s: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = s.trim().split('.').collect();
        let [API_PREFIX, id, secret] = parts[..] else {
            return Err(TokenError::WrongForm { kind: Self::KIND, form: Self::FORM });
        };
        let (id, secret) = checked(Self::KIND, id, secret)?;
        Ok(Self { id, secret })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_PREFIX}.{}.….{}", self.id, self.pin)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{API_PREFIX}.{}.…", self.id)
    }
}

fn checked(kind: &'static str, id: &str, secret: &str) -> Result<(String, Secret), TokenError> {
    if id.len() != ID_CHARS || !id.bytes().all(|b| ID_ALPHABET.contains(&b)) {
        return Err(TokenError::Damaged { kind, part: "id" });
    }
    match URL_SAFE_NO_PAD.decode(secret) {
        Ok(bytes) if bytes.len() == SECRET_BYTES => Ok((id.to_owned(), Secret::new(secret))),
        _ => Err(TokenError::Damaged { kind, part: "secret" }),
    }
}

fn fresh_id() -> String {
    random::<ID_CHARS>().iter().map(|byte| char::from(ID_ALPHABET[usize::from(byte & 31)])).collect()
}

fn fresh_secret() -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()))
}

/// Bytes from the kernel's generator. Without it no secret may be made, so its failure ends the process.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel's random generator failed");
    bytes
}

fn hash_hex(text: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> CaPin {
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap()
    }

    #[test]
    fn join_token_survives_paper() {
        let token = JoinToken::generate(pin());
        let text = token.expose();
        assert_eq!(text.len(), 5 + 1 + 8 + 1 + 22 + 1 + 43);
        let back: JoinToken = format!("  {text}\n").parse().unwrap();
        assert_eq!(back, token);
        assert!(back.matches_hash(&token.secret_hash()));
        assert!(!back.matches_hash(&JoinToken::generate(pin()).secret_hash()));
        assert!(!back.matches_hash(""));
    }

    #[test]
    fn api_token_survives_paper() {
        let token = ApiToken::generate();
        let back: ApiToken = token.expose().parse().unwrap();
        assert_eq!(back, token);
        assert!(token.matches_hash(&back.secret_hash()));
        assert!(!token.matches_hash(&ApiToken::generate().secret_hash()));
    }

    #[test]
    fn debug_hides_the_secret() {
        let join = JoinToken::generate(pin());
        let api = ApiToken::generate();
        assert!(!format!("{join:?}").contains(join.secret.expose()));
        assert!(!format!("{api:?}").contains(api.secret.expose()));
        assert!(format!("{join:?}").contains(&join.id), "the id is what people look for in a log");
    }

    #[test]
    fn tokens_differ() {
        let all: std::collections::HashSet<String> =
            (0..1000).map(|_| ApiToken::generate().expose()).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        let good = JoinToken::generate(pin()).expose();
        let check = |text: &str, says: &str| {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error:?} does not say {says:?}");
        };
        check("", "must look like pvcj1.");
        check("hello", "must look like");
        check(&ApiToken::generate().expose(), "must look like");
        check(&good.replace("pvcj1", "pvcj2"), "must look like");
        check(&format!("{good}.x"), "must look like");
        check(&good[..good.len() - 1], "damaged CA fingerprint");
        check(&format!("pvcj1.{}.{}", "ABCDEFGH", good.splitn(3, '.').nth(2).unwrap()), "damaged id");
        let parts: Vec<&str> = good.split('.').collect();
        check(&format!("pvcj1.{}.{}.{}", parts[1], &parts[2][1..], parts[3]), "damaged secret");
        check(&format!("pvcj1.{}.äöü.{}", parts[1], parts[3]), "damaged secret");
        assert!("pvct1.x".parse::<ApiToken>().unwrap_err().to_string().contains("an API token"));
    }
}
