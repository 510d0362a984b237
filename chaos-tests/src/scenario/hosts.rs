//! Whom a line is about.

use pvc_model::Name;

use crate::cluster::Cluster;
use crate::net::Place;

/// Hosts, by their names or by what they are at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    These(Vec<Place>),
    Leader,
    Coordinators,
    /// Those that don't lead.
    OtherCoordinators,
    Hypervisors,
    All,
    HostOf(Name),
    /// Those that the last event befell.
    Them,
}

impl Hosts {
    pub fn parse(text: &str) -> Result<Hosts, String> {
        let text = text.trim();
        if let Some(guest) = text.strip_prefix("the host of ") {
            return Ok(Hosts::HostOf(name(guest)?));
        }
        Ok(match text {
            "the leader" => Hosts::Leader,
            "the coordinators" => Hosts::Coordinators,
            "the other coordinators" => Hosts::OtherCoordinators,
            "the hypervisors" => Hosts::Hypervisors,
            "all" => Hosts::All,
            "it" | "them" => Hosts::Them,
            _ => Hosts::These(text.split(',').map(place).collect::<Result<_, _>>()?),
        })
    }

    pub fn resolve(&self, cluster: &Cluster, them: &[Place]) -> Vec<Place> {
        let leader = cluster.leader().map(|(place, _)| place);
        let voters = cluster.voters();
        match self {
            Hosts::These(places) => places.clone(),
            Hosts::Leader => leader.into_iter().collect(),
            Hosts::Coordinators => voters,
            Hosts::OtherCoordinators => voters.into_iter().filter(|place| Some(*place) != leader).collect(),
            Hosts::Hypervisors => {
                cluster.places().into_iter().filter(|place| !voters.contains(place)).collect()
            }
            Hosts::All => cluster.places(),
            Hosts::HostOf(guest) => {
                let world = cluster.world();
                let placed = world.vms.get(guest).and_then(|vm| vm.placement.clone());
                placed.and_then(|placement| Place::of_node(&placement.node)).into_iter().collect()
            }
            Hosts::Them => them.to_vec(),
        }
    }
}

/// "hv4".
pub fn place(text: &str) -> Result<Place, String> {
    let text = text.trim();
    let known = text.parse::<Name>().ok().and_then(|name| Place::of_node(&name));
    known.ok_or_else(|| format!("{text:?} is no host (hv1, hv2, …)"))
}

pub fn name(text: &str) -> Result<Name, String> {
    let text = text.trim();
    text.parse().map_err(|error| format!("{text:?} is no name: {error}"))
}
