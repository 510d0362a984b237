//! Credentials of the first administrator, with which `pvc` is used on the founding host or copied elsewhere.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use pvc_identity::{Credentials, CredentialsError, Identity, LeafSpec};

use super::node_certificate::issue;
use super::{HostSetup, load_authority};
use crate::durable_file;
use crate::step::{Finding, Step};

/// A person renews by hand, so it lasts longer than a node's.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
const USER: &str = "root";

pub(super) struct AdminCredentials;

#[async_trait]
impl Step<HostSetup> for AdminCredentials {
    fn name(&self) -> &'static str {
        "administrator's credentials"
    }

    async fn check(&self, setup: &mut HostSetup) -> anyhow::Result<Finding> {
        let folder = setup.places.admin();
        if !folder.join("node.pem").exists() {
            return Ok(Finding::Missing(format!("for admin/{USER} in {}", folder.display())));
        }
        match Credentials::load(&folder)?.check_valid(Timestamp::now()) {
            Ok(()) => Ok(Finding::InPlace),
            Err(CredentialsError::Expired { not_after, .. }) => {
                Ok(Finding::Missing(format!("the old ones expired at {not_after}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn act(&self, setup: &mut HostSetup) -> anyhow::Result<()> {
        let folder = setup.places.admin();
        durable_file::make_directory(&folder, 0o700)?;
        let leaf = LeafSpec { lifetime: LIFETIME, ..LeafSpec::new(Identity::admin(USER)?) };
        issue(&load_authority(&setup.authority)?, &leaf)?.save(&folder)?;
        Ok(())
    }
}
