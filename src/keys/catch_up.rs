//! Takes over the changes of keys from the database into the directory.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    directory::Directory,
    repository::{KeysError, Repository},
};

/// The version before all changes.
const BEFORE_ALL: i64 = 0;

/// Takes over changes of keys. Cheap to clone. Of several clones, one works at a time, so that the
/// directory never goes back to an earlier state.
#[derive(Clone, Debug)]
pub(super) struct CatchUp {
    directory: Directory,
    repository: Repository,
    /// The version that the directory has.
    version: Arc<Mutex<i64>>,
}

impl CatchUp {
    pub(super) fn new(directory: Directory, repository: Repository) -> Self {
        if repository.is_in_memory() {
            directory.set_in_memory();
        }
        Self {
            directory,
            repository,
            version: Arc::new(Mutex::new(BEFORE_ALL)),
        }
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Takes over all changes that are in the database now. Returns whether there were any.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn run(&self) -> Result<bool, KeysError> {
        let mut version = self.version.lock().await;
        // It is read first: a change in the meantime is taken over twice, and never missed.
        let reached = self.repository.version().await?;
        if reached == *version {
            return Ok(false);
        }
        let changes = self.repository.changes_after(*version).await?;
        self.directory.apply(changes);
        *version = reached;
        Ok(true)
    }
}
