//! Small files of a data directory: read whole, replaced atomically, removed durably.

use super::error::DirError;
use bytes::Bytes;
use norn_env::disk::{Disk, Open};

/// The root of a data directory, with errors that name it.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub disk: Disk,
}

impl Files {
    /// The directory's path, for messages.
    pub fn dir(&self) -> String {
        self.disk.root().display().to_string()
    }

    pub fn error(&self, operation: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> DirError {
        let (file, dir) = (file.to_owned(), self.dir());
        move |source| DirError::Disk { operation, file, dir, source }
    }

    /// The whole file; `None` if there is none.
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>, DirError> {
        if !self.disk.exists(name).await.map_err(self.error("looking up", name))? {
            return Ok(None);
        }
        let file = self.disk.open_file(name, Open::Read).await.map_err(self.error("opening", name))?;
        let length = file.len().await.map_err(self.error("reading", name))?;
        file.read_at(0, length as usize).await.map(Some).map_err(self.error("reading", name))
    }

    /// Writes beside, syncs, renames, syncs the directory: after a crash either the old file is there or
    /// the new one.
    pub async fn replace(&self, name: &str, content: Vec<Bytes>) -> Result<(), DirError> {
        let temporary = format!("{name}.tmp");
        let file = self
            .disk
            .open_file(&temporary, Open::Create)
            .await
            .map_err(self.error("creating", &temporary))?;
        file.truncate(0).await.map_err(self.error("truncating", &temporary))?;
        file.write_at(0, content).await.map_err(self.error("writing", &temporary))?;
        file.sync_data().await.map_err(self.error("syncing", &temporary))?;
        self.disk.rename(&temporary, name).await.map_err(self.error("renaming", name))?;
        self.disk.sync_dir("").await.map_err(self.error("syncing the directory of", name))
    }

    /// Removes the file; when this returns, no crash brings it back.
    pub async fn remove(&self, name: &str) -> Result<(), DirError> {
        self.disk.remove(name).await.map_err(self.error("removing", name))?;
        self.disk.sync_dir("").await.map_err(self.error("syncing the directory of", name))
    }
}

/// URL-safe base64 without padding, as Kafka writes its ids.
pub(super) fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(group >> (18 - 6 * n) & 63) as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64_url;

    #[test]
    fn base64_is_url_safe_and_unpadded() {
        assert_eq!(base64_url(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw");
        assert_eq!(base64_url(&[0xfb, 0xff, 0xfe]), "-__-");
        assert_eq!(base64_url(&[0; 16]).len(), 22);
    }
}
