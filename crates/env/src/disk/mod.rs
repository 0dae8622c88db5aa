//! Storage: the only way to files.
//!
//! A [`Disk`] is one data directory; every path is relative to its root. Each type has two back ends with
//! one behaviour: files of the operating system in production, and a simulated disk with a volatile cache
//! and injected faults under `--cfg madsim`.
//!
//! An operation that was begun runs to its end even if its future is dropped: it was already handed to the
//! device. A caller that gives up on a write must not assume that the bytes will never land.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::wait_report::What;

mod early;

#[cfg(not(madsim))]
mod calls;
#[cfg(not(madsim))]
mod pool;
#[cfg(not(madsim))]
mod real;

#[cfg(madsim)]
use crate::sim::disk as back;
#[cfg(not(madsim))]
use real as back;

use early::EarlySync;

#[cfg(test)]
mod tests;

/// How [`Disk::open_file`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; the file is created if it does not exist.
    Create,
    /// Reading and writing; `AlreadyExists` if the file exists.
    CreateNew,
}

/// One entry of a directory, from [`Disk::list`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last component of its path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// One data directory on one disk. Clones are handles to the same directory and share its worker threads;
/// different disks share nothing, so that one that stalls leaves the others alone.
#[derive(Clone)]
pub struct Disk(back::Disk);

/// An open file. Clones share the descriptor. It stays usable after its path was renamed or removed.
#[derive(Clone)]
pub struct File {
    back: back::File,
    early: Arc<EarlySync>,
}

/// The space of the file system that a data directory is on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All that there is.
    pub total: u64,
    /// What this process can still write.
    pub usable: u64,
}

/// An exclusive lock on a data directory; freed when dropped, and by the death of the process.
#[derive(Debug)]
pub struct DirLock {
    _held: back::DirLock,
}

impl Disk {
    /// Opens the data directory `root`, creating it and its parents if needed. Blocks; meant for start-up.
    pub fn open(root: &Path) -> io::Result<Disk> {
        Ok(Disk(back::Disk::open(root)?))
    }

    /// The directory that all paths are relative to.
    pub fn root(&self) -> &Path {
        self.0.root()
    }

    /// Takes the exclusive lock called `name` (a file in the root); `WouldBlock` if anybody holds it.
    pub async fn lock(&self, name: &str) -> io::Result<DirLock> {
        let name = relative(name)?;
        Ok(DirLock { _held: self.wait("lock", name, self.0.lock(name)).await? })
    }

    /// Opens the file at `path`. A created file is lost with the power until [`Disk::sync_dir`] of its
    /// directory, even when its data was synced.
    pub async fn open_file(&self, path: &str, how: Open) -> io::Result<File> {
        let path = relative(path)?;
        let back = self.wait("open", path, self.0.open_file(path, how)).await?;
        Ok(File { back, early: Arc::default() })
    }

    /// Creates the directory and its missing parents.
    pub async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let path = relative(path)?;
        self.wait("create directory", path, self.0.create_dir_all(path)).await
    }

    /// Removes the directory with all that is in it. Not atomic: after a crash a part may be left.
    pub async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = relative(path)?;
        self.wait("remove directory", path, self.0.remove_dir(path)).await
    }

    /// The entries of a directory (`""` is the root), sorted by name. Names that are not UTF-8 are not ours
    /// and are left out.
    pub async fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let dir = relative(dir)?;
        self.wait("list", dir, self.0.list(dir)).await
    }

    /// Renames a file or directory, atomically replacing a file at `to`. Lost with the power until the
    /// directories of both names are synced; then the old name is back, never both or neither.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (relative(from)?, relative(to)?);
        self.wait("rename", from, self.0.rename(from, to)).await
    }

    /// Removes the name of a file. Open handles go on working.
    pub async fn remove(&self, path: &str) -> io::Result<()> {
        let path = relative(path)?;
        self.wait("remove", path, self.0.remove(path)).await
    }

    /// Makes creations, renames and removals in this directory (`""` is the root) durable.
    pub async fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let dir = relative(dir)?;
        self.wait("sync directory", dir, self.0.sync_dir(dir)).await
    }

    /// Whether something has this name.
    pub async fn exists(&self, path: &str) -> io::Result<bool> {
        let path = relative(path)?;
        self.wait("look up", path, self.0.exists(path)).await
    }

    /// Bytes that can still be written to the file system.
    pub async fn free_space(&self) -> io::Result<u64> {
        self.space().await.map(|space| space.usable)
    }

    /// The size of the file system, and what of it can still be written to.
    pub async fn space(&self) -> io::Result<Space> {
        self.wait("space", "", self.0.space()).await
    }

    async fn wait<T>(&self, what: &str, path: &str, op: impl std::future::Future<Output = T>) -> T {
        crate::task::wait(|| format!("disk: {what} {}", self.root().join(path).display()), op).await
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.root()).finish()
    }
}

