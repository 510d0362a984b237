//! Joining: a one-time token is spent for a certificate, at any coordinator that proves to be under the CA which the token pins.
//!
//! The host's key is made and kept before the token is sent: when the answer is lost, the same key asks again, and the
//! cluster gives the same node. The key never leaves the host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pvc_client::{Trust, channel};
use pvc_identity::{Credentials, CredentialsError, Identity, JoinToken, KeyError, KeyPair, PinnedCa, Secret};
use pvc_proto::internal::v1::RedeemRequest;
use pvc_proto::internal::v1::join_service_client::JoinServiceClient;
use pvc_proto::v1::NodeRole;
use serde::{Deserialize, Serialize};

use super::HostSetup;
use crate::daemon_config::{Coordinator, Role};
use crate::durable_file::{self, FileError};

const REDEEM_LIMIT: Duration = Duration::from_secs(30);
const KEY_FILE: &str = "join.key";
const ANSWER_FILE: &str = "joined.toml";

/// What the cluster told when the token was spent, kept for a run that goes on after an interruption.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    cluster_id: String,
    member_id: u64,
    #[serde(default)]
    coordinators: Vec<Coordinator>,
}

/// A token and where to spend it.
#[derive(Debug)]
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
    #[error("coordinator {address} refused: {reason}")]
    Refused { address: String, reason: String },
    #[error(
        "coordinator {address} gave a certificate for {found}, not for node {expected} of cluster {cluster_id}"
    )]
    WrongCertificate { address: String, found: String, expected: String, cluster_id: String },
    #[error("coordinator {address} gave {text:?} as a coordinator's address")]
    Address { address: String, text: String },
    #[error("{path} is damaged; remove it and join with a new token (`pvc node token create`)")]
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

fn key_path(setup: &HostSetup) -> PathBuf {
    setup.places.etc.join(KEY_FILE)
}

/// The key of this host's attempt to join: made once, found again after an interruption.
fn joining_key(setup: &HostSetup) -> Result<KeyPair, JoinError> {
    let path = key_path(setup);
    if let Some(pem) = durable_file::read_text_if_there(&path)? {
        return Ok(KeyPair::from_pem(&Secret::new(pem))?);
    }
    durable_file::make_directory(&setup.places.etc, 0o755)?;
    let key = KeyPair::generate()?;
    durable_file::write(&path, key.pem().expose().as_bytes(), 0o600)?;
    Ok(key)
}

/// The answer to an earlier run that got as far as the certificate.
fn told_before(setup: &HostSetup) -> Result<Option<Told>, JoinError> {
    let path = setup.places.etc.join(ANSWER_FILE);
    if !setup.places.etc.join("node.pem").exists() {
        return Ok(None);
    }
    let text = durable_file::read_text_if_there(&path)?;
    text.map(|text| toml::from_str(&text).map_err(|source| JoinError::Told { path, source })).transpose()
}

fn take(setup: &mut HostSetup, told: Told) {
    setup.cluster_id = Some(told.cluster_id);
    setup.member_id = told.member_id;
    setup.coordinators = told.coordinators;
}

/// Spends the token unless the host has its certificate already, and fills in what the cluster told: its id, its
/// coordinators, the member id. After it [`super::enrolling_steps`] do the rest. A coordinator also gets the CA.
pub async fn redeem(request: &JoinRequest, setup: &mut HostSetup) -> Result<(), JoinError> {
    if let Some(told) = told_before(setup)? {
        take(setup, told);
        return Ok(());
    }
    let key = joining_key(setup)?;
    let pinned = PinnedCa::new(request.token.pin)?;
    let trust = Trust::Pinned(Arc::new(pinned));
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
    };
    let mut tried = Vec::new();
    for address in &request.coordinators {
        let unreachable = |why: &dyn std::fmt::Display| format!("{address}: {why}");
        let channel = match channel(address, &trust) {
            Ok(channel) => channel,
            Err(error) => {
                tried.push(unreachable(&error));
                continue;
            }
        };
        let mut call = tonic::Request::new(message.clone());
        call.set_timeout(REDEEM_LIMIT);
        let answer = match JoinServiceClient::new(channel).redeem(call).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tried.push(unreachable(&status.message()));
                continue;
            }
            Err(status) => {
                return Err(JoinError::Refused {
                    address: address.clone(),
                    reason: status.message().to_owned(),
                });
            }
        };
        return accept(setup, &key, address, answer);
    }
    Err(JoinError::Unreachable { tried: tried.join("; ") })
}

fn accept(
    setup: &mut HostSetup,
    key: &KeyPair,
    address: &str,
    answer: pvc_proto::internal::v1::RedeemResponse,
) -> Result<(), JoinError> {
    let credentials = Credentials::new(answer.certificate_pem, key.pem(), answer.ca_pem.clone())?;
    let leaf = credentials.leaf();
    let ours = leaf.cluster_id == answer.cluster_id
        && Identity::node(&setup.node).is_ok_and(|node| node == leaf.identity);
    if !ours {
        return Err(JoinError::WrongCertificate {
            address: address.to_owned(),
            found: leaf.identity.uri(&leaf.cluster_id),
            expected: setup.node.clone(),
            cluster_id: answer.cluster_id,
        });
    }
    let coordinators = answer
        .coordinators
        .into_iter()
        .map(|told| {
            let wrong = |_| JoinError::Address { address: address.to_owned(), text: told.address.clone() };
            let parsed: SocketAddr = told.address.parse().map_err(wrong)?;
            Ok(Coordinator { node: told.node, address: parsed })
        })
        .collect::<Result<Vec<_>, JoinError>>()?;
    if setup.role == Role::Coordinator && !answer.ca_key_pem.is_empty() {
        let authority = setup.places.authority();
        let ca = pvc_identity::Ca::from_pem(&answer.ca_pem, &Secret::new(answer.ca_key_pem))?;
        durable_file::make_directory(&authority, 0o700)?;
        ca.save(&authority.join("root.pem"), &authority.join("root.key"))?;
    }
    let told = Told { cluster_id: answer.cluster_id, member_id: answer.member_id, coordinators };
    let text = toml::to_string(&told).expect("texts, numbers and tables can be written as TOML");
    durable_file::write(&setup.places.etc.join(ANSWER_FILE), text.as_bytes(), 0o644)?;
    // last: with the certificate in place the host has joined
    credentials.save(&setup.places.etc)?;
    take(setup, told);
    Ok(())
}
