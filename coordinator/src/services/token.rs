//! `TokenService`. A secret is drawn here, shown in the one answer, and its hash alone goes on. What may never
//! happen here: an answer with a secret that the cluster does not hold the hash of.

use pvc_identity::{ApiToken, JoinToken};
use pvc_model::change::Collection;
use pvc_model::token::TokenKind;
use pvc_model::{Command, Rejection};
use pvc_proto::convert::{At, role, token_view};
use pvc_proto::v1;
use pvc_proto::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::shared::{Shared, name, optional_name, refuse, reply_name};
use crate::core::Committed;

/// Serves tokens.
pub struct Tokens(pub Shared);

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let request = request.into_inner();
        let kind = v1::TokenKind::try_from(request.kind).map_err(|error| {
            refuse(Rejection::invalid("unknown-value", "request", format!("kind: {error}")))
        })?;
        let world = self.0.world(request.consistency).await?;
        let wanted = |of: &TokenKind| match kind {
            v1::TokenKind::Unspecified => true,
            v1::TokenKind::Api => matches!(of, TokenKind::Api { .. }),
            v1::TokenKind::Join => matches!(of, TokenKind::Join { .. }),
        };
        let tokens = world.tokens.values().filter(|token| wanted(&token.kind));
        let tokens = tokens.map(|token| token_view(token)).collect();
        Ok(Response::new(v1::ListTokensResponse { tokens, revision: world.revision }))
    }

    async fn create_api_token(
        &self,
        request: Request<v1::CreateApiTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = name("token", "name", &request.name)?;
        let subject = format!("token/{name}");
        let fresh = ApiToken::generate();
        let command = Command::CreateApiToken {
            name,
            role: role(&At::new(&subject).field("role"), request.role).map_err(refuse)?,
            lifetime_seconds: request.lifetime_seconds,
            description: request.description,
            secret_hash: fresh.secret_hash(),
        };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        answer(&committed, fresh.expose(), |stored| fresh.matches_hash(stored))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let fresh = JoinToken::generate(self.0.ca_pin);
        let command = Command::CreateJoinToken {
            // The joining host shows the whole token: its id says which one it is.
            name: name("token", "id", &fresh.id)?,
            lifetime_seconds: request.lifetime_seconds,
            node: optional_name("node", "node", &request.node)?,
            secret_hash: fresh.secret_hash(),
        };
        let committed = self.0.submit(&caller, command, &request.request_id).await?;
        answer(&committed, fresh.expose(), |stored| fresh.matches_hash(stored))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = Command::RevokeToken { name: name("token", "name", &request.name)? };
        self.0.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}

/// The token with its secret, if this is the secret that was stored: a request that was repeated finds the
/// token of the first one, whose secret nobody knows any more.
fn answer(
    committed: &Committed,
    secret: String,
    is_stored: impl Fn(&str) -> bool,
) -> Result<Response<v1::CreateTokenResponse>, Status> {
    let name = reply_name(committed, Collection::Tokens)?;
    match committed.world.tokens.get(name) {
        Some(token) if is_stored(&token.secret_hash) => {
            Ok(Response::new(v1::CreateTokenResponse { token: Some(token_view(token)), secret }))
        }
        Some(_) | None => {
            let detail = "it was made by an earlier call with this request id, and its secret was shown once";
            let rejection = Rejection::precondition("secret-shown-once", format!("token/{name}"), detail);
            Err(refuse(
                rejection.help(format!("if nobody has it: pvc token revoke {name}, then make another")),
            ))
        }
    }
}
