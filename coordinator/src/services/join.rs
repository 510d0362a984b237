//! `JoinService`: how a host gets its certificate, keeps it fresh, and becomes a voter. The cluster's CA is
//! used here and nowhere else. What may never happen here: signing for a name that the caller chose and the
//! cluster has not recorded.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pvc_identity::{Ca, Identity, JoinToken, LeafSpec};
use pvc_model::node::NodeRole;
use pvc_model::{Command, Name, Node, Rejection, RejectionKind};
use pvc_proto::convert::{At, node_role};
use pvc_proto::internal::v1::join_service_server::JoinService;
use pvc_proto::internal::v1::{
    BecomeMemberRequest, BecomeMemberResponse, Coordinator, RedeemRequest, RedeemResponse, RenewRequest,
    RenewResponse,
};
use raft_store::{Member, MembersError};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::caller::Caller;
use super::shared::{Shared, name, refuse, reply_name};
use super::voters;
use crate::status;
use pvc_model::change::Collection;

/// A person's certificate lasts longer than a program's, which renews it by itself.
const ADMIN_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// A change of members that waits for another one is tried again for so long.
const MEMBER_PATIENCE: Duration = Duration::from_secs(30);
const MEMBER_AGAIN: Duration = Duration::from_millis(200);

/// Serves hosts on their way in.
pub struct Joins {
    pub shared: Shared,
    /// The directory with the CA's `root.pem` and `root.key`; read for each signature, so that a rolled CA
    /// holds at once and its key is not kept in memory.
    pub ca_dir: PathBuf,
}

impl Joins {
    fn ca(&self) -> Result<Ca, Status> {
        let (certificate, key) = (self.ca_dir.join("root.pem"), self.ca_dir.join("root.key"));
        Ca::load(&certificate, &key).map_err(|error| {
            tracing::error!(%error, "the cluster's CA can't be used on this coordinator");
            let subject = format!("node/{}", self.shared.node);
            let detail = format!("the cluster's CA can't be used here: {error}");
            let help = "copy /etc/pvc/ca from another coordinator";
            status::of(Code::FailedPrecondition, "ca-usable", &subject, &detail, help, None)
        })
    }

