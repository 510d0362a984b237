//! People's rules of all networks, made once for each change of a network. One that nft, or we, can't take is left out and told
//! of, and holds up nothing else: neither its network nor the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pvc_model::network::acl::Direction;
use pvc_model::network::{Network, Vni};

use super::acl::{self, Refusal, Rendered};
use super::nft::{self, NftError};
use super::table::{Rule, Table};

const BOTH: [Direction; 2] = [Direction::In, Direction::Out];

/// The chains of people's rules: those that have any.
pub type Chains = BTreeMap<(Vni, Direction), Arc<Vec<Rule>>>;

#[derive(Default)]
pub struct Rules {
    rendered: HashMap<Vni, (Arc<Network>, [Rendered; 2])>,
    /// What nft has refused, of chains that are still asked for as they were then.
    refused: BTreeMap<(Vni, Direction), Refused>,
}

struct Refused {
    asked: Arc<Vec<Rule>>,
    refusals: Vec<Refusal>,
    /// What is left of the chain.
    rest: Arc<Vec<Rule>>,
}

impl Rules {
    pub fn update(&mut self, networks: &[Arc<Network>]) {
        let mut before = std::mem::take(&mut self.rendered);
        for network in networks {
            let Some(managed) = network.managed() else { continue };
            let vni = network.vni;
            let rendered = match before.remove(&vni) {
                Some((known, rendered)) if Arc::ptr_eq(&known, network) => rendered,
                _ => BOTH.map(|direction| acl::render(vni, &managed.acl, direction)),
            };
            self.rendered.insert(vni, (network.clone(), rendered));
        }
        let Rules { rendered, refused } = self;
        refused.retain(|(vni, direction), refused| {
            let now = rendered.get(vni).map(|(_, rendered)| &of(rendered, *direction).rules);
            now == Some(&refused.asked)
        });
    }

    /// The chains without the rules that can't be, and what people should know of those.
    pub fn settle(&self) -> (Chains, Vec<String>) {
        let (mut chains, mut said) = (Chains::new(), Vec::new());
        for (vni, (_, rendered)) in &self.rendered {
            for direction in BOTH {
                let ours = of(rendered, direction);
                let nfts = self.refused.get(&(*vni, direction));
                let refusals =
                    ours.refused.iter().chain(nfts.into_iter().flat_map(|refused| &refused.refusals));
                said.extend(refusals.map(|Refusal { rule, reason }| {
                    format!("network {vni}: rule {rule} is left out, since {reason}: `pvc network acl modify {vni} {rule}`")
                }));
                let rules = nfts.map_or(&ours.rules, |refused| &refused.rest);
                if !rules.is_empty() {
                    chains.insert((*vni, direction), rules.clone());
                }
            }
        }
        said.sort();
        (chains, said)
    }

    /// After nft has refused a transaction: asks it of each of these chains that differs from what was there before. Whether
    /// any was to blame.
    pub async fn examine(&mut self, chains: &Chains, before: Option<&Table>) -> Result<bool, NftError> {
        let mut found = false;
        for ((vni, direction), rules) in chains {
            let stood = before.and_then(|table| table.chains.get(&acl::chain(*direction, *vni)));
            if stood.is_some_and(|stood| stood.rules == *rules) {
                continue;
            }
            let refused = nft::refused_of(rules).await?;
            if refused.is_empty() {
                continue;
            }
            found = true;
            let is_refused = |place: usize| refused.iter().any(|(other, _)| *other == place);
            let rest = rules
                .iter()
                .enumerate()
                .filter(|(place, _)| !is_refused(*place))
                .map(|(_, rule)| rule.clone());
            let named = |(place, said): &(usize, String)| {
                let rule = rules[*place].name.clone()?;
                Some(Refusal { rule, reason: format!("nft says: {said}") })
            };
            let refused = Refused {
                asked: rules.clone(),
                refusals: refused.iter().filter_map(named).collect(),
                rest: Arc::new(rest.collect()),
            };
            self.refused.insert((*vni, *direction), refused);
        }
        Ok(found)
    }
}

fn of(rendered: &[Rendered; 2], direction: Direction) -> &Rendered {
    match direction {
        Direction::In => &rendered[0],
        Direction::Out => &rendered[1],
    }
}
