//! Which frames the hub's switches drop: cables pulled between hosts, in one or both directions.
//!
//! The rules sit in the hub's namespace, in nftables' bridge family, so that a host neither sees them nor loses them when
//! its power goes; a dropped frame is silence, as on a real network. Pure: renders rules, applies nothing.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::plan::{HostName, Net};

/// Name of the nftables table in the hub's namespace.
pub const TABLE: &str = "pvc_cuts";

/// One cut. Without `to`, `from` is cut from everyone, the hub and the machine included. Without `net`, on all networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    pub from: HostName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<HostName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<Net>,
    /// Only frames that leave `from` (for `to`, if set) are dropped; those coming back still pass.
    #[serde(default)]
    pub one_way: bool,
}

impl Cut {
    /// Whether `heal a b` is meant to undo this cut: no names heal all, one name all cuts of that host, two those between the two.
    pub fn concerns(&self, a: Option<HostName>, b: Option<HostName>) -> bool {
        let named = |host: HostName| self.from == host || self.to == Some(host);
        match (a, b) {
            (None, None) => true,
            (Some(one), None) | (None, Some(one)) => named(one),
            (Some(one), Some(other)) => named(one) && named(other),
        }
    }

    fn nets(&self) -> impl Iterator<Item = Net> + use<> {
        let only = self.net;
        Net::ALL.into_iter().filter(move |net| only.is_none_or(|only| only == *net))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.one_way { "-x->" } else { "<-x->" };
        write!(f, "{} {arrow} ", self.from)?;
        match self.to {
            Some(to) => write!(f, "{to}")?,
            None => f.write_str("everyone")?,
        }
        match self.net {
            Some(net) => write!(f, " ({net} network)"),
            None => Ok(()),
        }
    }
}

/// The input for `nft -f` that makes exactly these cuts and no others, whatever was there before.
pub fn ruleset(cuts: &[Cut]) -> String {
    let (mut forward, mut input, mut output) = (String::new(), String::new(), String::new());
    // writing to a String cannot fail
    let mut pair = |from: &str, to: &str| {
        let _ = writeln!(forward, "    iifname \"{from}\" oifname \"{to}\" drop");
    };
    for cut in cuts {
        for net in cut.nets() {
            let from = cut.from.hub_port(net);
            if let Some(to) = cut.to {
                let to = to.hub_port(net);
                pair(&from, &to);
                if !cut.one_way {
                    pair(&to, &from);
                }
            }
        }
    }
    for cut in cuts.iter().filter(|cut| cut.to.is_none()) {
        for net in cut.nets() {
            let port = cut.from.hub_port(net);
            let _ = writeln!(forward, "    iifname \"{port}\" drop");
            let _ = writeln!(input, "    iifname \"{port}\" drop");
            if !cut.one_way {
                let _ = writeln!(forward, "    oifname \"{port}\" drop");
                let _ = writeln!(output, "    oifname \"{port}\" drop");
            }
        }
    }
    // declared before it is deleted, so that the deletion also succeeds the first time
    let mut text = format!("table bridge {TABLE}\ndelete table bridge {TABLE}\n");
    if !cuts.is_empty() {
        let _ = writeln!(text, "table bridge {TABLE} {{");
        for (hook, rules) in [("forward", forward), ("input", input), ("output", output)] {
            let _ = writeln!(text, "  chain {hook} {{");
            let _ = writeln!(text, "    type filter hook {hook} priority 0; policy accept;");
            text.push_str(&rules);
            text.push_str("  }\n");
        }
        text.push_str("}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn cut(from: &str, to: Option<&str>, net: Option<Net>, one_way: bool) -> Cut {
        Cut { from: host(from), to: to.map(host), net, one_way }
    }

    /// The drop rules in order, each as `hook: rule`.
    fn rules(cuts: &[Cut]) -> Vec<String> {
        let (text, mut hook, mut out) = (ruleset(cuts), String::new(), Vec::new());
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                hook = name.trim_end_matches(" {").to_owned();
            } else if let Some(rule) = line.strip_suffix(" drop") {
                out.push(format!("{hook}: {}", rule.replace('"', "")));
            }
        }
        out
    }

    #[test]
    fn a_pair_is_cut_both_ways_on_all_networks() {
        assert_eq!(
            rules(&[cut("hv1", Some("hv2"), None, false)]),
            [
                "forward: iifname hv1-c oifname hv2-c",
                "forward: iifname hv2-c oifname hv1-c",
                "forward: iifname hv1-v oifname hv2-v",
                "forward: iifname hv2-v oifname hv1-v",
                "forward: iifname hv1-u oifname hv2-u",
                "forward: iifname hv2-u oifname hv1-u",
            ]
        );
    }

    #[test]
    fn one_way_drops_only_what_the_first_sends() {
        assert_eq!(
            rules(&[cut("hv3", Some("hv1"), Some(Net::Cluster), true)]),
            ["forward: iifname hv3-c oifname hv1-c"]
        );
    }

    #[test]
    fn without_a_peer_the_hub_is_cut_too() {
        assert_eq!(
            rules(&[cut("hv2", None, Some(Net::Cluster), false)]),
            [
                "forward: iifname hv2-c",
                "forward: oifname hv2-c",
                "input: iifname hv2-c",
                "output: oifname hv2-c",
            ]
        );
        assert_eq!(
            rules(&[cut("hv2", None, Some(Net::Vm), true)]),
            ["forward: iifname hv2-v", "input: iifname hv2-v"]
        );
        assert_eq!(
            rules(&[cut("hv2", None, Some(Net::Upstream), true)]),
            ["forward: iifname hv2-u", "input: iifname hv2-u"]
        );
    }

    #[test]
    fn no_cuts_remove_the_table() {
        assert_eq!(ruleset(&[]), "table bridge pvc_cuts\ndelete table bridge pvc_cuts\n");
    }

    #[test]
    fn heal_takes_what_its_names_say() {
        let pair = cut("hv1", Some("hv2"), None, false);
        let all = cut("hv1", None, None, false);
        let (one, two, three) = (Some(host("hv1")), Some(host("hv2")), Some(host("hv3")));
        assert!(pair.concerns(None, None) && all.concerns(None, None));
        assert!(pair.concerns(two, None) && !all.concerns(two, None));
        assert!(pair.concerns(two, one) && !pair.concerns(one, three));
        assert!(!all.concerns(one, two));
    }
}
