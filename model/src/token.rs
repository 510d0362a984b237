//! Tokens: one-time join tokens for hosts, API tokens for programs. Only hashes are kept.

use crate::Meta;
use crate::name::Name;
use crate::role::Role;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Api {
        role: Role,
    },
    Join {
        /// The only node name that may use it; None: any new one.
        node: Option<Name>,
        /// Set once it is spent.
        spent: Option<Spent>,
    },
}

/// Who spent a join token: the same node with the same key may ask again, so that an interrupted
/// join can be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub node: Name,
    /// SHA-256 of the public key in the request, hex.
    pub key_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub meta: Meta,
    pub kind: TokenKind,
    pub expires: Timestamp,
    pub created_by: String,
    pub description: String,
    /// SHA-256 of the secret, hex.
    pub secret_hash: String,
}
