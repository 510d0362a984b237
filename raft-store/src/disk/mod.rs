//! The engine on a disk. (being built)
use crate::engine::Opened;
use crate::form::{IdentityForm, LogHeadForm};
use crate::open::OpenError;
use crate::state::State;
use std::path::Path;

pub(crate) async fn open(dir: &Path, _: &str, _: u64) -> Result<Opened, OpenError> {
    Err(OpenError::Rebuild(format!(
        "{}: the disk engine is not built in yet",
        dir.display()
    )))
}

pub(crate) async fn seed(dir: &Path, _: IdentityForm, _: LogHeadForm, _: State) -> Result<(), OpenError> {
    Err(OpenError::Rebuild(format!(
        "{}: the disk engine is not built in yet",
        dir.display()
    )))
}
