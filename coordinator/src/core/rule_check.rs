//! What a host's packet filter says of people's own statements, asked before they are stored.

use std::fmt;

use async_trait::async_trait;
use pvc_model::Name;
use pvc_model::network::Vni;
use pvc_model::network::acl::Acl;

/// The packet filter of the host on which this coordinator runs.
#[async_trait]
pub trait RuleCheck: fmt::Debug + Send + Sync {
    /// The first rule of a network that it does not take, and what it says of it. None: it takes all, or can't be asked
    /// here: then the hosts find out.
    async fn refused(&self, network: Vni, acl: &Acl) -> Option<(Name, String)>;
}

/// Where there is none to ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct TakesAll;

#[async_trait]
impl RuleCheck for TakesAll {
    async fn refused(&self, _: Vni, _: &Acl) -> Option<(Name, String)> {
        None
    }
}
