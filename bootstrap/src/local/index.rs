//! Which of the 50 address plans a new local cluster takes: the first that nobody on the machine uses.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::plan::{AddressPlan, INDEX_COUNT, Net};
use super::state::{ClusterDir, StateError};
use crate::tool::{self, ToolError};

/// Routes to this large a part of the address space (a VPN's 10.0.0.0/8) are no use of our networks: ours are more specific.
const WIDE_PREFIX_LEN: u8 = 12;

/// Why no index could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(
        "all {INDEX_COUNT} address plans from 10.100.0.0/24 and 10.200.0.0/24 on are in use on this machine; `pvc-bootstrap local down --name NAME` frees one"
    )]
    NoneFree,
    #[error(
        "the addresses of local cluster \"{name}\" ({network}/24) are used by something else on this machine now; `pvc-bootstrap local down --name {name}` and `up` give it others"
    )]
    Taken { name: String, network: Ipv4Addr },
    #[error("`ip` gave an answer that is not its usual JSON")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// A network that something uses.
type Used = (Ipv4Addr, u8);

#[derive(Deserialize)]
struct Route {
    dst: String,
}

/// The networks to which the machine has routes, its own links' included.
pub async fn machine_networks() -> Result<Vec<Used>, IndexError> {
    let text = tool::ip(&["-j", "-4", "route", "show", "table", "all"]).await?;
    let routes: Vec<Route> = if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text)? };
    Ok(routes.iter().filter_map(|route| parse_network(&route.dst)).collect())
}

fn parse_network(text: &str) -> Option<Used> {
    let (address, len) = text.split_once('/').unwrap_or((text, "32"));
    Some((address.parse().ok()?, len.parse().ok()?))
}

fn is_free(plan: AddressPlan, used: &[Used]) -> bool {
    Net::ALL.iter().all(|net| {
        !used.iter().any(|used| {
            used.1 > WIDE_PREFIX_LEN && overlap(*used, (plan.network(*net), AddressPlan::PREFIX_LEN))
        })
    })
}

fn overlap(a: Used, b: Used) -> bool {
    let len = a.1.min(b.1).min(32);
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    u32::from(a.0) & mask == u32::from(b.0) & mask
}

/// The first index whose addresses nobody uses, neither the machine nor a sleeping cluster in the same state folder.
/// The caller holds the machine's lock until its hub exists.
pub async fn choose(dir: &ClusterDir) -> Result<u8, IndexError> {
    let used = machine_networks().await?;
    let sleeping = sleeping_indices(dir);
    (0..INDEX_COUNT)
        .find(|index| {
            !sleeping.contains(index) && AddressPlan::new(*index).is_some_and(|plan| is_free(plan, &used))
        })
        .ok_or(IndexError::NoneFree)
}

/// Refuses when something else has taken the addresses of a cluster whose hub does not exist now.
pub async fn require_free(name: &str, plan: AddressPlan) -> Result<(), IndexError> {
    if is_free(plan, &machine_networks().await?) {
        return Ok(());
    }
    Err(IndexError::Taken { name: name.to_owned(), network: plan.network(Net::Cluster) })
}

fn sleeping_indices(dir: &ClusterDir) -> Vec<u8> {
    let Ok(entries) = std::fs::read_dir(dir.root()) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|name| {
            let other = ClusterDir::new(dir.root(), name).ok()?;
            Some(other.load_if_there().ok()??.index)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(texts: &[&str]) -> Vec<Used> {
        texts.iter().map(|text| parse_network(text).unwrap()).collect()
    }

    fn plan(index: u8) -> AddressPlan {
        AddressPlan::new(index).unwrap()
    }

    #[test]
    fn a_plan_is_taken_when_one_of_its_networks_is() {
        assert!(is_free(plan(0), &used(&["192.168.1.0/24", "10.102.0.0/24", "127.0.0.0/8"])));
        assert!(!is_free(plan(0), &used(&["10.100.0.0/24"])));
        assert!(!is_free(plan(0), &used(&["10.101.0.77"])));
        assert!(!is_free(plan(0), &used(&["10.200.0.0/22"])));
        assert!(!is_free(plan(0), &used(&["10.100.0.0/16"])));
        assert!(is_free(plan(0), &used(&["10.0.0.0/8"])), "a wide route is none of ours");
    }

    #[test]
    fn words_that_are_no_network_are_not_read_as_one() {
        assert_eq!(parse_network("default"), None);
        assert_eq!(parse_network("10.1.0.0/24"), Some((Ipv4Addr::new(10, 1, 0, 0), 24)));
        assert!(overlap(parse_network("0.0.0.0/0").unwrap(), parse_network("9.9.9.9").unwrap()));
    }

    #[test]
    fn sleeping_clusters_keep_their_addresses() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| ClusterDir::new(root.path(), name.parse().unwrap()).unwrap();
        let state = super::super::state::ClusterState::new("b".parse().unwrap(), 7, 1, 1, "/x".into());
        dir("b").save(&state).unwrap();
        std::fs::create_dir(root.path().join("not-a-cluster")).unwrap();
        assert_eq!(sleeping_indices(&dir("a")), [7]);
    }
}
