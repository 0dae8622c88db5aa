//! `meta.properties`: whose data directory this is. A properties file as Kafka's, with Norn's own format
//! version beside Kafka's keys (Kafka: `MetaProperties`).

use super::error::DirError;
use super::files::{self, Files};
use super::journal::recovery as journal;
use crate::id::LogId;
use std::fmt::Write as _;

pub(super) const FILE: &str = "meta.properties";
/// Where the quorum keeps the cluster's metadata, in the first data directory.
pub const METADATA_DIR: &str = "__cluster_metadata";
/// Layout of the whole data directory that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What a data directory says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub cluster_id: String,
    pub node_id: i32,
    /// New for each directory: a node whose disk was wiped is told by it.
    pub directory_id: String,
    pub format_version: u32,
}

impl Meta {
    fn to_properties(&self) -> String {
        let mut out = String::from("# Written by Norn at the first start. Do not change.\nversion=1\n");
        let Meta { cluster_id, node_id, directory_id, format_version } = self;
        let _ = writeln!(out, "cluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}");
        let _ = writeln!(out, "norn.format.version={format_version}");
        out
    }

    /// Reads the file's text; the error is the line and what is wrong there. Keys of a newer Kafka or Norn
    /// are left alone: the format version says whether they matter.
    fn parse(text: &str) -> Result<Meta, (usize, String)> {
        let (mut cluster_id, mut node_id, mut directory_id, mut format_version) = (None, None, None, None);
        let mut last = 0;
        for (number, line) in text.lines().enumerate() {
            last = number + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or((last, format!("expected key=value, found {line:?}")))?;
            let (key, value) = (key.trim(), value.trim());
            let number =
                || value.parse().map_err(|_| (last, format!("{key} must be a number, found {value:?}")));
            match key {
                "cluster.id" => cluster_id = Some(value.to_owned()),
                "directory.id" => directory_id = Some(value.to_owned()),
                "node.id" => node_id = Some(number()?),
                "norn.format.version" => format_version = Some(number()?),
                _ => {}
            }
        }
        let missing = |key: &str| (last, format!("{key} is missing"));
        let positive =
            |version: i32| u32::try_from(version).map_err(|_| (last, "a negative version".to_owned()));
        Ok(Meta {
            format_version: positive(format_version.ok_or_else(|| missing("norn.format.version"))?)?,
            cluster_id: cluster_id.ok_or_else(|| missing("cluster.id"))?,
            node_id: node_id.ok_or_else(|| missing("node.id"))?,
            directory_id: directory_id.ok_or_else(|| missing("directory.id"))?,
        })
    }
}

/// Reads the file, or writes it in a new directory; whether it is new.
pub(super) async fn load_or_create(
    files: &Files,
    node_id: i32,
    cluster_id: Option<&str>,
) -> Result<(Meta, bool), DirError> {
    match load(files, node_id, cluster_id).await? {
        Some(meta) => Ok((meta, false)),
        None => Ok((create(files, node_id, cluster_id).await?, true)),
    }
}

/// Writes the file of a new directory. `cluster_id` of `None` makes one.
async fn create(files: &Files, node_id: i32, cluster_id: Option<&str>) -> Result<Meta, DirError> {
    let meta = Meta {
        cluster_id: cluster_id.map_or_else(random_id, str::to_owned),
        node_id,
        directory_id: random_id(),
        format_version: FORMAT_VERSION,
    };
    files.replace(FILE, vec![meta.to_properties().into()]).await?;
    Ok(meta)
}

/// Reads the file and sees that it is this node's; `None` in a directory that is new. `cluster_id` of `None` takes what is
/// there.
pub(super) async fn load(
    files: &Files,
    node_id: i32,
    cluster_id: Option<&str>,
) -> Result<Option<Meta>, DirError> {
    let dir = files.dir();
    let Some(bytes) = files.read(FILE).await? else {
        // It is written, durably, before anything else.
        let listed = files.disk.list("").await.map_err(files.error("listing", "."))?;
        return match listed.into_iter().find(|entry| is_ours(&entry.name)) {
            Some(entry) => Err(DirError::MetaMissing { dir, beside: entry.name }),
            None => Ok(None),
        };
    };
    let text = String::from_utf8_lossy(&bytes);
    let meta = Meta::parse(&text).map_err(|(line, what)| DirError::Meta { dir: dir.clone(), line, what })?;
    if meta.format_version > FORMAT_VERSION {
        return Err(DirError::NewerFormat { dir, found: meta.format_version, known: FORMAT_VERSION });
    }
    if let Some(expected) = cluster_id.filter(|expected| *expected != meta.cluster_id) {
        return Err(DirError::OtherCluster { dir, found: meta.cluster_id, expected: expected.to_owned() });
    }
    if meta.node_id != node_id {
        return Err(DirError::OtherNode { dir, found: meta.node_id, expected: node_id });
    }
    Ok(Some(meta))
}

/// Whether only a directory that has been used holds this.
fn is_ours(name: &str) -> bool {
    name == journal::DIR || name == METADATA_DIR || LogId::parse_dir_name(name).is_some()
}

/// An id as Kafka writes them: 16 random bytes in URL-safe base64 without padding, 22 characters.
fn random_id() -> String {
    files::base64_url(&norn_env::rand::uuid_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta() -> Meta {
        Meta {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".to_owned(),
            node_id: 3,
            directory_id: "bXktZGlyZWN0b3J5LWlkAA".to_owned(),
            format_version: 1,
        }
    }

    #[test]
    fn the_file_reads_back_as_written_and_unknown_keys_are_left_alone() {
        let text = meta().to_properties() + "some.later.key = x\n";
        assert_eq!(Meta::parse(&text), Ok(meta()));
    }

    #[test]
    fn a_missing_key_or_a_word_for_a_number_is_told_with_its_line() {
        let text = meta().to_properties().replace("node.id=3", "node.id=three");
        assert_eq!(Meta::parse(&text), Err((4, "node.id must be a number, found \"three\"".to_owned())));
        let text = meta().to_properties().replace("cluster.id", "cluster");
        assert!(Meta::parse(&text).unwrap_err().1.contains("cluster.id is missing"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in "\\PC{0,200}") {
            let _ = Meta::parse(&text);
        }
    }
}
