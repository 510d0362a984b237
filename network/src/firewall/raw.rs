//! Raw rules: one statement of nft's language that a person wrote. It may say what nft can say of a packet, and what becomes of it
//! within its network's chain: [`pvc_model::network::check_acl::raw_problem`] has looked at it, and nft looks at the rest.

use pvc_model::Name;

use super::table::Rule;

const VERDICTS: [&str; 4] = ["accept", "drop", "return", "continue"];

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
