//! openraft's own suite for storage, on both engines.

use std::path::Path;
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::audit::Audit;
use crate::engine::Opened;
use crate::limits::Limits;
use crate::log::LogStore;
use crate::machine::{Shown, StateMachine};
use crate::member::Member;
use crate::memory::MemoryDisk;
use crate::open::{Engine, Options};
use crate::raft::TypeConfig;
use crate::state::State;
use crate::watch::Hub;

fn assemble(opened: Opened) -> (LogStore, StateMachine) {
    let log = LogStore::new(&opened.head, opened.entries, opened.log);
    let state = opened.checkpoint.clone().unwrap_or_else(|| State::new("suite"));
    let hub = Hub::new(Limits::default(), state.revision());
    let shown = Arc::new(Shown::new(&state, opened.checkpoint, hub, Audit::default(), opened.state));
    (log, StateMachine::new(state, shown))
}

struct Memory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for Memory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let opened = MemoryDisk::new().open("suite", 1).expect("a fresh disk opens");
        let (log, machine) = assemble(opened);
        Ok(((), log, machine))
    }
}

struct Disk<'a>(&'a Path);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Disk<'_> {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir_in(self.0).expect("a temporary directory");
        let engine = Engine::Disk { dir: dir.path().to_owned() };
        let options = Options::new(engine, Member::new(1, "suite"), "suite");
        let opened = crate::disk::open(dir.path(), &options).await.expect("a fresh directory opens");
        let (log, machine) = assemble(opened);
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn openraft_suite_in_memory() {
    Suite::test_all(Memory).await.unwrap();
}

#[tokio::test]
async fn openraft_suite_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    Suite::test_all(Disk(dir.path())).await.unwrap();
}
