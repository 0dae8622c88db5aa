//! Opening a log: creating it, taking it over after a clean shutdown, or recovering it after a crash.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use norn_env::disk::{DirEntry, Disk, Open};
use norn_protocol::types::Offset;

use super::cut::first_timestamp;
use super::dirty::Dirty;
use super::recover::{RecoveredSegment, Recovery};
use super::snapshots::{Visitor, SNAPSHOT_SUFFIX};
use super::{metadata, PartitionLog, Shared, EPOCHS_FILE, START_FILE};
use crate::checkpoint::{self, Found, UNFINISHED};
use crate::config::LogConfig;
use crate::epochs::EpochCache;
use crate::error::LogError;
use crate::id::LogId;
use crate::rounds::{LogKey, RoundsHandle};
use crate::segment::scan::Damage;
use crate::segment::writer::Writer;
use crate::segment::{parse_name, path, INDEX_SUFFIX, LOG_SUFFIX};

/// What is needed to open a log.
#[derive(Clone, Debug)]
pub struct OpenLog {
    pub disk: Disk,
    /// The log's directory, below the disk's root.
    pub dir: Arc<str>,
    pub id: LogId,
    pub key: LogKey,
    pub config: LogConfig,
    pub rounds: RoundsHandle,
    pub last_end: LastEnd,
}

/// What is known of how the last process left the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastEnd {
    /// It closed the log in good order: all was durable, up to this offset if it is known.
    Closed(Option<Offset>),
    /// It did not; records below this offset were durable. One that is too low makes recovery check more, and take
    /// damage for an unfinished write.
    Crashed { durable: Offset },
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// There was no log, or only the beginnings of one.
    pub created: bool,
    /// Offset of the producer snapshot that was shown to the visitor.
    pub producer_snapshot: Option<Offset>,
    /// Bytes that were walked through to find the end or to rebuild an index.
    pub scanned_bytes: u64,
    /// Bytes that were cut off the end: never acknowledged.
    pub cut_bytes: u64,
    /// Damage below the recovery point, as far as it was met. Reading meets the rest.
    pub damages: Vec<Damage>,
}

impl PartitionLog {
    /// Opens the log in a directory, or creates it. `visit` is shown what there is to know of its producers.
    ///
    /// When it returns, everything in the log is durable.
    pub async fn open(open: OpenLog, visit: Visitor<'_>) -> Result<(PartitionLog, Recovered), LogError> {
        let mut opening = Opening { open, report: Recovered::default() };
        let log = opening.run().await?;
        let mut report = opening.report;
        report.producer_snapshot = log.replay_producers(visit).await?;
        Ok((log, report))
    }
}

struct Opening {
    open: OpenLog,
    report: Recovered,
}

impl Opening {
    async fn run(&mut self) -> Result<PartitionLog, LogError> {
        let entries = self.directory().await?;
        let files: Vec<(Offset, u64)> =
            entries.iter().filter_map(|e| Some((parse_name(&e.name, LOG_SUFFIX)?, e.len))).collect();
        let exists = |name: &str| entries.iter().any(|e| e.name == name);
        let epochs = if exists(EPOCHS_FILE) { self.stored_epochs().await? } else { Stored::Missing };
        let start = if exists(START_FILE) { self.stored_start().await? } else { Offset::ZERO };
        let files = self.without_removed(files, start).await?;

        let mut segments: Vec<RecoveredSegment> = Vec::new();
        for (at, &(base, len)) in files.iter().enumerate() {
            let next = files.get(at + 1).map(|(next, _)| *next);
            let recovery = Recovery { open: &self.open, report: &mut self.report };
            let recovered = recovery.segment(base, len, next).await?;
            let reached = recovered.segment.next_offset();
            segments.push(recovered);
            // What begins behind a cut hangs in the air.
            if next.is_some_and(|next| reached < next) {
                self.remove_segments(&files[at + 1..]).await?;
                break;
            }
        }
        // The first segment was there before the metadata file was. A later one may have been created, and not its
        // entry in the directory synced, when the process died.
        let created_late = |durable| files.iter().skip(1).any(|(base, _)| *base >= durable);
        if matches!(self.open.last_end, LastEnd::Crashed { durable } if created_late(durable)) {
            let synced = self.open.disk.sync_dir(&self.open.dir).await;
            synced.map_err(LogError::io("sync", &*self.open.dir))?;
        }
        let snapshots = entries.iter().filter_map(|e| parse_name(&e.name, SNAPSHOT_SUFFIX)).collect();
        let mut log = self.assemble(&segments, start, snapshots).await?;
        log.recover_epochs(epochs).await?;
        Ok(log)
    }

