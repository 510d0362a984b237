//! The cluster's incarnation, the highest that this node has heard of: kept on the disk, so that a coordinator
//! of a past that is over finds no ear here, even after the daemon was started again.
//!
//! A cluster that was restored, or recovered from the loss of its quorum, may have two sets of coordinators: those
//! that went on, and the lost ones, when they come back and know nothing of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// Shared by the heartbeats and the agent.
#[derive(Clone, Debug, Default)]
pub struct Incarnation {
    highest: Arc<Mutex<u64>>,
    file: Option<PathBuf>,
    cluster_id: String,
}

impl Incarnation {
    /// Takes up what an earlier daemon has heard of this cluster. What another cluster has said is nothing
    /// to this one.
    pub fn load(file: &Path, cluster_id: &str) -> Result<Self, pvc_host::durable_file::FileError> {
        let text = pvc_host::durable_file::read_text_if_there(file)?.unwrap_or_default();
        let known = text.trim().split_once(' ').filter(|(cluster, _)| *cluster == cluster_id);
        let highest = known.and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        Ok(Incarnation {
            highest: Arc::new(Mutex::new(highest)),
            file: Some(file.to_owned()),
            cluster_id: cluster_id.to_owned(),
        })
    }

    /// Whether to listen to who speaks for this incarnation. A higher one than ever is kept first.
    pub fn admits(&self, heard: u64) -> bool {
        let mut highest = self.highest.lock();
        if heard > *highest {
            if let Some(file) = &self.file {
                let line = format!("{} {heard}\n", self.cluster_id);
                if let Err(error) = pvc_host::durable_file::write(file, line.as_bytes(), 0o644) {
                    // It holds as long as this daemon runs; it is written again when it is heard again.
                    tracing::error!(%error, "the cluster's incarnation could not be kept");
                    return true;
                }
            }
            tracing::info!(incarnation = heard, "the cluster has begun a new incarnation");
            *highest = heard;
        }
        heard >= *highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_not_listened_to_after_a_restart_either() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("incarnation");
        let heard = Incarnation::load(&file, "c1").expect("read");
        assert!(heard.admits(0) && heard.admits(2) && heard.admits(2));
        assert!(!heard.admits(1));
        let again = Incarnation::load(&file, "c1").expect("read");
        assert!(!again.admits(1) && again.admits(2));
        let other = Incarnation::load(&file, "c2").expect("read");
        assert!(other.admits(0), "another cluster begins anew");
    }
}
