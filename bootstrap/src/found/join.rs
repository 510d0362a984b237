//! Joining: a one-time token is spent for a certificate, at any coordinator that proves to be under the CA which the token pins.
//!
//! The host's key is made and kept before the token is sent: when the answer is lost, the same key asks again, and the
//! cluster gives the same node. The key never leaves the host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pvc_client::{CallError, Trust, channel};
use pvc_identity::{Credentials, CredentialsError, Identity, JoinToken, KeyError, KeyPair, PinnedCa, Secret};
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use pvc_proto::internal::v1::{RedeemRequest, RedeemResponse};
use pvc_proto::v1::NodeRole;
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::HostSetup;
use crate::daemon_config::{Coordinator, Role};
use crate::durable_file::{self, FileError};

const REDEEM_LIMIT: Duration = Duration::from_secs(30);
const KEY_FILE: &str = "join.key";

/// What the cluster told when the token was spent, kept for a run that goes on after an interruption.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub cluster_id: String,
    member_id: u64,
    #[serde(default)]
    recoveries: u64,
    #[serde(default)]
    coordinators: Vec<Coordinator>,
}

/// A token and where to spend it.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub token: JoinToken,
    /// Coordinators to try, `host:port`, in this order.
    pub coordinators: Vec<String>,
}

/// Why a host could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("no coordinator could be asked ({tried}); is the address right, and does its pvcd run?")]
    Unreachable { tried: String },
    #[error("coordinator {address} refused: {refusal}")]
    Refused { address: String, refusal: CallError },
    #[error(
        "coordinator {address} gave a certificate for {found}, not for node {expected} of cluster {cluster_id}"
    )]
    WrongCertificate { address: String, found: String, expected: String, cluster_id: String },
    #[error("coordinator {address} is of cluster {found}, and this host's place is in cluster {expected}")]
    OtherCluster { address: String, found: String, expected: String },
    #[error("coordinator {address} gave {text:?} as a coordinator's address")]
    Address { address: String, text: String },
    #[error("coordinator {address} gave no CA key, without which a coordinator cannot sign")]
    NoAuthority { address: String },
    #[error("{path} is damaged; empty its folder and join with a new token (`pvc token join`)")]
    Told {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("could not prepare to check the token's CA")]
    Pin(#[from] pvc_identity::ConnectError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Authority(#[from] pvc_identity::CaError),
    #[error(transparent)]
    File(#[from] FileError),
}

impl JoinError {
    /// Whether another token may do what this one could not: it is too old, or the cluster does not know it (any more).
    pub(super) fn wants_another_token(&self) -> bool {
        let rule = match self {
            Self::Refused { refusal, .. } => refusal.rule.as_str(),
            _ => "",
        };
        matches!(rule, "token-known" | "token-not-expired")
    }
}

/// The key of this host's attempt to join: made once, found again after an interruption.
fn joining_key(setup: &HostSetup) -> Result<KeyPair, JoinError> {
    let path = setup.places.etc.join(KEY_FILE);
    if let Some(pem) = durable_file::read_text_if_there(&path)? {
        return Ok(KeyPair::from_pem(&Secret::new(pem))?);
    }
    durable_file::make_directory(&setup.places.etc, 0o755)?;
    let key = KeyPair::generate()?;
    durable_file::write(&path, key.pem().expose().as_bytes(), 0o600)?;
    Ok(key)
}

/// The answer that an earlier run was given.
pub(super) fn told_before(setup: &HostSetup) -> Result<Option<Told>, JoinError> {
    let path = setup.places.joined();
    let text = durable_file::read_text_if_there(&path)?;
    text.map(|text| toml::from_str(&text).map_err(|source| JoinError::Told { path, source })).transpose()
}

/// Fills in what the cluster told.
pub(super) fn take(setup: &mut HostSetup, told: Told) {
    setup.cluster_id = Some(told.cluster_id);
    setup.member_id = told.member_id;
    setup.recoveries = told.recoveries;
    setup.coordinators = told.coordinators;
}

/// Spends the token: afterwards the host has its certificate, a coordinator also the CA, and `setup` what the cluster
/// told. Asked again with the same token, it gets the same.
pub(super) async fn redeem(request: &JoinRequest, setup: &mut HostSetup) -> Result<(), JoinError> {
    let key = joining_key(setup)?;
    let trust = Trust::Pinned(Arc::new(PinnedCa::new(request.token.pin)?));
    let message = RedeemRequest {
        token: request.token.expose(),
        node: setup.node.clone(),
        csr_pem: key.csr_pem()?,
        address: setup.listen().to_string(),
        role: match setup.role {
            Role::Coordinator => NodeRole::Coordinator,
            Role::Hypervisor => NodeRole::Hypervisor,
        }
        .into(),
        standby: setup.standby,
    };
    let mut tried = Vec::new();
    for address in &request.coordinators {
        match ask(address, &trust, &message).await {
            Ok(answer) => return accept(setup, &key, address, answer),
            Err(Refusal::Unreachable(why)) => tried.push(format!("{address}: {why}")),
            Err(Refusal::Final(refusal)) => {
                return Err(JoinError::Refused { address: address.clone(), refusal });
            }
        }
    }
    Err(JoinError::Unreachable { tried: tried.join("; ") })
}

/// Why one coordinator did not take the token.
enum Refusal {
    /// Another one may.
    Unreachable(String),
    Final(CallError),
}

async fn ask(address: &str, trust: &Trust, message: &RedeemRequest) -> Result<RedeemResponse, Refusal> {
    let channel = channel(address, trust).map_err(|error| Refusal::Unreachable(error.to_string()))?;
    let mut call = tonic::Request::new(message.clone());
    call.set_timeout(REDEEM_LIMIT);
    match JoinServiceClient::new(channel).redeem(call).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(match status.code() {
            // the last is what tonic makes of a deadline of its own
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Refusal::Unreachable(CallError::from(status).to_string())
            }
            _ => Refusal::Final(status.into()),
        }),
    }
}

