//! Tokens. Their secrets are shown once, where they are made, and never here.

use pvc_proto::v1::{Role, Token, TokenKind};

use super::words::{choice, name, time};
use crate::output::table::{Cell, Column, optional, render, text};

const COLUMNS: &[Column] = &[
    text("NAME"),
    text("KIND"),
    text("ROLE"),
    text("EXPIRES"),
    text("MADE BY"),
    optional("FOR NODE"),
    optional("USED BY"),
    optional("DESCRIPTION"),
];

pub fn table(tokens: &[Token], colour: bool) -> String {
    render(COLUMNS, tokens.iter().map(row).collect(), colour)
}

pub fn names(tokens: &[Token]) -> Vec<String> {
    tokens.iter().map(|token| name(token.meta.as_ref()).to_owned()).collect()
}

fn row(token: &Token) -> Vec<Cell> {
    let role = match (token.kind(), token.role()) {
        (TokenKind::Join, _) | (_, Role::Unspecified) => String::new(),
        (_, role) => choice(role.as_str_name(), "ROLE_"),
    };
    vec![
        name(token.meta.as_ref()).into(),
        choice(token.kind().as_str_name(), "TOKEN_KIND_").into(),
        role.into(),
        time(token.expire_time.as_ref()).into(),
        token.created_by.as_str().into(),
        token.node.as_str().into(),
        token.used_by.as_str().into(),
        token.description.as_str().into(),
    ]
}
