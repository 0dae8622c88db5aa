//! Snapshots of the state machine as files: `snapshot-<index>`, one frame of `crates/log`.
//!
//! A snapshot is written under another name, synced, renamed, and its directory synced, before
//! anything of the WAL is dropped for it. So the newest file with that name is whole, or the disk
//! changed it: then the start is refused, never continued from an older one, whose WAL may be gone.

use crate::error::QuorumError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use norn_env::disk::{Disk, Open};
use norn_log::frames::{self, Tail};
use protobuf::Message as _;
use raft::eraftpb::SnapshotMetadata;

const VERSION: u8 = 1;
const PREFIX: &str = "snapshot-";
const TEMPORARY: &str = "snapshot.tmp";
/// The frame's sequence: a snapshot file holds one.
const SEQUENCE: u64 = 1;

/// The state machine's state after applying entry `metadata.index`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub metadata: SnapshotMetadata,
    pub state: Bytes,
}

fn encode(snapshot: &Snapshot) -> Vec<Bytes> {
    let metadata = snapshot.metadata.write_to_bytes().expect("a message of ours encodes");
    let mut head = BytesMut::with_capacity(5 + metadata.len());
    head.put_u8(VERSION);
    head.put_u32_le(metadata.len() as u32);
    head.put_slice(&metadata);
    let pieces = [head.freeze(), snapshot.state.clone()];
    let [head, state] = pieces.clone();
    vec![frames::header(SEQUENCE, &pieces), head, state]
}

fn decode(bytes: &Bytes, file: &str) -> Result<Snapshot, QuorumError> {
    let corrupt = |what| QuorumError::SnapshotCorrupt { file: file.to_owned(), what };
    let scan = frames::scan(bytes, 0, Some(SEQUENCE));
    if let Tail::Newer { version } = scan.tail {
        return Err(QuorumError::SnapshotNewer { file: file.to_owned(), version });
    }
    let [frame] = scan.frames.as_slice() else { return Err(corrupt("its checksum does not match")) };
    let mut payload = frame.payload.clone();
    let version = payload.try_get_u8().map_err(|_| corrupt("it is too short"))?;
    if version != VERSION {
        return Err(QuorumError::SnapshotNewer { file: file.to_owned(), version });
    }
    let length = payload.try_get_u32_le().map_err(|_| corrupt("it is too short"))? as usize;
    if length > payload.len() {
        return Err(corrupt("its metadata is cut off"));
    }
    let metadata = SnapshotMetadata::parse_from_bytes(&payload.split_to(length));
    Ok(Snapshot { metadata: metadata.map_err(|_| corrupt("its metadata does not decode"))?, state: payload })
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

/// Reads the newest snapshot. `Ok(None)`: there is none.
pub(crate) async fn load(disk: &Disk, dir: &str) -> Result<Option<Snapshot>, QuorumError> {
    let Some(index) = list(disk, dir).await?.pop() else { return Ok(None) };
    let path = format!("{dir}/{}", file_name(index));
    let file = disk.open_file(&path, Open::Read).await.map_err(disk_error("opening", &path))?;
    let length = file.len().await.map_err(disk_error("reading", &path))?;
    let bytes = file.read_at(0, length as usize).await.map_err(disk_error("reading", &path))?;
    let snapshot = decode(&bytes, &path)?;
    if snapshot.metadata.index != index {
        return Err(QuorumError::SnapshotCorrupt { file: path, what: "its name tells another index" });
    }
    Ok(Some(snapshot))
}

/// Writes a snapshot; when this returns it is durable under its name.
pub(crate) async fn store(disk: &Disk, dir: &str, snapshot: &Snapshot) -> Result<(), QuorumError> {
    let temporary = format!("{dir}/{TEMPORARY}");
    let path = format!("{dir}/{}", file_name(snapshot.metadata.index));
    let file = disk.open_file(&temporary, Open::Create).await.map_err(disk_error("creating", &temporary))?;
    file.truncate(0).await.map_err(disk_error("truncating", &temporary))?;
    file.write_at(0, encode(snapshot)).await.map_err(disk_error("writing", &temporary))?;
    file.sync_data().await.map_err(disk_error("syncing", &temporary))?;
    disk.rename(&temporary, &path).await.map_err(disk_error("renaming", &path))?;
    disk.sync_dir(dir).await.map_err(disk_error("syncing the directory of", &path))
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
    use proptest::prelude::*;

    fn file(state: &[u8]) -> (Snapshot, Vec<u8>) {
        let mut metadata = SnapshotMetadata { index: 12, term: 3, ..SnapshotMetadata::default() };
        metadata.mut_conf_state().voters.push(1);
        let snapshot = Snapshot { metadata, state: Bytes::copy_from_slice(state) };
        let bytes = encode(&snapshot).concat();
        (snapshot, bytes)
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_whole(state in prop::collection::vec(any::<u8>(), 0..200)) {
            let (snapshot, bytes) = file(&state);
            prop_assert_eq!(decode(&bytes.into(), "f").unwrap(), snapshot);
        }

        #[test]
        fn a_cut_or_flipped_snapshot_is_refused(
            state in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let (_, bytes) = file(&state);
            let at = at.index(bytes.len());
            prop_assert!(decode(&Bytes::copy_from_slice(&bytes[..at]), "f").is_err());
            let mut flipped = bytes;
            flipped[at] ^= 1 << bit;
            prop_assert!(decode(&flipped.into(), "f").is_err());
        }
    }
}
