//! `partition.metadata`: which topic a partition's directory belongs to (KIP-516), so that one that was left
//! behind by a deleted topic is not taken for that of a new topic of the same name.
//!
//! Kafka's two lines, and a third with their CRC: a directory is removed on the word of this file.

use std::io;

use norn_env::disk::{DirEntry, Disk, Open};
use norn_protocol::types::{uuid_of_text, Offset, TopicId};

use super::START_FILE;
use crate::checkpoint;
use crate::segment::{file_name, LOG_SUFFIX};

/// Kafka's name for it.
pub(crate) const METADATA_FILE: &str = "partition.metadata";

/// Writes the file, durably.
pub(crate) async fn write(disk: &Disk, dir: &str, topic_id: TopicId) -> io::Result<()> {
    checkpoint::write_plain(disk, dir, METADATA_FILE, encode(topic_id).as_bytes()).await
}

/// Whether a directory without a readable id, with these files, may be what a creation that was cut off leaves: the metadata
/// file is written last, behind an empty segment. Else that file was damaged, or lost.
pub(crate) fn is_unfinished(files: &[DirEntry]) -> bool {
    let first = file_name(Offset::ZERO, LOG_SUFFIX);
    let has_offsets = |file: &DirEntry| match file.name.ends_with(LOG_SUFFIX) {
        true => file.len > 0 || file.name != first,
        false => file.name == START_FILE,
    };
    !files.iter().any(has_offsets)
}

/// The topic that the log in directory `dir` belongs to. `None` if the file is missing or says nothing sound; see
/// [`is_unfinished`].
pub async fn read_topic_id(disk: &Disk, dir: &str) -> io::Result<Option<TopicId>> {
    let path = format!("{dir}/{METADATA_FILE}");
    let file = match disk.open_file(&path, Open::Read).await {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(decode(&file.read_at(0, 256).await?))
}

fn encode(topic_id: TopicId) -> String {
    let lines = format!("version: 0\ntopic_id: {topic_id}\n");
    let crc = crc32c::crc32c(lines.as_bytes());
    format!("{lines}crc32c: {crc:08x}\n")
}

fn decode(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let id = text.strip_prefix("version: 0\ntopic_id: ")?.lines().next()?;
    uuid_of_text(id).map(TopicId).filter(|id| encode(*id) == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn an_id_is_read_back(id in any::<u128>()) {
            let id = TopicId(Uuid::from_u128(id));
            prop_assert_eq!(decode(encode(id).as_bytes()), Some(id));
        }
    }

    #[test]
    fn anything_else_is_no_id() {
        let text = encode(TopicId(Uuid::from_u128(1 << 90 | 77)));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None);
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"version: 0\ntopic_id: AAAA"), None);
    }
}
