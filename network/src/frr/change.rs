//! What has to be said to a running daemon so that it is configured as is wanted. Pure.

use std::collections::HashSet;

use super::text::Line;

/// A daemon's vty is told lines in one go only where they can't have opened a block.
const PLAIN: [&str; 5] = ["ip", "ipv6", "neighbor", "match", "set"];

/// Which daemon holds a line of ours.
pub(super) fn holder(line: &Line) -> &'static str {
    if line.outermost() == "bfd" { "bfdd" } else { "bgpd" }
}

/// Whether such a line can only be there because of us: then one that is not wanted goes. All else that people have told
/// FRRouting is left alone.
pub(super) fn is_ours(line: &Line, asn: u32) -> bool {
    let outermost = line.outermost();
    let named = [
        "route-map PVC-",
        "ip prefix-list PVC-",
        "ipv6 prefix-list PVC-",
        "bgp community-list standard PVC-",
    ];
    named.iter().any(|beginning| outermost.starts_with(beginning))
        || (outermost == format!("router bgp {asn}") && line.text != outermost)
        || line.blocks.get(1).is_some_and(|block| outermost == "bfd" && block == "profile pvc")
}

pub(super) fn missing<'a>(wanted: &'a [Line], running: &HashSet<Line>) -> Vec<&'a Line> {
    wanted.iter().filter(|line| !running.contains(line)).collect()
}

/// What takes neighbours out of the groups that they are in, where they are to join another one: FRRouting moves none.
pub(super) fn regrouped(missing: &[Line], running: &HashSet<Line>) -> Vec<Line> {
    // "neighbor A peer-group G"; without G it makes a group.
    let member = |line: &&Line| {
        matches!(line.text.split(' ').collect::<Vec<_>>()[..], ["neighbor", _, "peer-group", _])
    };
    let joining: HashSet<_> =
        missing.iter().filter(member).map(|line| (&line.blocks, line.neighbor())).collect();
    let leaving =
        running.iter().filter(member).filter(|line| joining.contains(&(&line.blocks, line.neighbor())));
    leaving.map(|line| Line { blocks: line.blocks.clone(), text: line.undone() }).collect()
}

/// What is running and neither wanted nor somebody else's: as lines that take it back, in an order in which each can be said.
pub(super) fn taken_back(surplus: &[Line], wanted: &[Line]) -> Vec<Line> {
    let mut undone = Vec::new();
    let gone: HashSet<&Line> = surplus.iter().collect();
    let mut forgotten = HashSet::new();
    // What is inside goes first, except where the block goes as a whole.
    for line in surplus.iter().rev() {
        let block_goes = (1..=line.blocks.len()).any(|depth| {
            let (text, blocks) = (line.blocks[depth - 1].clone(), line.blocks[..depth - 1].to_vec());
            gone.contains(&Line { blocks, text })
        });
        if block_goes {
            continue;
        }
        let router = &line.blocks[..line.blocks.len().min(1)];
        match line.neighbor() {
            // Nothing is wanted of this neighbour any more: it goes with all that is set of it.
            Some(neighbor) if !router.is_empty() && !knows(wanted, router, neighbor) => {
                if forgotten.insert(neighbor.to_owned()) {
                    let group =
                        surplus.iter().any(|other| other.text == format!("neighbor {neighbor} peer-group"));
                    let what = if group { " peer-group" } else { "" };
                    undone.push(Line {
                        blocks: router.to_vec(),
                        text: format!("no neighbor {neighbor}{what}"),
                    });
                }
            }
            _ => undone.push(Line { blocks: line.blocks.clone(), text: line.undone() }),
        }
    }
    undone
}

fn knows(wanted: &[Line], router: &[String], neighbor: &str) -> bool {
    wanted.iter().any(|line| line.blocks.starts_with(router) && line.neighbor() == Some(neighbor))
}

/// Whether the second may follow the first without leaving the block and entering it again.
pub(super) fn follows(first: &Line, second: &Line) -> bool {
    let word = |line: &Line| line.text.trim_start_matches("no ").split(' ').next().map(str::to_owned);
    first.blocks == second.blocks
        && word(first) == word(second)
        && word(first).is_some_and(|word| PLAIN.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frr::text::parse;

    fn told(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| format!("{} | {}", line.blocks.join(" > "), line.text)).collect()
    }

    #[test]
    fn only_what_differs_is_said() {
        let wanted = parse(
            "router bgp 1\n timers bgp 3 9\n neighbor A peer-group\nip prefix-list PVC-X seq 5 permit any\n",
        );
        let running = parse("router bgp 1\n neighbor A peer-group\n").into_iter().collect();
        let missing: Vec<Line> = missing(&wanted, &running).into_iter().cloned().collect();
        assert_eq!(
            told(&missing),
            ["router bgp 1 | timers bgp 3 9", " | ip prefix-list PVC-X seq 5 permit any"]
        );
    }

    #[test]
    fn a_neighbour_leaves_its_group_before_it_joins_another_one() {
        let running = "router bgp 1\n neighbor G peer-group\n neighbor H peer-group\n neighbor 1.1.1.1 peer-group G\n \
                       neighbor 2.2.2.2 peer-group G\n";
        let running: HashSet<Line> = parse(running).into_iter().collect();
        let joins = parse(
            "router bgp 1\n neighbor 1.1.1.1 peer-group H\n neighbor 3.3.3.3 peer-group H\n neighbor I peer-group\n",
        );
        assert_eq!(told(&regrouped(&joins, &running)), ["router bgp 1 | no neighbor 1.1.1.1 peer-group G"]);
        assert_eq!(told(&regrouped(&parse("router bgp 1\n neighbor I peer-group\n"), &running)), [""; 0]);
    }

    #[test]
    fn what_people_have_told_the_daemon_elsewhere_is_left_alone() {
        let running = parse(
            "router bgp 1\n neighbor 9.9.9.9 remote-as 2\nroute-map PVC-X permit 10\n match tag 1\nroute-map MINE permit 10\n\
             router bgp 1 vrf blue\n neighbor 8.8.8.8 remote-as 2\nip prefix-list MINE seq 5 permit any\nbfd\n profile mine\n",
        );
        let ours: Vec<Line> = running.into_iter().filter(|line| is_ours(line, 1)).collect();
        assert_eq!(
            told(&ours),
            [
                "router bgp 1 | neighbor 9.9.9.9 remote-as 2",
                " | route-map PVC-X permit 10",
                "route-map PVC-X permit 10 | match tag 1"
            ]
        );
    }

    #[test]
    fn what_is_too_much_is_taken_back_from_the_inside_out() {
        let wanted = parse("router bgp 1\n neighbor 1.1.1.1 remote-as 2\n");
        let surplus = parse(
            "router bgp 1\n neighbor 1.1.1.1 description x\n neighbor 2.2.2.2 remote-as 2\n neighbor G peer-group\n address-family ipv4 unicast\n  \
             neighbor 2.2.2.2 activate\n  maximum-paths 4\nroute-map PVC-X permit 10\n match tag 1\n",
        );
        let surplus: Vec<Line> = surplus
            .into_iter()
            .filter(|line| line.text != "router bgp 1" && line.text != "address-family ipv4 unicast")
            .collect();
        assert_eq!(
            told(&taken_back(&surplus, &wanted)),
            [
                " | no route-map PVC-X permit 10",
                "router bgp 1 > address-family ipv4 unicast | no maximum-paths 4",
                "router bgp 1 | no neighbor 2.2.2.2",
                "router bgp 1 | no neighbor G peer-group",
                "router bgp 1 | no neighbor 1.1.1.1 description x",
            ]
        );
    }
}
