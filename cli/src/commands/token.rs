//! `pvc token`.

use pvc_proto::v1::{
    CreateApiTokenRequest, CreateJoinTokenRequest, GetClusterStatusRequest, ListTokensRequest,
    RevokeTokenRequest, Role, TokenKind,
};

use crate::args::Output;
use crate::args::token::{KindWord, RoleWord, TokenCommand};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::Failure;
use crate::show;
use crate::show::words::{name, time};

pub async fn run(cx: &mut Context<'_>, command: TokenCommand) -> Result<(), Failure> {
    let session = cx.session()?;
    match command {
        TokenCommand::Create { name: token, role, expires, description } => {
            let role = match role {
                RoleWord::Viewer => Role::Viewer,
                RoleWord::Operator => Role::Operator,
                RoleWord::Admin => Role::Admin,
            };
            let request = session.ask(CreateApiTokenRequest {
                name: token.clone(),
                role: role as i32,
                lifetime_seconds: expires.as_secs(),
                description,
                request_id: request_id(),
            });
            let reply = session.tokens().create_api_token(request).await?.into_inner();
            note(cx, "the secret is shown only now");
            cx.reply(&reply, |_| format!("{}\n", reply.secret), || vec![token])
        }
        TokenCommand::Join { node, expires } => {
            let request = session.ask(CreateJoinTokenRequest {
                lifetime_seconds: expires.as_secs(),
                node: node.clone().unwrap_or_default(),
                request_id: request_id(),
            });
            let reply = session.tokens().create_join_token(request).await?.into_inner();
            let request = session.ask(GetClusterStatusRequest {});
            let status = session.cluster().get_cluster_status(request).await?.into_inner();
            let addresses: Vec<&str> = status.members.iter().map(|member| member.address.as_str()).collect();
            let command = join_command(&reply.secret, &addresses, node.as_deref());
            let until = reply.token.as_ref().map(|token| time(token.expire_time.as_ref()));
            note(cx, &format!("Run on the new host, once, before {}:", until.unwrap_or_default()));
            let token = name(reply.token.as_ref().and_then(|token| token.meta.as_ref())).to_owned();
            cx.reply(&reply, |_| command + "\n", || vec![token])
        }
        TokenCommand::List { kind } => {
            let kind = match kind {
                None => TokenKind::Unspecified,
                Some(KindWord::Api) => TokenKind::Api,
                Some(KindWord::Join) => TokenKind::Join,
            } as i32;
            let request = session.ask(ListTokensRequest { kind, consistency: 0 });
            let reply = session.tokens().list_tokens(request).await?.into_inner();
            let names = || show::token::names(&reply.tokens);
            cx.reply(&reply, |colour| show::token::table(&reply.tokens, colour), names)
        }
        TokenCommand::Revoke { name: token } => {
            let subject = format!("token/{token}");
            cx.confirm(&subject, &format!("{subject} is revoked; what uses it is refused at once"))?;
            let request = session.ask(RevokeTokenRequest { name: token.clone(), request_id: request_id() });
            let reply = session.tokens().revoke_token(request).await?.into_inner();
            cx.done(&reply, &token, format!("{subject} revoked"))
        }
    }
}

/// On stderr, so that what is on stdout can be piped.
fn note(cx: &mut Context<'_>, text: &str) {
    if !cx.global.quiet && cx.global.output == Output::Table {
        cx.io.note(text);
    }
}

fn join_command(secret: &str, addresses: &[&str], node: Option<&str>) -> String {
    let mut command = String::from("pvc-bootstrap join");
    for address in addresses {
        command.push_str(&format!(" --coordinator {address}"));
    }
    if let Some(node) = node {
        command.push_str(&format!(" --node {node}"));
    }
    command + &format!(" --token {secret}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_command_names_every_coordinator() {
        assert_eq!(
            join_command("pvcj1.a.b.c", &["10.0.0.1:7370", "10.0.0.2:7370"], Some("hv4")),
            "pvc-bootstrap join --coordinator 10.0.0.1:7370 --coordinator 10.0.0.2:7370 --node hv4 --token pvcj1.a.b.c"
        );
    }
}