impl File {
    /// Reads `len` bytes at `pos`; fewer only at the end of the file. An error once a sync has failed, see
    /// [`File::sync_data`].
    pub async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let bytes = self.wait("read", self.back.read_at(pos, len)).await?;
        self.check_trusted()?;
        Ok(bytes)
    }

    /// Writes the buffers one after the other at `pos`: all, or an error, after which any part of them may
    /// have been written. A gap behind the old end reads as zeros. When this returns, other handles see the
    /// bytes and the death of this process leaves them; they are safe from a loss of power only after
    /// [`File::sync_data`].
    pub async fn write_at(&self, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
        self.early.change();
        self.wait("write", self.back.write_at(pos, bufs)).await
    }

    /// As [`File::write_at`], and begins to make durable what it wrote without a way back to the caller, who
    /// asks for the outcome with [`File::sync_data`] as ever. Saves two changes of threads where a sync is
    /// sure to follow at once; wasted where it is not.
    pub async fn write_and_begin_sync(&self, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
        let change = self.early.change();
        if self.early.is_under_way() {
            return self.wait("write", self.back.write_at(pos, bufs)).await;
        }
        let sync = self.wait("write", self.back.write_and_begin_sync(pos, bufs)).await?;
        self.early.begun(change, sync);
        Ok(())
    }

    /// Makes every write, truncation and allocation that had returned before this call durable, with the
    /// file's length (`fdatasync`). After an error nothing is known of those writes, and a later success
    /// says nothing about them: never try again. Nor is it known what the cache shows of them, so that from the
    /// moment of the failure on, before anybody is told of it, nothing is read through this handle any more.
    pub async fn sync_data(&self) -> io::Result<()> {
        if self.wait("sync", self.early.join()).await? {
            return Ok(());
        }
        self.wait("sync", self.back.sync_data()).await
    }

    /// Sets the length: cuts the tail off, or extends with zeros.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        self.early.change();
        self.wait("truncate", self.back.truncate(len)).await
    }

    /// Reserves space so that the first `len` bytes can be written without `ENOSPC`. A shorter file is
    /// extended to `len` with zeros; a longer one keeps its length.
    pub async fn allocate(&self, len: u64) -> io::Result<()> {
        self.early.change();
        self.wait("allocate", self.back.allocate(len)).await
    }

    /// The length in bytes, as all handles of this process see it.
    #[allow(clippy::len_without_is_empty)]
    pub async fn len(&self) -> io::Result<u64> {
        self.wait("length", self.back.len()).await
    }

    /// As [`File::read_at`], but never blocks: `None` if the bytes are not in memory.
    pub fn read_cached(&self, pos: u64, len: usize) -> Option<io::Result<Bytes>> {
        let read = self.back.read_cached(pos, len);
        match self.check_trusted() {
            Ok(()) => read,
            Err(error) => Some(Err(error)),
        }
    }

    /// An error if a sync has failed: what the file shows may be older than what was written to it.
    pub(crate) fn check_trusted(&self) -> io::Result<()> {
        match self.back.sync_has_failed() {
            false => Ok(()),
            true => Err(io::Error::other(
                "a sync of it failed: what it holds is not known before it is opened anew",
            )),
        }
    }

    /// The path, relative to its disk's root, that this file was opened with.
    pub fn path(&self) -> &str {
        self.back.path()
    }

    /// Has `len` bytes at `pos` in the page cache, for `sendfile` not to wait for the disk on its caller's thread. They may
    /// be evicted at any time after.
    #[cfg(not(madsim))]
    pub(crate) async fn bring_in(&self, pos: u64, len: u64) -> io::Result<()> {
        self.wait("read", self.back.bring_in(pos, len)).await
    }

    /// The descriptor, for `sendfile`; valid as long as this handle lives.
    #[cfg(not(madsim))]
    pub(crate) fn raw_fd(&self) -> std::os::fd::RawFd {
        self.back.raw_fd()
    }

    async fn wait<T>(&self, what: &'static str, op: impl std::future::Future<Output = T>) -> T {
        crate::task::wait_for(|| What::File(what, self.back.full_path()), op).await
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path()).finish()
    }
}

/// Accepts paths that stay below the root and that both back ends read the same way: components without
/// `.` and `..`, no leading slash, no NUL.
fn relative(path: &str) -> io::Result<&str> {
    let sound = path.is_empty()
        || path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    match sound {
        true => Ok(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a relative path: {path:?}"))),
    }
}
