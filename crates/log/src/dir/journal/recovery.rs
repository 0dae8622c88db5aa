//! The journal at a start: its files read, what they say played into the segments, the ring begun anew.

use super::entry::{self, JournalFrame};
use super::replay::{self, Play, Played};
use super::ring::{Ring, SegmentKey, SEQUENCES_UNSURE};
use super::JournalConfig;
use crate::dir::error::DirError;
use crate::dir::files::Files;
use crate::dir::points::Points;
use crate::frames::{self, Tail};
use crate::segment;
use bytes::Bytes;
use norn_env::disk::{File, Open};

/// Directory of the ring's files. No log can have this name.
pub(in crate::dir) const DIR: &str = ".journal";
/// Zeros are written in pieces of this size when a file is written for the first time.
const PREPARE_CHUNK_BYTES: usize = 1 << 20;

fn path(index: usize) -> String {
    format!("{DIR}/{index:04}")
}

/// What playing the journal did, for the log line of the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::dir) struct JournalReport {
    pub frames: u64,
    pub bytes_written: u64,
    pub files_written: usize,
    /// The file with the newest frame.
    pub newest: Option<String>,
    /// Damaged places that were durable once: file and position.
    pub damage: Vec<(String, u64)>,
}

/// Reads all frames, in their order.
async fn read(files: &Files, report: &mut JournalReport) -> Result<Vec<(u64, JournalFrame)>, DirError> {
    let mut found = Vec::new();
    let mut newest = None;
    for entry in files.disk.list(DIR).await.map_err(files.error("listing", DIR))? {
        let path = format!("{DIR}/{}", entry.name);
        let Some(bytes) = files.read(&path).await? else { continue };
        let mut at = 0;
        loop {
            let scan = frames::scan(&bytes, at, None);
            for frame in scan.frames {
                newest = newest.max(Some((frame.sequence, path.clone())));
                match entry::decode(frame.payload.clone()) {
                    Some(decoded) => found.push((frame.sequence, decoded)),
                    None => report.damage.push((path.clone(), frame.at as u64)),
                }
            }
            match scan.tail {
                Tail::Clean | Tail::Torn => break,
                Tail::Newer { version } => {
                    return Err(DirError::NewerJournal { dir: files.dir(), file: path, version })
                }
                Tail::Corrupt { next } => {
                    report.damage.push((path.clone(), scan.end as u64));
                    at = next;
                }
            }
        }
    }
    found.sort_by_key(|(sequence, _)| *sequence);
    report.newest = newest.map(|(_, path)| path);
    report.frames = found.len() as u64;
    Ok(found)
}

/// Plays the journal into the segments and syncs them.
pub(in crate::dir) async fn play(files: &Files) -> Result<(Played, JournalReport), DirError> {
    let mut report = JournalReport::default();
    if !files.disk.exists(DIR).await.map_err(files.error("looking up", DIR))? {
        return Ok((Played { next_sequence: 1, ..Played::default() }, report));
    }
    let played = replay::replay(read(files, &mut report).await?);
    for (key, plays) in &played.files {
        play_file(files, key, plays, &mut report).await?;
    }
    if report.files_written > 0 {
        norn_env::sometimes!("journal-played");
    }
    Ok((played, report))
}

async fn play_file(
    files: &Files,
    (log, base): &SegmentKey,
    plays: &[Play],
    report: &mut JournalReport,
) -> Result<(), DirError> {
    let path = segment::path(log, *base, segment::LOG_SUFFIX);
    // Created and directory-synced before any range of it was journaled: missing means removed.
    if !files.disk.exists(&path).await.map_err(files.error("looking up", &path))? {
        return Ok(());
    }
    let file = files.disk.open_file(&path, Open::Write).await.map_err(files.error("opening", &path))?;
    let mut length = file.len().await.map_err(files.error("reading", &path))?;
    for play in plays {
        match play {
            Play::Write { position, bytes } => {
                report.bytes_written += bytes.len() as u64;
                let written = file.write_at(*position, vec![bytes.clone()]).await;
                written.map_err(files.error("writing", &path))?;
                length = length.max(*position + bytes.len() as u64);
            }
            Play::Cut { len } if *len < length => {
                file.truncate(*len).await.map_err(files.error("truncating", &path))?;
                length = *len;
            }
            Play::Cut { .. } => {}
        }
    }
    report.files_written += 1;
    file.sync_data().await.map_err(files.error("syncing", &path))
}

