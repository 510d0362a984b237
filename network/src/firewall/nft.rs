//! The program `nft`: what it is given, what it says, and what it counts.

use std::time::Duration;

use pvc_process::{Cmd, CmdError};
use serde::Deserialize;

use super::table::{Counts, Family, NAME, Rule};

/// A hundred thousand rules take some seconds.
const DEADLINE: Duration = Duration::from_secs(50);
/// A listing of as many counters.
const OUTPUT_BYTES_MAX: usize = 128 << 20;
/// Whoever asks what nft says of a chain is content with so many rules that it refuses.
const REFUSED_MAX: usize = 50;

#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("nft refuses it: {}", complaints(.0).into_iter().next().map_or(.0.clone(), |complaint| complaint.text))]
    Refused(String),
    #[error(transparent)]
    Failed(CmdError),
    #[error("what nft lists could not be read")]
    Listing(#[source] serde_json::Error),
}

impl From<CmdError> for NftError {
    fn from(error: CmdError) -> Self {
        match &error {
            CmdError::Failed { tail, .. } if tail.contains("Error: ") => NftError::Refused(tail.clone()),
            _ => NftError::Failed(error),
        }
    }
}

/// One thing that nft did not like of a script.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    /// Counted from 1.
    line: usize,
    text: String,
}

/// "/dev/stdin:12:8-10: Error: syntax error, …"
fn complaints(said: &str) -> Vec<Complaint> {
    let complaint = |line: &str| {
        let (place, text) = line.split_once(": Error: ")?;
        let line = place.split(':').nth(1)?.parse().ok()?;
        Some(Complaint { line, text: text.to_owned() })
    };
    said.lines().filter_map(complaint).collect()
}

/// All of the script, or nothing of it.
pub async fn run(script: String) -> Result<(), NftError> {
    Cmd::new("nft").args(["-f", "-"]).stdin(script).run(DEADLINE).await?;
    Ok(())
}

/// The rules of a network's chain that nft does not take, by their place in it, and what it says of them. Asked in a table of
/// their own, which is never made: what is wrong here is wrong with no other network.
pub async fn refused_of(rules: &[Rule]) -> Result<Vec<(usize, String)>, NftError> {
    const HEAD: &str = "add table inet pvc-check\nadd chain inet pvc-check tried\n\
        add chain inet pvc-check base { type filter hook forward priority 0; policy accept; }\n\
        add rule inet pvc-check base goto tried\n";
    let head = HEAD.lines().count();
    let mut rules: Vec<(usize, String)> = rules.iter().map(Rule::plain).enumerate().collect();
    let mut refused = Vec::new();
    while refused.len() < REFUSED_MAX {
        let lines = rules.iter().map(|(_, rule)| format!("add rule inet pvc-check tried {rule}\n"));
        let script = HEAD.to_owned() + &lines.collect::<String>();
        let said = match Cmd::new("nft")
            .args(["-c", "-f", "-"])
            .stdin(script)
            .run(DEADLINE)
            .await
            .map_err(NftError::from)
        {
            Ok(_) => break,
            Err(NftError::Refused(said)) => said,
            Err(other) => return Err(other),
        };
        let mut found = complaints(&said);
        found.retain(|complaint| complaint.line > head && complaint.line <= head + rules.len());
        found.sort_by_key(|complaint| std::cmp::Reverse(complaint.line));
        found.dedup_by_key(|complaint| complaint.line);
        if found.is_empty() {
            return Err(NftError::Refused(said));
        }
        for complaint in found {
            let (place, _) = rules.remove(complaint.line - head - 1);
            refused.push((place, complaint.text));
        }
    }
    refused.sort();
    Ok(refused)
}

/// Which of our tables there are, whoever made them.
pub async fn present() -> Result<Vec<Family>, NftError> {
    let listed = list(&["tables"]).await?;
    let ours = |item: &Item| item.table.as_ref().is_some_and(|table| table.name == NAME);
    let families: Vec<&str> = listed
        .iter()
        .filter(|item| ours(item))
        .filter_map(|item| Some(item.table.as_ref()?.family.as_str()))
        .collect();
    Ok(Family::ALL.into_iter().filter(|family| families.contains(&family.as_str())).collect())
}

/// What our counters stand at; of a table that is not there, nothing. Not asked of nft before it must be: it reads all the rules
/// that there are to list anything.
pub async fn counts(family: Family) -> Result<Counts, NftError> {
    let listed = match list(&["counters", "table", family.as_str(), NAME]).await {
        Err(NftError::Refused(said)) if said.contains("No such file or directory") => {
            return Ok(Counts::new());
        }
        listed => listed?,
    };
    let counts = listed.into_iter().filter_map(|item| item.counter);
    Ok(counts.map(|counter| (counter.name, (counter.packets, counter.bytes))).collect())
}

async fn list(what: &[&str]) -> Result<Vec<Item>, NftError> {
    let cmd = Cmd::new("nft").args(["-j", "list"]).args(what).output_bytes_max(OUTPUT_BYTES_MAX);
    let said = cmd.run(DEADLINE).await?.stdout;
    let listing: Listing = serde_json::from_slice(&said).map_err(NftError::Listing)?;
    Ok(listing.nftables)
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

/// Of what nft may list, what is read here.
#[derive(Deserialize)]
struct Item {
    table: Option<Named>,
    counter: Option<Counter>,
}

#[derive(Deserialize)]
struct Named {
    family: String,
    name: String,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    packets: u64,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_their_line() {
        let said = "/dev/stdin:1:53-59: Error: syntax error, unexpected comment\nadd rule inet\n   ^^^\n\
            /dev/stdin:12:1-3: Error: Could not process rule: No such file or directory";
        let expected = [
            (1, "syntax error, unexpected comment"),
            (12, "Could not process rule: No such file or directory"),
        ];
        let expected = expected.map(|(line, text)| Complaint { line, text: text.to_owned() });
        assert_eq!(complaints(said), expected);
        assert_eq!(
            NftError::Refused(said.to_owned()).to_string(),
            "nft refuses it: syntax error, unexpected comment"
        );
    }
}
