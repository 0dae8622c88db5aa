//! Snapshots of the state machine as files: `snapshot-<index>`, a sequence of frames of `crates/log`.
//!
//! The first frame says what the snapshot is of, each that follows holds one chunk of the state, and the last one counts
//! them. Neither the writer nor the reader holds more than one chunk. A snapshot is written under another name, synced,
//! renamed, and its directory synced, before anything of the WAL is dropped for it. So the newest file with that name is
//! whole, or the disk changed it: then the start is refused, never continued from an older one, whose WAL may be gone. What a
//! crash left under the other name is removed at the next start.
//!
//! Format 1 holds the whole state in one frame together with the metadata. It is read, and not written any more.

use crate::error::{Fatal, QuorumError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use norn_env::disk::{Disk, File, Open};
use norn_env::task;
use norn_log::frames::{self, Tail};
use protobuf::Message as _;
use raft::eraftpb::SnapshotMetadata;

/// The whole state in the first frame.
const WHOLE: u8 = 1;
const VERSION: u8 = 2;
const PREFIX: &str = "snapshot-";
const TEMPORARY: &str = "snapshot.tmp";
/// The sequence of the first frame.
const FIRST_SEQUENCE: u64 = 1;

/// Bytes of one chunk, unless a part of the state is longer: one write, and what a snapshot takes of memory.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// The first byte of a frame after the first: what it holds.
const CHUNK: u8 = 1;
const END: u8 = 2;

/// The state machine's state after applying entry `metadata.index`, to be written.
pub(crate) struct Snapshot {
    pub metadata: SnapshotMetadata,
    pub chunks: Box<dyn Iterator<Item = Bytes> + Send>,
}

fn file_name(index: u64) -> String {
    format!("{PREFIX}{index:020}")
}

fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn disk_error(operation: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> QuorumError {
    let file = file.to_owned();
    move |source| QuorumError::SnapshotDisk { operation, file, source }
}

/// Indexes of the snapshots in the directory, rising.
async fn list(disk: &Disk, dir: &str) -> Result<Vec<u64>, QuorumError> {
    let entries = disk.list(dir).await.map_err(disk_error("listing", dir))?;
    Ok(entries.iter().filter_map(|entry| parse_name(&entry.name)).collect())
}

/// Reads the newest snapshot and gives its chunks to `restore`, in their order. `Ok(None)`: there is none. Removes what a
/// crash left of one that was not finished.
pub(crate) async fn load(
    disk: &Disk,
    dir: &str,
    restore: &mut (dyn FnMut(&[u8]) -> Result<(), Fatal> + Send),
) -> Result<Option<SnapshotMetadata>, QuorumError> {
    let temporary = format!("{dir}/{TEMPORARY}");
    if disk.exists(&temporary).await.map_err(disk_error("looking up", &temporary))? {
        disk.remove(&temporary).await.map_err(disk_error("removing", &temporary))?;
    }
    let Some(index) = list(disk, dir).await?.pop() else { return Ok(None) };
    let path = format!("{dir}/{}", file_name(index));
    let file = disk.open_file(&path, Open::Read).await.map_err(disk_error("opening", &path))?;
    let length = file.len().await.map_err(disk_error("reading", &path))?;
    let mut reader = Reader { file, path, at: 0, length, sequence: FIRST_SEQUENCE };
    let mut payload = reader.frame().await?;
    let version = payload.try_get_u8().map_err(|_| reader.corrupt("it is too short"))?;
    if version != WHOLE && version != VERSION {
        return Err(QuorumError::SnapshotNewer { file: reader.path, version });
    }
    let metadata = reader.metadata(&mut payload)?;
    if metadata.index != index {
        return Err(reader.corrupt("its name tells another index"));
    }
    let mut restore = |chunk: &[u8]| restore(chunk).map_err(|reason| QuorumError::Restore { index, reason });
    match version {
        WHOLE => restore(&payload)?,
        _ => {
            let mut chunks = 0;
            while let Some(chunk) = reader.chunk(chunks).await? {
                restore(&chunk)?;
                chunks += 1;
            }
        }
    }
    match reader.at == reader.length {
        true => Ok(Some(metadata)),
        false => Err(reader.corrupt("something follows its end")),
    }
}

/// Reads a snapshot frame by frame.
struct Reader {
    file: File,
    path: String,
    at: u64,
    length: u64,
    /// Of the next frame.
    sequence: u64,
}

impl Reader {
    fn corrupt(&self, what: &'static str) -> QuorumError {
        QuorumError::SnapshotCorrupt { file: self.path.clone(), what }
    }

    async fn read(&self, len: usize) -> Result<Bytes, QuorumError> {
        let left = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
        if len > left {
            return Err(self.corrupt("it is cut off"));
        }
        let read = self.file.read_at(self.at, len);
        let read = task::wait(|| format!("{}: its next bytes", self.path), read).await;
        read.map_err(disk_error("reading", &self.path))
    }

    /// The payload of the next frame.
    async fn frame(&mut self) -> Result<Bytes, QuorumError> {
        let head = self.read(frames::HEADER_LEN).await?;
        let head: &[u8; frames::HEADER_LEN] =
            head.as_ref().try_into().map_err(|_| self.corrupt("it is cut off"))?;
        let len = frames::frame_len(head).ok_or_else(|| self.corrupt("a frame has no length"))?;
        let bytes = self.read(len).await?;
        let mut scan = frames::scan(&bytes, 0, Some(self.sequence));
        if let Tail::Newer { version } = scan.tail {
            return Err(QuorumError::SnapshotNewer { file: self.path.clone(), version });
        }
        let frame = scan.frames.pop().ok_or_else(|| self.corrupt("its checksum does not match"))?;
        self.at += len as u64;
        self.sequence += 1;
        Ok(frame.payload)
    }

    /// The metadata in front of the first frame's payload.
    fn metadata(&self, payload: &mut Bytes) -> Result<SnapshotMetadata, QuorumError> {
        let length = payload.try_get_u32_le().map_err(|_| self.corrupt("it is too short"))? as usize;
        if length > payload.len() {
            return Err(self.corrupt("its metadata is cut off"));
        }
        let metadata = SnapshotMetadata::parse_from_bytes(&payload.split_to(length));
        metadata.map_err(|_| self.corrupt("its metadata does not decode"))
    }

    /// The next chunk; `None` at the end, which comes after so many.
    async fn chunk(&mut self, chunks: u64) -> Result<Option<Bytes>, QuorumError> {
        let mut payload = self.frame().await?;
        match payload.try_get_u8() {
            Ok(CHUNK) => Ok(Some(payload)),
            Ok(END) if payload.try_get_u64_le().is_ok_and(|count| count == chunks) => Ok(None),
            Ok(END) => Err(self.corrupt("chunks are missing")),
            _ => Err(self.corrupt("a frame of an unknown kind")),
        }
    }
}

/// Writes a snapshot, chunk by chunk; when this returns it is durable under its name.
pub(crate) async fn store(
    disk: Disk,
    dir: String,
    snapshot: Snapshot,
) -> Result<SnapshotMetadata, QuorumError> {
    let Snapshot { metadata, chunks } = snapshot;
    let temporary = format!("{dir}/{TEMPORARY}");
    let path = format!("{dir}/{}", file_name(metadata.index));
    let file = disk.open_file(&temporary, Open::Create).await.map_err(disk_error("creating", &temporary))?;
    file.truncate(0).await.map_err(disk_error("truncating", &temporary))?;
    let mut count = 0_u64;
    let (mut at, mut sequence) = (0, FIRST_SEQUENCE);
    let counted = chunks.inspect(|_| count += 1).map(|chunk| [Bytes::from_static(&[CHUNK]), chunk]);
    for pieces in std::iter::once(head(&metadata)).chain(counted) {
        at = write_frame(&file, &temporary, at, sequence, pieces).await?;
        sequence += 1;
    }
    let mut end = BytesMut::new();
    end.put_u8(END);
    end.put_u64_le(count);
    write_frame(&file, &temporary, at, sequence, [end.freeze(), Bytes::new()]).await?;
    let sync = file.sync_data();
    task::wait(|| "metadata snapshot: its sync".to_owned(), sync)
        .await
        .map_err(disk_error("syncing", &temporary))?;
    disk.rename(&temporary, &path).await.map_err(disk_error("renaming", &path))?;
    disk.sync_dir(&dir).await.map_err(disk_error("syncing the directory of", &path))?;
    Ok(metadata)
}

/// The payload of the first frame.
fn head(metadata: &SnapshotMetadata) -> [Bytes; 2] {
    let metadata = metadata.write_to_bytes().expect("a message of ours encodes");
    let mut head = BytesMut::with_capacity(5 + metadata.len());
    head.put_u8(VERSION);
    head.put_u32_le(metadata.len() as u32);
    head.put_slice(&metadata);
    [head.freeze(), Bytes::new()]
}

/// Writes one frame; gives the position after it.
async fn write_frame(
    file: &File,
    path: &str,
    at: u64,
    sequence: u64,
    pieces: [Bytes; 2],
) -> Result<u64, QuorumError> {
    let header = frames::header(sequence, &pieces);
    let [first, second] = pieces;
    let length = (header.len() + first.len() + second.len()) as u64;
    let written = file.write_at(at, vec![header, first, second]);
    task::wait(|| format!("{path}: the next chunk"), written).await.map_err(disk_error("writing", path))?;
    Ok(at + length)
}

/// Removes snapshots older than the one at `index`. A removal that the power undoes does no harm.
pub(crate) async fn remove_older(disk: &Disk, dir: &str, index: u64) -> Result<(), QuorumError> {
    for old in list(disk, dir).await?.into_iter().filter(|old| *old < index) {
        let path = format!("{dir}/{}", file_name(old));
        disk.remove(&path).await.map_err(disk_error("removing", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use norn_env::testing::run;
    use std::path::Path;

    fn metadata() -> SnapshotMetadata {
        let mut metadata = SnapshotMetadata { index: 12, term: 3, ..SnapshotMetadata::default() };
        metadata.mut_conf_state().voters.push(1);
        metadata
    }

    fn chunks(count: u8) -> Vec<Bytes> {
        (0..count).map(|n| Bytes::from(vec![n; 40])).collect()
    }

    async fn stored(root: &Path, chunks: Vec<Bytes>) -> Disk {
        let disk = Disk::open(root).unwrap();
        disk.create_dir_all("m").await.unwrap();
        let snapshot = Snapshot { metadata: metadata(), chunks: Box::new(chunks.into_iter()) };
        assert_eq!(store(disk.clone(), "m".to_owned(), snapshot).await.unwrap(), metadata());
        disk
    }

    async fn loaded(disk: &Disk) -> Result<Vec<Bytes>, QuorumError> {
        let mut chunks = vec![];
        let mut keep = |chunk: &[u8]| {
            chunks.push(Bytes::copy_from_slice(chunk));
            Ok(())
        };
        let found = load(disk, "m", &mut keep).await?;
        assert_eq!(found, Some(metadata()));
        Ok(chunks)
    }

    async fn file(disk: &Disk) -> (File, Bytes) {
        let file = disk.open_file(&format!("m/{}", file_name(12)), Open::Write).await.unwrap();
        let bytes = file.read_at(0, file.len().await.unwrap() as usize).await.unwrap();
        (file, bytes)
    }

    #[test]
    fn a_snapshot_reads_back_chunk_by_chunk() {
        run(|| async {
            for count in [0, 1, 5] {
                let root = tempfile::tempdir().unwrap();
                let disk = stored(root.path(), chunks(count)).await;
                assert_eq!(loaded(&disk).await.unwrap(), chunks(count));
            }
        });
    }

    #[test]
    fn a_cut_or_flipped_snapshot_is_refused() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let disk = stored(root.path(), chunks(3)).await;
            let (file, bytes) = file(&disk).await;
            for at in 0..bytes.len() {
                let flipped = vec![vec![bytes[at] ^ 4].into()];
                file.write_at(at as u64, flipped).await.unwrap();
                assert!(loaded(&disk).await.is_err(), "a flip at {at}");
                file.write_at(at as u64, vec![bytes.slice(at..=at)]).await.unwrap();
            }
            assert_eq!(loaded(&disk).await.unwrap(), chunks(3));
            for len in (0..bytes.len()).rev() {
                file.truncate(len as u64).await.unwrap();
                assert!(loaded(&disk).await.is_err(), "{len} bytes are left");
            }
        });
    }

    #[test]
    fn what_was_not_finished_is_removed_and_a_state_in_one_piece_is_read() {
        run(|| async {
            let root = tempfile::tempdir().unwrap();
            let disk = stored(root.path(), chunks(1)).await;
            let mut first = BytesMut::new();
            let encoded = metadata().write_to_bytes().unwrap();
            first.put_u8(WHOLE);
            first.put_u32_le(encoded.len() as u32);
            first.put_slice(&encoded);
            first.put_slice(b"all of it");
            let payload = [first.freeze()];
            let (file, _) = file(&disk).await;
            file.truncate(0).await.unwrap();
            let [whole] = payload.clone();
            file.write_at(0, vec![frames::header(1, &payload), whole]).await.unwrap();
            disk.open_file("m/snapshot.tmp", Open::Create).await.unwrap();
            assert_eq!(loaded(&disk).await.unwrap(), [Bytes::from_static(b"all of it")]);
            assert!(!disk.exists("m/snapshot.tmp").await.unwrap());
        });
    }
}
