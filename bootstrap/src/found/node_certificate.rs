//! The node's key and its certificate, signed by the CA that is at hand.

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use jiff::Timestamp;
use pvc_identity::{Ca, Credentials, CredentialsError, Identity, KeyPair, LeafSpec};

use super::{HostSetup, load_authority};
use crate::step::{Finding, Step};

pub(super) struct NodeCertificate;

/// A key made here and a certificate for it.
pub(super) fn issue(ca: &Ca, leaf: &LeafSpec) -> anyhow::Result<Credentials> {
    let key = KeyPair::generate()?;
    let chain = ca.sign(&key.csr_pem()?, leaf, Timestamp::now())?;
    Ok(Credentials::new(chain, key.pem(), ca.cert_pem())?)
}

#[async_trait]
impl Step<HostSetup> for NodeCertificate {
    fn name(&self) -> &'static str {
        "node certificate"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let etc = &setup.places.etc;
        if !etc.join("node.pem").exists() {
            return Ok(Finding::Missing(format!("for node {} at {}", setup.node, setup.address)));
        }
        let credentials = Credentials::load(etc)?;
        let leaf = credentials.leaf();
        if leaf.identity != Identity::node(&setup.node)? || leaf.cluster_id != setup.cluster_id()? {
            bail!(
                "{} holds the certificate of {} of cluster {} already",
                etc.display(),
                leaf.identity,
                leaf.cluster_id
            );
        }
        match credentials.check_valid(Timestamp::now()) {
            Ok(()) => Ok(Finding::InPlace),
            Err(CredentialsError::Expired { not_after, .. }) => {
                Ok(Finding::Missing(format!("the old one expired at {not_after}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let ca = load_authority(&setup.authority).with_context(|| {
            format!(
                "a certificate that has expired is replaced by the host itself only where the CA is; on a coordinator run `pvc node remove {0}` and `pvc token join --node {0}`, empty {1} here, and join anew",
                setup.node,
                setup.places.etc.display()
            )
        })?;
        if ca.cluster_id() != setup.cluster_id()? {
            bail!("the CA at hand is that of cluster {}", ca.cluster_id());
        }
        let leaf = LeafSpec::node(&setup.node, [setup.address])?;
        issue(&ca, &leaf)?.save(&setup.places.etc)?;
        Ok(())
    }
}