    fn now(&self) -> Result<jiff::Timestamp, Status> {
        let now = i64::try_from(self.shared.core.environment().wall_now_ms()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(now).map_err(|_| status::internal("the clock shows no date"))
    }

    fn sign(&self, ca: &Ca, csr_pem: &str, leaf: &LeafSpec) -> Result<String, Status> {
        ca.sign(csr_pem, leaf, self.now()?).map_err(|error| bad_request(&leaf.identity.to_string(), &error))
    }
}

fn bad_request(subject: &str, error: &pvc_identity::CaError) -> Status {
    refuse(Rejection::invalid("signing-request", subject, error.to_string()))
}

/// What a node's certificate says besides its name.
fn node_leaf(node: &Node) -> Result<LeafSpec, Status> {
    let address = node.status.address.parse::<SocketAddr>().ok().map(|address| address.ip());
    LeafSpec::node(node.meta.name.as_str(), address).map_err(|error| status::internal(&error.to_string()))
}

#[tonic::async_trait]
impl JoinService for Joins {
    async fn redeem(&self, request: Request<RedeemRequest>) -> Result<Response<RedeemResponse>, Status> {
        let request = request.into_inner();
        let node = name("node", "node", &request.node)?;
        let subject = format!("node/{node}");
        let at = At::new(&subject);
        let role = node_role(&at.field("role"), request.role).map_err(refuse)?;
        if request.address.parse::<SocketAddr>().is_err() {
            return Err(refuse(
                at.field("address").refuse("address", "must be IP:PORT, where its pvcd will listen"),
            ));
        }
        let token: JoinToken = request.token.parse().map_err(|error: pvc_identity::TokenError| {
            refuse(
                Rejection::new(RejectionKind::Denied, "token-form", &subject, error.to_string())
                    .help("make one on a coordinator: pvc token join"),
            )
        })?;
        let ca = self.ca()?;
        let key_hash =
            Ca::request_key_hash(&request.csr_pem).map_err(|error| bad_request(&subject, &error))?;
        let command = Command::RedeemJoinToken {
            token: token.id.parse().map_err(|_| status::internal("a token's id is no name"))?,
            secret_hash: token.secret_hash(),
            node: node.clone(),
            role,
            address: request.address,
            key_hash,
            standby: request.standby,
        };
        let caller = Caller { identity: format!("token/{}", token.id), role: None };
        let committed = self.shared.submit(&caller, command, "").await?;
        let enrolled = committed.world.node(reply_name(&committed, Collection::Nodes)?).map_err(refuse)?;
        let certificate_pem = self.sign(&ca, &request.csr_pem, &node_leaf(enrolled)?)?;
        let coordinators = committed
            .world
            .nodes
            .values()
            .filter(|n| n.spec.role == NodeRole::Coordinator && n.meta.name != node);
        Ok(Response::new(RedeemResponse {
            cluster_id: self.shared.cluster_id.clone(),
            certificate_pem,
            ca_pem: ca.cert_pem().to_owned(),
            coordinators: coordinators
                .map(|n| Coordinator { node: n.meta.name.to_string(), address: n.status.address.clone() })
                .collect(),
            member_id: enrolled.status.member_id,
            recoveries: self.shared.core.recoveries(),
            ca_key_pem: match enrolled.spec.role {
                NodeRole::Coordinator => ca.key_pem().expose().to_owned(),
                NodeRole::Hypervisor => String::new(),
            },
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let ca = self.ca()?;
        let leaf = match caller.identity.parse::<Identity>() {
            // What the cluster knows of a node is newer than what its certificate says.
            Ok(Identity::Node(node)) => {
                let node: Name = node.parse().map_err(|_| status::internal("a node's name is no name"))?;
                node_leaf(self.shared.core.world().node(&node).map_err(refuse)?)?
            }
            Ok(identity) if !request.certificate_pem.is_empty() => {
                let held = ca.leaf_of(&request.certificate_pem, self.now()?);
                let held = held.map_err(|error| bad_request(&caller.identity, &error))?;
                if held.identity != identity {
                    let detail = format!("the certificate is {}'s", held.identity);
                    return Err(status::denied("certificate-own", &caller.identity, &detail, ""));
                }
                held
            }
            Ok(admin @ Identity::Admin(_)) => LeafSpec { lifetime: ADMIN_LIFETIME, ..LeafSpec::new(admin) },
            Ok(service @ Identity::Service(_)) => {
                let mut leaf = LeafSpec::new(service.clone());
                leaf.dns_names = vec![service.name().to_owned(), "localhost".to_owned()];
                leaf.ip_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
                leaf
            }
            Err(_) => {
                let help = "renew with the certificate that is to be renewed";
                return Err(status::denied(
                    "certificate-needed",
                    &caller.identity,
                    "it has no certificate",
                    help,
                ));
            }
        };
        let certificate_pem = self.sign(&ca, &request.csr_pem, &leaf)?;
        tracing::info!(identity = %caller.identity, "signed a new certificate");
        Ok(Response::new(RenewResponse { certificate_pem, ca_pem: ca.cert_pem().to_owned() }))
    }

    async fn become_member(
        &self,
        request: Request<BecomeMemberRequest>,
    ) -> Result<Response<BecomeMemberResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let node = name("node", "node", &request.node)?;
        caller.must_be_node(&node)?;
        let world = self.shared.core.world();
        let object = world.node(&node).map_err(refuse)?;
        let subject = format!("node/{node}");
        if object.spec.role != NodeRole::Coordinator {
            let detail = "it is not a coordinator";
            let help = "join it anew with `pvc-bootstrap join --role coordinator`";
            return Err(refuse(Rejection::precondition("coordinator-needed", subject, detail).help(help)));
        }
        if object.status.member_id != request.member_id || request.member_id == 0 {
            let detail = format!("it is member {}, not {}", object.status.member_id, request.member_id);
            return Err(refuse(Rejection::precondition("member-of-node", subject, detail)));
        }
        let member = Member::new(request.member_id, object.status.address.clone());
        let until = Instant::now() + MEMBER_PATIENCE;
        loop {
            let store = self.shared.core.store();
            let admitted = match object.spec.standby {
                true => voters::stand_by(store, member.clone()).await,
                false => voters::admit(store, member.clone()).await,
            };
            match admitted {
                Ok(()) => return Ok(Response::new(BecomeMemberResponse { voter: !object.spec.standby })),
                Err(MembersError::Busy | MembersError::Lagging { .. } | MembersError::Unreachable { .. })
                    if Instant::now() < until =>
                {
                    tokio::time::sleep(MEMBER_AGAIN).await;
                }
                Err(error) => return Err(status::members(&error, self.shared.leader().as_ref())),
            }
        }
    }
}