/// Begins the ring anew when all that it said is durable in the segments: a first checkpoint, durable
/// before anything is appended, after which nothing older is ever played. `newest` is the file with the newest frames,
/// if the journal was read.
pub(in crate::dir) async fn begin(
    files: &Files,
    config: JournalConfig,
    next_sequence: u64,
    points: &Points,
    newest: Option<&str>,
) -> Result<Ring, DirError> {
    let mut found = open_files(files, config).await?;
    let newest = newest.and_then(|newest| (0..config.files).find(|index| path(*index) == newest));
    let first = first_file(files, config, &mut found, newest, points).await;
    // Frames that the last process did not make sure of may be left, whole, where this start did not see them. Their
    // sequences are not used again, or they could be taken for ours where a file is written anew.
    let mut ring = Ring::new(config, found, first, next_sequence + SEQUENCES_UNSURE);
    if let Some(write) = ring.plan_rotation(None, points) {
        let path = write.file.path().to_owned();
        let written = write.file.write_at(write.position, write.buffers.clone()).await;
        written.map_err(files.error("writing", &path))?;
        write.file.sync_data().await.map_err(files.error("syncing", &path))?;
        ring.written(&write, &[], &Default::default());
    }
    Ok(ring)
}

/// The file that the ring begins with: not the newest, which tells how far the logs are durable until the checkpoint
/// in another does. One is prepared for that if need be.
async fn first_file(
    files: &Files,
    config: JournalConfig,
    found: &mut [Option<File>],
    newest: Option<usize>,
    points: &Points,
) -> usize {
    let behind = newest.map_or(0, |newest| newest + 1) % config.files;
    let mut in_turn = (behind..config.files).chain(0..behind);
    if let Some(other) = in_turn.find(|index| found[*index].is_some() && Some(*index) != newest) {
        return other;
    }
    let left = newest.filter(|newest| found[*newest].is_some());
    if left.is_none() && points.is_empty() {
        return behind;
    }
    match prepare(&files.disk, behind, config.file_bytes).await {
        Ok(file) => {
            found[behind] = Some(file);
            behind
        }
        Err(error) => {
            // Should this start fail as well, the next one has more to check.
            tracing::warn!(dir = files.dir(), %error, "cannot prepare a journal file");
            left.unwrap_or(behind)
        }
    }
}

/// The ring's files that can be used as they are. Others (of another size, left by an interrupted first
/// write) are removed: what they said is in the segments.
async fn open_files(files: &Files, config: JournalConfig) -> Result<Vec<Option<File>>, DirError> {
    let disk = &files.disk;
    disk.create_dir_all(DIR).await.map_err(files.error("creating", DIR))?;
    disk.sync_dir("").await.map_err(files.error("syncing the directory of", DIR))?;
    let mut found: Vec<Option<File>> = vec![None; config.files];
    for (index, slot) in found.iter_mut().enumerate() {
        let path = path(index);
        if disk.exists(&path).await.map_err(files.error("looking up", &path))? {
            *slot = Some(disk.open_file(&path, Open::Write).await.map_err(files.error("opening", &path))?);
        }
    }
    let mut removed = false;
    for entry in disk.list(DIR).await.map_err(files.error("listing", DIR))? {
        let slot = found
            .iter_mut()
            .enumerate()
            .find(|(index, _)| path(*index).ends_with(&format!("/{}", entry.name)));
        if slot.is_some() && entry.len == config.file_bytes {
            continue;
        }
        if let Some((_, slot)) = slot {
            *slot = None;
        }
        let path = format!("{DIR}/{}", entry.name);
        disk.remove(&path).await.map_err(files.error("removing", &path))?;
        removed = true;
    }
    if removed {
        disk.sync_dir(DIR).await.map_err(files.error("syncing", DIR))?;
    }
    Ok(found)
}

/// Creates a file of the ring and writes it once, so that syncs into it change no metadata of the file
/// system (36 µs instead of 56 for 4 KiB on the machine of the bench notes).
pub(in crate::dir) async fn prepare(
    disk: &norn_env::disk::Disk,
    index: usize,
    file_bytes: u64,
) -> std::io::Result<File> {
    let file = disk.open_file(&path(index), Open::CreateNew).await?;
    file.allocate(file_bytes).await?;
    let zeros = Bytes::from(vec![0; PREPARE_CHUNK_BYTES.min(file_bytes as usize)]);
    let mut position = 0;
    while position < file_bytes {
        let length = zeros.len().min((file_bytes - position) as usize);
        file.write_at(position, vec![zeros.slice(..length)]).await?;
        position += length as u64;
    }
    file.sync_data().await?;
    disk.sync_dir(DIR).await?;
    Ok(file)
}