    /// Removes the last segments, with their indexes: a segment that begins at such an offset again would take them for its
    /// own. From the last on, so that a crash leaves no hole.
    async fn remove_segments(&mut self, segments: &[(Offset, u64)]) -> Result<(), LogError> {
        let OpenLog { disk, dir, .. } = &self.open;
        for &(base, len) in segments.iter().rev() {
            self.report.cut_bytes += len;
            for suffix in [INDEX_SUFFIX, LOG_SUFFIX] {
                let removed = missing(disk.remove(&path(dir, base, suffix)).await);
                removed.map_err(LogError::io("remove a segment of", &**dir))?;
            }
        }
        disk.sync_dir(dir).await.map_err(LogError::io("sync", &**dir))
    }

    /// Lists the directory, after completing what a crash during its creation left out: the metadata file is written
    /// last.
    async fn directory(&mut self) -> Result<Vec<DirEntry>, LogError> {
        let OpenLog { disk, dir, id, .. } = &self.open;
        let io = |operation| LogError::io(operation, &**dir);
        let topic_id = metadata::read_topic_id(disk, dir).await.map_err(io("read the metadata of"))?;
        if let Some(found) = topic_id.filter(|found| *found != id.topic_id) {
            return Err(LogError::OtherTopic { path: dir.to_string(), found, expected: id.topic_id });
        }
        if topic_id.is_none() {
            disk.create_dir_all(dir).await.map_err(io("create"))?;
            let listed = disk.list(dir).await.map_err(io("list"))?;
            if !metadata::is_unfinished(&listed) {
                return Err(LogError::Unidentified { path: dir.to_string() });
            }
            self.report.created = true;
            if !listed.iter().any(|e| e.name.ends_with(LOG_SUFFIX)) {
                let first = path(dir, Offset::ZERO, LOG_SUFFIX);
                disk.open_file(&first, Open::Create).await.map_err(io("create a segment in"))?;
            }
            disk.sync_dir("").await.map_err(io("sync the parent of"))?;
            metadata::write(disk, dir, id.topic_id).await.map_err(io("write the metadata of"))?;
        }
        let entries = disk.list(dir).await.map_err(io("list"))?;
        let segments: BTreeSet<_> = entries.iter().filter_map(|e| parse_name(&e.name, LOG_SUFFIX)).collect();
        let of_no_segment =
            |name: &str| parse_name(name, INDEX_SUFFIX).is_some_and(|base: Offset| !segments.contains(&base));
        let (left, entries): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|e| e.name.ends_with(UNFINISHED) || of_no_segment(&e.name));
        for left in &left {
            disk.remove(&format!("{dir}/{}", left.name)).await.map_err(io("clean up"))?;
        }
        // A loss of power must not bring an index back beside the next segment of its name.
        if left.iter().any(|e| of_no_segment(&e.name)) {
            disk.sync_dir(dir).await.map_err(io("sync"))?;
        }
        Ok(entries)
    }

    async fn stored_epochs(&self) -> Result<Stored<EpochCache>, LogError> {
        let OpenLog { disk, dir, .. } = &self.open;
        let found = checkpoint::read(disk, dir, EPOCHS_FILE).await;
        Ok(match found.map_err(LogError::io("read the epochs of", &**dir))? {
            Found::Missing => Stored::Missing,
            Found::Corrupt => Stored::Damaged,
            Found::Body(text) => EpochCache::decode(&text).map_or(Stored::Damaged, Stored::Sound),
        })
    }

    /// The segments that reach behind the log's start. The others had been removed, and a loss of power brought them back.
    async fn without_removed(
        &self,
        mut files: Vec<(Offset, u64)>,
        start: Offset,
    ) -> Result<Vec<(Offset, u64)>, LogError> {
        let OpenLog { disk, dir, .. } = &self.open;
        let gone = files.iter().skip(1).take_while(|(next, _)| *next <= start).count();
        for (base, _) in files.drain(..gone) {
            for suffix in [LOG_SUFFIX, INDEX_SUFFIX] {
                let removed = missing(disk.remove(&path(dir, base, suffix)).await);
                removed.map_err(LogError::io("remove a segment of", &**dir))?;
            }
        }
        if gone > 0 {
            disk.sync_dir(dir).await.map_err(LogError::io("sync", &**dir))?;
        }
        Ok(files)
    }

    async fn stored_start(&self) -> Result<Offset, LogError> {
        let OpenLog { disk, dir, id, .. } = &self.open;
        let found = checkpoint::read(disk, dir, START_FILE).await;
        let start = match found.map_err(LogError::io("read the start of", &**dir))? {
            Found::Missing => return Ok(Offset::ZERO),
            Found::Corrupt => None,
            Found::Body(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
        };
        if start.is_none() {
            tracing::error!(log = %id, "the file with the log's start is damaged: deleted records may be back");
        }
        Ok(start.map_or(Offset::ZERO, Offset))
    }

    async fn assemble(
        &self,
        recovered: &[RecoveredSegment],
        start: Offset,
        snapshots: Vec<Offset>,
    ) -> Result<PartitionLog, LogError> {
        let OpenLog { disk, dir, id, key, config, rounds, .. } = self.open.clone();
        let io = || LogError::io("open", &*dir);
        let segments: Vec<_> = recovered.iter().map(|r| r.segment.clone()).collect();
        let (writer, lost_tail) = match recovered.last() {
            Some(RecoveredSegment { segment, index_kept: (entries, len), lost_tail, .. }) => {
                let first_ts = first_timestamp(segment).await.map_err(io())?;
                (Writer::over(segment.clone(), &disk, first_ts, *entries, *len), *lost_tail)
            }
            None => {
                let made = Writer::create(&disk, &dir, start, config.index_interval_bytes).await;
                disk.sync_dir(&dir).await.map_err(io())?;
                (made.map_err(io())?, false)
            }
        };
        let segments = if segments.is_empty() { vec![writer.segment().clone()] } else { segments };
        let end = writer.segment().next_offset();
        let mut log = PartitionLog {
            start: start.max(segments[0].base()),
            end,
            durable_end: end,
            segments: segments.into(),
            writer,
            epochs: Arc::default(),
            epochs_unsaved: false,
            dirty: Dirty::default(),
            recent: Default::default(),
            background: Vec::new(),
            snapshots,
            bytes_since_snapshot: 0,
            busy: false,
            shared: Arc::new(Shared::default()),
            id,
            key,
            disk,
            dir: dir.clone(),
            config,
            rounds,
        };
        // What they say of offsets that are gone must not be said of the records that get those offsets next.
        if log.snapshots.iter().any(|at| *at > end) {
            log.drop_snapshots(|at| at > end).await?;
            log.disk.sync_dir(&log.dir).await.map_err(io())?;
        }
        log.start_anew(lost_tail).await?;
        Ok(log)
    }
}

impl PartitionLog {
    /// Begins a new segment where the last one must not be written further: durable records at its end are lost, or
    /// all of the log is, up to its start.
    async fn start_anew(&mut self, lost_tail: bool) -> Result<(), LogError> {
        let behind_start = self.end < self.start;
        if !lost_tail && !behind_start {
            return Ok(());
        }
        let old = self.segments.len();
        self.end = self.end.max(self.start);
        self.durable_end = self.end;
        self.writer.seal().await;
        self.begin_segment(self.end, self.segments.to_vec()).await?;
        if behind_start {
            self.remove_first(old).await?;
        }
        Ok(())
    }
}

/// What a checkpoint file holds.
pub(super) enum Stored<T> {
    Missing,
    Damaged,
    Sound(T),
}

/// Whether a file is missing, as opposed to unreadable.
pub(super) fn missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
