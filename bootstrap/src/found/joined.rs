//! The first step of joining: the host has its certificate, for which a token was spent.

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use pvc_identity::Credentials;

use super::join::{self, JoinRequest};
use super::{HostSetup, mark, plan};
use crate::daemon_config::Role;
use crate::step::{Finding, Step};

/// Where a token comes from, asked only when one is to be spent.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The token. While it is not known to be spent in vain, the same one each time: only the token that was sent before
    /// an interruption gets the answer that was lost.
    async fn token(&self) -> anyhow::Result<JoinRequest>;

    /// Another one, because the cluster says that the first is too old or not known.
    async fn another(&self) -> anyhow::Result<Option<JoinRequest>> {
        Ok(None)
    }
}

/// A token that somebody has brought.
#[derive(Debug)]
pub struct GivenToken(pub JoinRequest);

#[async_trait]
impl TokenSource for GivenToken {
    async fn token(&self) -> anyhow::Result<JoinRequest> {
        Ok(self.0.clone())
    }
}

pub(super) struct Joined {
    tokens: Box<dyn TokenSource>,
}

impl Joined {
    pub(super) fn new(tokens: Box<dyn TokenSource>) -> Self {
        Self { tokens }
    }
}

/// What a host that joins must not bring along. Found before the token is spent.
fn refuse_leftovers(setup: &HostSetup) -> anyhow::Result<()> {
    let mark = setup.places.found_once();
    if mark.exists() {
        bail!(
            "this host is about to found a cluster of its own ({}): `pvc-bootstrap init` goes on with that; to join another, empty {} first",
            mark.display(),
            setup.places.etc.display()
        );
    }
    let store = mark::store_dir(setup)?;
    if mark::holds_something(&store)? {
        bail!(
            "{} holds the data of an earlier membership, which is worth nothing in a new one: empty it and run this again",
            store.display()
        );
    }
    Ok(())
}

#[async_trait]
impl Step<HostSetup> for Joined {
    fn name(&self) -> &'static str {
        "membership"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        // before a token is spent: a host that is somebody else already does not join
        plan::take_fixed(setup)?;
        let etc = setup.places.etc.clone();
        if !etc.join("node.pem").exists() {
            refuse_leftovers(setup)?;
            return Ok(Finding::Missing(format!("a token is spent for node {}'s certificate", setup.node)));
        }
        let Some(told) = join::told_before(setup)? else {
            bail!(
                "this host has a certificate in {} and has not joined: it has founded its cluster, and `pvc-bootstrap init` goes on there; a host that shall join another cluster starts from empty {} and /var/lib/pvc",
                etc.display(),
                etc.display()
            );
        };
        let leaf = Credentials::load(&etc)?.leaf().clone();
        if leaf.cluster_id != told.cluster_id {
            bail!(
                "{} holds a certificate of cluster {}, and the host has joined {}: restore it from a backup, or empty it and join anew",
                etc.display(),
                leaf.cluster_id,
                told.cluster_id
            );
        }
        join::take(setup, told);
        if (setup.role == Role::Coordinator) != (setup.member_id != 0) {
            bail!(
                "this host has joined as a {}; its role is changed in the cluster (`pvc cluster --help`), not by joining again",
                if setup.member_id == 0 { "hypervisor" } else { "coordinator" }
            );
        }
        Ok(Finding::InPlace)
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let request = self.tokens.token().await.context("there is no token to join with")?;
        let refused = match join::redeem(&request, setup).await {
            Err(error) if error.wants_another_token() => error,
            result => return Ok(result?),
        };
        match self.tokens.another().await.context("there is no other token to join with")? {
            Some(request) => Ok(join::redeem(&request, setup).await?),
            None => Err(refused.into()),
        }
    }
}