fn accept(
    setup: &mut HostSetup,
    key: &KeyPair,
    address: &str,
    answer: RedeemResponse,
) -> Result<(), JoinError> {
    let address = || address.to_owned();
    if let Some(expected) = setup.cluster_id.as_ref().filter(|expected| **expected != answer.cluster_id) {
        return Err(JoinError::OtherCluster {
            address: address(),
            found: answer.cluster_id,
            expected: expected.clone(),
        });
    }
    let credentials = Credentials::new(answer.certificate_pem, key.pem(), answer.ca_pem.clone())?;
    let leaf = credentials.leaf();
    let ours = leaf.cluster_id == answer.cluster_id
        && Identity::node(&setup.node).is_ok_and(|node| node == leaf.identity);
    if !ours {
        return Err(JoinError::WrongCertificate {
            address: address(),
            found: leaf.identity.uri(&leaf.cluster_id),
            expected: setup.node.clone(),
            cluster_id: answer.cluster_id,
        });
    }
    let coordinators = answer
        .coordinators
        .into_iter()
        .map(|told| {
            let wrong = |_| JoinError::Address { address: address(), text: told.address.clone() };
            let parsed: SocketAddr = told.address.parse().map_err(wrong)?;
            Ok(Coordinator { node: told.node, address: parsed })
        })
        .collect::<Result<Vec<_>, JoinError>>()?;
    if setup.role == Role::Coordinator {
        if answer.ca_key_pem.is_empty() {
            return Err(JoinError::NoAuthority { address: address() });
        }
        let authority = setup.places.authority();
        let ca = pvc_identity::Ca::from_pem(&answer.ca_pem, &Secret::new(answer.ca_key_pem))?;
        durable_file::make_directory(&authority, 0o700)?;
        ca.save(&authority.join("root.pem"), &authority.join("root.key"))?;
    }
    let told = Told {
        cluster_id: answer.cluster_id,
        member_id: answer.member_id,
        recoveries: answer.recoveries,
        coordinators,
    };
    let text = toml::to_string(&told).expect("texts, numbers and tables can be written as TOML");
    durable_file::write(&setup.places.joined(), text.as_bytes(), 0o644)?;
    // last: with the certificate in place the host has joined
    credentials.save(&setup.places.etc)?;
    take(setup, told);
    Ok(())
}
