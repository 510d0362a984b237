//! `RaftService`: calls of other members, given to the store. The caller's certificate names a node; the
//! call must come from that node's member id, and a node that was removed is not listened to.

use std::io;

use futures::StreamExt;
use pvc_model::{Name, World};
use pvc_proto::internal::v1::raft_service_server::RaftService;
use pvc_proto::internal::v1::{RaftCall, RaftReply, SnapshotChunk};
use raft_store::RpcError;
use tokio_util::io::StreamReader;
use tonic::{Code, Request, Response, Status, Streaming};

use super::caller::Caller;
use super::shared::Shared;
use crate::core::member_name;
use crate::raft_transport::{EXPELLED, kind_of};
use crate::status;

/// Serves members.
pub struct Raft(pub Shared);

impl Raft {
    /// Refuses who is not the member that the call says.
    async fn check(&self, caller: &Caller, cluster_id: &str, target: u64, from: u64) -> Result<(), Status> {
        let own = &self.0.core.store().options().cluster_id;
        if cluster_id != own {
            let detail = format!("this is cluster {own}, the call is for {cluster_id}");
            // The certificate is of this cluster: it has begun anew without the caller, or the caller without it.
            let newer =
                recoveries(cluster_id, &self.0.cluster_id).is_some_and(|n| n < self.0.core.recoveries());
            return Err(if newer {
                expelled(&caller.identity, &detail)
            } else {
                refused(&caller.identity, &detail)
            });
        }
        let here = self.0.core.store().options().me.id;
        if target != here {
            let detail = format!("this is member {here}, the call is for member {target}");
            return Err(refused(&caller.identity, &detail));
        }
        let Some(node) = caller.node() else {
            return Err(refused(&caller.identity, "only nodes take part in Raft"));
        };
        let judge =
            |world: &World| sender(world, node, from, self.0.core.store().view().is_known_member(from));
        let Err(wrong) = judge(&self.0.core.world()) else { return Ok(()) };
        let detail = match wrong {
            // A replica that lags knows of members before it knows whose they are. A refusal that will stand
            // for ever is given on the newest world alone.
            Wrong::Removed(detail) => match self.0.core.linearizable_world().await {
                Ok(world) => match judge(&world) {
                    Ok(()) => return Ok(()),
                    Err(Wrong::Removed(detail)) => return Err(expelled(&caller.identity, &detail)),
                    Err(Wrong::Sender(detail)) => detail,
                },
                Err(_) => detail,
            },
            Wrong::Sender(detail) => detail,
        };
        Err(refused(&caller.identity, &detail))
    }
}

/// How often the store of that name was recovered; None: it is no store of this cluster.
fn recoveries(store: &str, cluster_id: &str) -> Option<u64> {
    match store.strip_prefix(cluster_id)? {
        "" => Some(0),
        suffix => suffix.strip_prefix('.')?.parse().ok(),
    }
}

/// Why a node may not speak as a member.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// It was one, and never will be again.
    Removed(String),
    Sender(String),
}

/// Whether `node` may speak as member `from`. `known_member`: the store knows the number as a member's.
fn sender(world: &World, node: &str, from: u64, known_member: bool) -> Result<(), Wrong> {
    let object = node.parse::<Name>().ok().and_then(|name| world.nodes.get(&name));
    match object {
        Some(object) if object.status.member_id == from => Ok(()),
        Some(object) => Err(Wrong::Sender(format!(
            "node {node} is member {}, and the call says that it comes from member {from}",
            object.status.member_id
        ))),
        None => match member_name(world, from) {
            Some(owner) => Err(Wrong::Sender(format!("member {from} is node {owner}"))),
            None if known_member => {
                Err(Wrong::Removed(format!("member {from} was removed from the cluster")))
            }
            // A replica that lags, or has nothing yet, learns of new nodes only by such calls.
            None => Ok(()),
        },
    }
}

/// The caller's data are worth nothing for ever.
fn expelled(identity: &str, detail: &str) -> Status {
    status::denied(EXPELLED, identity, detail, "empty its data directory, and join it anew")
}

fn refused(identity: &str, detail: &str) -> Status {
    status::denied("raft-peer", identity, detail, "")
}

fn failed(error: &RpcError) -> Status {
    let code = match error {
        RpcError::Stopped => Code::Unavailable,
        RpcError::Malformed(_) => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}

#[tonic::async_trait]
impl RaftService for Raft {
    async fn call(&self, request: Request<RaftCall>) -> Result<Response<RaftReply>, Status> {
        let caller = Caller::of(&request)?;
        let call = request.into_inner();
        self.check(&caller, &call.cluster_id, call.target, call.from).await?;
        let kind =
            kind_of(call.kind).ok_or_else(|| Status::unimplemented(format!("no call {}", call.kind)))?;
        let payload = self.0.core.store().handle(call.from, kind, call.payload).await;
        Ok(Response::new(RaftReply { payload: payload.map_err(|e| failed(&e))? }))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftReply>, Status> {
        let caller = Caller::of(&request)?;
        let mut chunks = request.into_inner();
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("a snapshot without its header"))?;
        self.check(&caller, &first.cluster_id, first.target, first.from).await?;
        let data = chunks.map(|chunk| chunk.map(|chunk| chunk.data).map_err(io::Error::other));
        let reader = Box::pin(StreamReader::new(data));
        let payload = self.0.core.store().handle_snapshot(first.from, first.header, reader).await;
        Ok(Response::new(RaftReply { payload: payload.map_err(|e| failed(&e))? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_model::{Command, Context, Timestamp, decide};

    #[test]
    fn the_name_of_a_store_tells_its_recoveries() {
        assert_eq!(recoveries("9f2c", "9f2c"), Some(0));
        assert_eq!(recoveries("9f2c.12", "9f2c"), Some(12));
        assert_eq!(recoveries("9f2d", "9f2c"), None);
        assert_eq!(recoveries("9f2cx", "9f2c"), None);
    }

    #[test]
    fn a_member_speaks_for_itself_only() {
        let found = Command::FoundNode {
            name: "hv1".parse().expect("a name"),
            address: "192.0.2.1:7741".to_owned(),
            member_id: 7,
        };
        let mut world = World::default();
        let mut context = Context::new(Timestamp(1), "test", [1, 2]);
        let changes = decide(&world, &found, &mut context).expect("founded");
        world.apply(&changes, 1);
        assert_eq!(sender(&world, "hv1", 7, true), Ok(()));
        assert!(sender(&world, "hv1", 1007, false).is_err(), "another number");
        assert!(sender(&world, "stranger", 7, true).is_err(), "another's number");
        assert!(sender(&world, "removed", 4711, true).is_err(), "a number that was a member's");
        assert_eq!(sender(&world, "new", 4711, false), Ok(()), "a replica that lags");
    }
}
