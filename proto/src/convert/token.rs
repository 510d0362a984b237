//! Tokens. The stored form carries hashes; the form that is shown never does.

use pvc_model::token::{Spent, TokenKind};
use pvc_model::{Rejection, Token};

use super::meta::{meta, subject};
use super::refuse::{At, wire_name, wire_time};
use super::role::role;
use crate::v1;

impl From<&Token> for v1::Token {
    fn from(token: &Token) -> Self {
        let mut wire = v1::Token {
            meta: Some((&token.meta).into()),
            expire_time: Some(wire_time(token.expires)),
            created_by: token.created_by.clone(),
            description: token.description.clone(),
            secret_hash: token.secret_hash.clone(),
            ..v1::Token::default()
        };
        match &token.kind {
            TokenKind::Api { role } => {
                wire.set_kind(v1::TokenKind::Api);
                wire.set_role((*role).into());
            }
            TokenKind::Join { node, spent } => {
                wire.set_kind(v1::TokenKind::Join);
                wire.node = wire_name(node.as_ref());
                wire.used_by = wire_name(spent.as_ref().map(|s| &s.node));
                wire.used_key_hash = spent.as_ref().map(|s| s.key_hash.clone()).unwrap_or_default();
            }
        }
        wire
    }
}

impl TryFrom<&v1::Token> for Token {
    type Error = Rejection;

    fn try_from(wire: &v1::Token) -> Result<Self, Rejection> {
        let subject = subject("token", wire.meta.as_ref());
        let at = At::new(&subject);
        let kind = match v1::TokenKind::try_from(wire.kind) {
            Ok(v1::TokenKind::Api) => TokenKind::Api { role: role(&at.field("role"), wire.role)? },
            Ok(v1::TokenKind::Join) => {
                let used_by = at.field("used_by").optional_name(&wire.used_by)?;
                TokenKind::Join {
                    node: at.field("node").optional_name(&wire.node)?,
                    spent: used_by.map(|node| Spent { node, key_hash: wire.used_key_hash.clone() }),
                }
            }
            Ok(v1::TokenKind::Unspecified) => {
                return Err(at.field("kind").refuse("must-be-set", "must be set"));
            }
            Err(error) => return Err(at.field("kind").refuse("unknown-value", error)),
        };
        Ok(Token {
            meta: meta(&at, wire.meta.as_ref())?,
            kind,
            expires: at.field("expire_time").time(wire.expire_time.as_ref())?,
            created_by: wire.created_by.clone(),
            description: wire.description.clone(),
            secret_hash: wire.secret_hash.clone(),
        })
    }
}

/// A token as it is shown: without its hashes.
pub fn token_view(token: &Token) -> v1::Token {
    v1::Token { secret_hash: String::new(), used_key_hash: String::new(), ..v1::Token::from(token) }
}
