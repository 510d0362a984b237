//! Asks this host's nft of the statements that people write as firewall rules.

use async_trait::async_trait;
use pvc_coordinator::core::RuleCheck;
use pvc_model::Name;
use pvc_model::network::Vni;
use pvc_model::network::acl::Acl;

/// The program `nft` of this host.
#[derive(Clone, Copy, Debug)]
pub struct Nft;

#[async_trait]
impl RuleCheck for Nft {
    async fn refused(&self, network: Vni, acl: &Acl) -> Option<(Name, String)> {
        match pvc_network::firewall::refused(network, acl).await {
            Ok(refused) => refused.into_iter().next(),
            Err(error) => {
                tracing::warn!(%network, %error, "nft could not be asked whether it takes a rule");
                None
            }
        }
    }
}
