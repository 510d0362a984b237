//! A configuration as FRRouting writes it: lines, each in the blocks that it stands in, which are told by how far it is indented.

use std::collections::HashSet;

/// A line, and the lines that open the blocks around it, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) blocks: Vec<String>,
    pub(super) text: String,
}

impl Line {
    /// The outermost block, or the line itself where it stands in none.
    pub(super) fn outermost(&self) -> &str {
        self.blocks.first().unwrap_or(&self.text)
    }

    /// The line that takes it back.
    pub(super) fn undone(&self) -> String {
        match self.text.strip_prefix("no ") {
            Some(rest) => rest.to_owned(),
            None => format!("no {}", self.text),
        }
    }

    /// What a `neighbor` line is about.
    pub(super) fn neighbor(&self) -> Option<&str> {
        self.text.strip_prefix("neighbor ")?.split(' ').next()
    }
}

/// All lines, in order, each once. Lines that say nothing (comments, ends of blocks) or are about the file are left out.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut seen = HashSet::new();
    let mut lines = Vec::new();
    for raw in text.lines() {
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with(['!', '#']) || says_nothing(trimmed) {
            continue;
        }
        let depth = raw.len() - raw.trim_start().len();
        open.retain(|(opened, _)| *opened < depth);
        let line = Line {
            blocks: open.iter().map(|(_, text)| text.clone()).collect(),
            // However many blanks there are between words, it is the same.
            text: trimmed.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        open.push((depth, line.text.clone()));
        if seen.insert(line.clone()) {
            lines.push(line);
        }
    }
    lines
}

fn says_nothing(line: &str) -> bool {
    const WHOLE: [&str; 6] = [
        "exit",
        "end",
        "exit-address-family",
        "exit-vrf",
        "Building configuration...",
        "Current configuration:",
    ];
    const BEGINNINGS: [&str; 4] =
        ["frr version ", "frr defaults ", "hostname ", "service integrated-vtysh-config"];
    WHOLE.contains(&line) || BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_with_its_blocks() {
        let lines = parse(
            "Building configuration...\n!\nfrr version 8.4.4\nrouter bgp 65500\n bgp  router-id 10.0.0.1\n !\n \
             address-family ipv4 unicast\n  maximum-paths 8\n exit-address-family\nexit\n!\nip route 10.0.0.0/8 blackhole\nend\n",
        );
        let told: Vec<String> =
            lines.iter().map(|line| format!("{} | {}", line.blocks.join(" > "), line.text)).collect();
        assert_eq!(
            told,
            [
                " | router bgp 65500",
                "router bgp 65500 | bgp router-id 10.0.0.1",
                "router bgp 65500 | address-family ipv4 unicast",
                "router bgp 65500 > address-family ipv4 unicast | maximum-paths 8",
                " | ip route 10.0.0.0/8 blackhole",
            ]
        );
        assert_eq!(lines[4].outermost(), "ip route 10.0.0.0/8 blackhole");
        assert_eq!(lines[3].undone(), "no maximum-paths 8");
        assert_eq!(Line { blocks: vec![], text: "no bgp x".to_owned() }.undone(), "bgp x");
    }
}
