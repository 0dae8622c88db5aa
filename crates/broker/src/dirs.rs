//! The data directories at the start: which there are, which are gone, and what lies in them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::{stream, FutureExt, StreamExt};
use norn_core::metadata::Image;
use norn_env::{
    descriptors::{self, Share},
    disk::Disk,
    task::{Handle, Tasks},
};
use norn_log::{
    dir::{self, DirConfig, DirError, DirExit, FoundLogs, JournalConfig, LogDir, METADATA_DIR},
    LogId,
};
use norn_protocol::types::NodeId;
use tokio::sync::watch;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    config::Config,
    lifecycle::BrokerError,
    partition::{adopt, missing},
};

/// How many partitions an error names.
const NAMED_MAX: usize = 10;

/// Logs whose files are counted at once: opening lists them again, which then costs no access to the disk.
const LISTED_AT_ONCE: usize = 16;

/// The data directories that work, with their tasks, and those whose disks do not.
pub(super) struct OpenDirs {
    pub dirs: Vec<LogDir>,
    pub tasks: Tasks<DirExit>,
    pub lost: Vec<(String, String)>,
    /// What lies in each of those that work.
    pub logs: Vec<FoundLogs>,
}

/// Opens the data directories. The first holds the metadata and has to work; of the others those are left out whose disks
/// fail. A directory that is another's, or in use, refuses the start wherever it stands.
pub(super) async fn open_dirs(config: &Config) -> Result<OpenDirs, BrokerError> {
    let mut open = OpenDirs { dirs: vec![], tasks: Tasks::new(), lost: vec![], logs: vec![] };
    check_all(config).await?;
    for path in &config.storage.log_dirs {
        let cluster_id = open.dirs.first().map(|dir| dir.meta().cluster_id.clone());
        match open_dir(config, path, cluster_id).await {
            Ok((dir, task, logs)) => {
                open.dirs.push(dir);
                open.tasks.add(task);
                open.logs.push(logs);
            }
            Err(
                error @ (BrokerError::Disk { .. }
                | BrokerError::Dir(DirError::Disk { .. } | DirError::Offline { .. })),
            ) if !open.dirs.is_empty() => {
                error!("{error}; its partitions are offline, the others go on");
                open.lost.push((path.display().to_string(), error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(open)
}

/// Opens a data directory and looks which logs are in it. One whose logs cannot be told is of no more use than one that
/// cannot be opened.
async fn open_dir(
    config: &Config,
    path: &Path,
    cluster_id: Option<String>,
) -> Result<(LogDir, Handle<DirExit>, FoundLogs), BrokerError> {
    let shown = path.display();
    let disk = Disk::open(path).map_err(|source| BrokerError::Disk { dir: shown.to_string(), source })?;
    let journal = JournalConfig { file_bytes: config.storage.journal_file_bytes, ..JournalConfig::default() };
    let (dir, task) = LogDir::open(disk, DirConfig { node_id: config.node_id, cluster_id, journal }).await?;
    let logs = dir.logs().await?;
    let report = dir.report();
    if report.new {
        info!("{shown}: a new data directory");
    } else if report.clean {
        info!("{shown}: the last shutdown was clean, no log is scanned");
    } else {
        info!(
            journal_frames = report.journal_frames,
            bytes = report.bytes_played,
            "{shown}: no clean shutdown, logs are checked from what was durable on"
        );
    }
    Ok((dir, task, logs))
}

/// Refuses the start for a directory that is not this node's, or for metadata where they are not looked for, before any is
/// opened: opening takes the mark of the last clean shutdown away. Disks that fail are met again when they are opened.
async fn check_all(config: &Config) -> Result<(), BrokerError> {
    let mut cluster_id = None;
    let mut with_metadata = vec![];
    for (at, path) in config.storage.log_dirs.iter().enumerate() {
        let Ok(disk) = Disk::open(path) else { continue };
        match dir::check(&disk, config.node_id, cluster_id.as_deref()).await {
            Ok(meta) => cluster_id = cluster_id.or(meta.map(|meta| meta.cluster_id)),
            Err(DirError::Disk { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if disk.list(METADATA_DIR).await.is_ok_and(|files| !files.is_empty()) {
            with_metadata.push((at, path.display().to_string()));
        }
    }
    let expected = config.storage.log_dirs.first().map(|path| path.display().to_string()).unwrap_or_default();
    match with_metadata.as_slice() {
        [] | [(0, _)] => Ok(()),
        [(_, found)] => Err(BrokerError::MetadataElsewhere { found: found.clone(), expected }),
        several => {
            let dirs: Vec<&str> = several.iter().map(|(_, dir)| dir.as_str()).collect();
            Err(BrokerError::MetadataTwice { dirs: dirs.join(" and ") })
        }
    }
}

/// The logs on disk, with the data directory that each is in; and those whose topics neither they nor the image tell.
pub(super) async fn logs_on_disk(
    dirs: &[LogDir],
    logs: Vec<FoundLogs>,
    image: &watch::Receiver<Arc<Image>>,
    node: NodeId,
) -> Result<(BTreeMap<LogId, usize>, Vec<(LogId, usize)>), BrokerError> {
    let mut found = BTreeMap::new();
    let mut unidentified = vec![];
    for (at, logs) in logs.into_iter().enumerate() {
        unidentified.extend(logs.unidentified.into_iter().map(|log| (log, at)));
        for log in logs.logs {
            if let Some(other) = found.insert(log.clone(), at) {
                warn!("{log} is in two data directories, {other} and {at}: the later one is used");
            }
        }
    }
    let image = image.borrow().clone();
    let unidentified = adopt(&image, node, &mut found, unidentified);
    check_descriptors(dirs, &found).await?;
    Ok((found, unidentified))
}

/// Refuses the start if the logs cannot hold all their segments open. Else each that finds no descriptor would be offline
/// for itself, and no client could connect and learn of it.
async fn check_descriptors(dirs: &[LogDir], found: &BTreeMap<LogId, usize>) -> Result<(), BrokerError> {
    let Some(descriptors) = descriptors::left(Share::Start) else { return Ok(()) };
    let counted = found.iter().map(|(log, dir)| {
        let (log, dir) = (log.clone(), dirs[*dir].clone());
        async move { dir.segment_files(&log).await }.boxed()
    });
    let counted: Vec<_> = counted.collect();
    let mut counted = stream::iter(counted).buffer_unordered(LISTED_AT_ONCE);
    let (logs, mut files) = (found.len() as u64, 0);
    while let Some(segments) = counted.next().await {
        // A log that cannot be listed is offline for a reason of its own.
        files += segments.unwrap_or(0) as u64;
    }
    match files == 0 || files < descriptors {
        true => Ok(()),
        false => Err(BrokerError::OpenFiles { logs, files, descriptors }),
    }
}

/// The directories to register: those that are open, and earlier ones that may hold what is missing; these are `lost`, too.
pub(super) fn with_absent(
    image: &Image,
    node: NodeId,
    dirs: &[LogDir],
    found: &BTreeMap<LogId, usize>,
    lost: &mut Vec<(String, String)>,
) -> Vec<Uuid> {
    let absent = absent(image, node, dirs, found);
    if absent.len() > lost.len() {
        let reason = "the disk is not mounted, or another is in its place";
        lost.push((format!("of earlier, one of {}", absent.len()), reason.to_owned()));
    }
    ids(dirs).into_iter().chain(absent).collect()
}

/// Directories that this broker had when it last registered, and that are not among those that are open: their ids.
///
/// As long as a partition is missing they may have held it, and stay registered. A disk that was not mounted would
/// otherwise pass for an empty one: its partitions would begin anew, at offset 0 (Kafka: KIP-858).
fn absent(image: &Image, node: NodeId, dirs: &[LogDir], found: &BTreeMap<LogId, usize>) -> Vec<Uuid> {
    let present = ids(dirs);
    let before = image.broker(node).map(|broker| broker.directories.clone()).unwrap_or_default();
    // With none left the replicas themselves are known to be gone.
    if !before.iter().any(|id| present.contains(id)) {
        return vec![];
    }
    let absent: Vec<Uuid> = before.into_iter().filter(|id| !present.contains(id)).collect();
    let missing = missing(image, node, found);
    if absent.is_empty() || missing.is_empty() {
        return vec![];
    }
    error!(
        "log.dirs: {} of the data directories that there were are not here, and {} partitions are in none of the others \
         ({}): they are offline until the disk is mounted again; to give them up, delete their topics",
        absent.len(),
        missing.len(),
        missing.iter().take(NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", "),
    );
    absent
}

/// The directories' ids as the image keeps them.
fn ids(dirs: &[LogDir]) -> Vec<Uuid> {
    dirs.iter().map(|dir| directory_uuid(&dir.meta().directory_id)).collect()
}

/// A directory's id as the image keeps it: the 16 bytes behind the text. A text that was edited by hand gets an id of its
/// own, derived from all of it.
fn directory_uuid(text: &str) -> Uuid {
    let mut bytes = [0_u8; 16];
    for (at, byte) in text.bytes().enumerate() {
        bytes[at % 16] = bytes[at % 16].rotate_left(3) ^ byte;
    }
    Uuid::from_bytes(bytes)
}
