//! Why something is as it is.

use pvc_proto::v1::Explanation;

use super::words::time;

/// A line for each thing that is known; the topics stand in a column.
pub fn sentences(explanation: &Explanation) -> String {
    let widest = explanation.findings.iter().map(|one| one.topic.chars().count()).max().unwrap_or(0);
    let line = |one: &pvc_proto::v1::Finding| {
        let at = time(one.time.as_ref());
        let at = if at.is_empty() { at } else { format!(" ({at})") };
        format!("{:widest$}  {}{at}\n", one.topic, one.text)
    };
    explanation.findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvc_proto::v1::Finding;

    #[test]
    fn topics_stand_in_a_column() {
        let finding = |topic: &str, text: &str, seconds: Option<i64>| Finding {
            topic: topic.into(),
            text: text.into(),
            time: seconds.map(|seconds| pbjson_types::Timestamp { seconds, nanos: 0 }),
        };
        let findings = vec![
            finding("state", "it runs", Some(1_763_892_000)),
            finding("node hv2", "is not reachable", None),
        ];
        assert_eq!(
            sentences(&Explanation { findings, revision: 1 }),
            "state     it runs (2025-11-23 10:00:00Z)\nnode hv2  is not reachable\n"
        );
    }
}
