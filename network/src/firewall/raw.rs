//! Raw rules: one statement of nft's language that a person wrote. It may say what nft can say of a packet, and what becomes of it
//! within its network's chain; it may not leave that chain, change packets, or reach what is not its network's.
//!
//! `model` looks at it when it is set; this is the second lock, in front of nft. What nft itself makes of it is asked of nft.

use pvc_model::Name;
use pvc_model::network::acl::RAW_LENGTH_MAX;

use super::table::Rule;

/// Characters that end a statement, group several, quote, begin a comment, or name a set or a variable.
const FORBIDDEN_CHARACTERS: &[char] = &['{', '}', ';', '"', '\'', '`', '\\', '#', '$', '@', '*'];
/// Words that lead out of the chain, hand packets to somebody else, change them, or say what is ours to say.
const FORBIDDEN_WORDS: &[&str] = &[
    "jump",
    "goto",
    "vmap",
    "map",
    "queue",
    "include",
    "define",
    "redefine",
    "undefine",
    "add",
    "create",
    "delete",
    "destroy",
    "flush",
    "insert",
    "replace",
    "reset",
    "table",
    "chain",
    "fwd",
    "dup",
    "tproxy",
    "synproxy",
    "snat",
    "dnat",
    "masquerade",
    "redirect",
    "notrack",
    "flow",
    "offload",
    "set",
    "update",
    "meter",
    "comment",
    "handle",
    "position",
    "index",
    "name",
];
const VERDICTS: &[&str] = &["accept", "drop", "return", "continue"];

/// What forbids it, if anything does.
pub fn problem(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("it says nothing".to_owned());
    }
    if text.len() > RAW_LENGTH_MAX {
        return Some(format!("it has more than {RAW_LENGTH_MAX} characters"));
    }
    if let Some(bad) = text.chars().find(|c| !matches!(c, ' '..='~') || FORBIDDEN_CHARACTERS.contains(c)) {
        return Some(format!("{bad:?} can't stand in it"));
    }
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let bad = words.find(|word| FORBIDDEN_WORDS.contains(&word.to_ascii_lowercase().as_str()))?;
    Some(format!("the word {bad:?} can't stand in it"))
}

/// The rule of a text without problems. Counted where it is plain which part of it is the verdict.
pub fn rule(text: &str, counter: String, name: &Name) -> Rule {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let verdict = words.iter().position(|word| *word == "reject").or_else(|| {
        let last = words.len().checked_sub(1)?;
        VERDICTS.contains(&words[last]).then_some(last)
    });
    let said = format!("comment \"{name}\"");
    let (matches, counter, action) = match verdict {
        Some(at) if !words.contains(&"counter") => {
            (words[..at].join(" "), Some(counter), format!("{} {said}", words[at..].join(" ")))
        }
        _ => (words.join(" "), None, said),
    };
    Rule { matches, counter, action, name: Some(name.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_its_chain_is_refused() {
        for bad in [
            "",
            "  ",
            "tcp dport 22 accept; add table inet x",
            "tcp dport 22 accept }",
            "tcp dport 22 accept\nadd table inet x",
            "tcp dport 22 accept # ",
            "tcp dport 22 accept \\",
            "jump in-1002",
            "tcp dport 22 GOTO in-1002",
            "ip saddr vmap",
            "ip saddr @clients4 accept",
            "ip saddr $x accept",
            "log prefix \"x\" accept",
            "queue num 1",
            "ip daddr set 10.0.0.1",
            "meta mark set 1",
            "redirect to 80",
            "counter name x accept",
            "accept comment x",
            "tcp dport 22 accept\u{a0}",
        ] {
            assert!(problem(bad).is_some(), "{bad:?} was taken");
        }
        assert!(problem(&"x ".repeat(RAW_LENGTH_MAX)).is_some());
    }

    #[test]
    fn what_speaks_of_packets_is_taken() {
        for good in [
            "tcp flags & (fin|syn|rst|ack) == syn limit rate 10/second burst 5 packets accept",
            "ip saddr 10.0.0.0/8 tcp dport 1000-2000 ct state new log drop",
            "meta l4proto icmp reject with icmpx type admin-prohibited",
            "ip6 saddr != 2001:db8::/32 drop",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
    }

    #[test]
    fn a_counter_stands_before_the_verdict() {
        let rule = |text| super::rule(text, "in-1-x".to_owned(), &"x".parse().unwrap());
        let counted = rule("tcp dport 22  accept");
        assert_eq!(
            (counted.matches.as_str(), counted.action.as_str()),
            ("tcp dport 22", "accept comment \"x\"")
        );
        assert_eq!(rule("ip saddr 10.0.0.1 reject with tcp reset").matches, "ip saddr 10.0.0.1");
        for uncounted in ["counter drop", "tcp dport 22 log", "tcp dport 22 accept log"] {
            assert_eq!(rule(uncounted).counter, None, "{uncounted}");
        }
    }
}
