//! The data directories as requests ask about them: which there are, whether they work, and how large their volumes are.

use std::path::{Path, PathBuf};

use norn_env::{
    clock::{self, Instant},
    disk::Space,
    task,
};
use norn_log::dir::{Health, LogDir};
use norn_protocol::types::uuid_of_text;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The configured data directories, in the order of `log.dirs`.
pub(crate) struct DataDirs(Vec<DataDir>);

/// One configured data directory.
pub(crate) struct DataDir {
    path: String,
    /// Its place among the open ones, by which partitions name it; `None` if it could not be opened at the start.
    open: Option<(usize, LogDir)>,
    /// One query at a time: a disk that hangs must not gather the queries of all who ask.
    query: Semaphore,
}

impl DataDirs {
    /// `open`: those of the configured directories that could be opened, in the same order.
    pub fn new(configured: &[PathBuf], open: &[LogDir]) -> Self {
        let found = |path: &Path| open.iter().position(|dir| dir.disk().root() == path);
        let dirs = configured.iter().map(|path| DataDir {
            path: std::path::absolute(path).as_deref().unwrap_or(path).display().to_string(),
            open: found(path).and_then(|at| Some((at, open.get(at)?.clone()))),
            query: Semaphore::new(1),
        });
        DataDirs(dirs.collect())
    }

    /// The id of the directory that holds the metadata, the first one, as its `meta.properties` has it.
    pub fn metadata_id(&self) -> Option<Uuid> {
        let (_, dir) = self.0.first()?.open.as_ref()?;
        uuid_of_text(&dir.meta().directory_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &DataDir> {
        self.0.iter()
    }
}

impl DataDir {
    /// The absolute path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its place among the open ones, as [`crate::partition::Partition::dir`]; `None` while nothing in it can be used.
    pub fn online(&self) -> Option<usize> {
        let (at, dir) = self.open.as_ref()?;
        (*dir.health().borrow() == Health::Online).then_some(*at)
    }

    /// The space of its volume; `None` if the disk does not tell by the deadline.
    pub async fn space(&self, deadline: Instant) -> Option<Space> {
        let (_, dir) = self.open.as_ref()?;
        let asked = async {
            let _one = self.query.acquire().await.ok()?;
            dir.disk().space().await.ok()
        };
        let what = || format!("the space of the volume of {}", self.path);
        task::wait(what, clock::timeout_at(deadline, asked)).await.ok().flatten()
    }
}
