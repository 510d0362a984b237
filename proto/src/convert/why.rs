//! What is known of a VM or a node, as it is told.

use pvc_model::Revision;
use pvc_model::why::Finding;

use super::refuse::wire_time;
use crate::v1;

pub fn explanation(findings: Vec<Finding>, revision: Revision) -> v1::Explanation {
    let told = findings.into_iter().map(|one| v1::Finding {
        topic: one.topic,
        text: one.text,
        time: one.at.map(wire_time),
    });
    v1::Explanation { findings: told.collect(), revision }
}
