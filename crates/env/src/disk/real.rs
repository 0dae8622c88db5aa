//! Production back end: files of the operating system.
//!
//! Everything that can block runs on the threads of the disk's [`Pool`].

use std::fs::{self, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::calls::{allocate, pread, pread_nowait, space, touch, write_all};
use super::pool::{Lane, Pool};
use super::{DirEntry, Open, Space};
use crate::{clock, descriptors};

/// Reads up to this length are tried on the caller's thread first, where a hit in the page cache costs a
/// copy and a miss costs one call more.
const INLINE_READ_MAX: usize = 256 << 10;
/// Reads above this length ask for the file's length first, so that a wrong length from a corrupt index
/// does not become an allocation.
const UNCHECKED_READ_MAX: usize = 1 << 20;
/// Distance of the bytes that stand for a range when it is asked whether the page cache has it. The kernel reads and
/// evicts in runs of about that length, so that what lies between two of them is nearly always where they are.
const SAMPLE_STEP: usize = 64 << 10;
/// How long an operation waits for a descriptor. Its failure may cost a partition, and connections end all the time; but
/// requests wait behind it, and give up in the end.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5000 });
/// Pause before it tries again.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Disk(Arc<Shared>);

struct Shared {
    root: PathBuf,
    pool: Pool,
    /// Whether this file system refused reads that must not block; then it is not asked again.
    only_blocking_reads: AtomicBool,
    /// Whether operations wait for descriptors, and it has been told.
    out_of_descriptors: AtomicBool,
}

#[derive(Clone)]
pub(super) struct File(Arc<Opened>);

struct Opened {
    disk: Disk,
    path: Box<str>,
    file: fs::File,
    sync_failed: AtomicBool,
}

impl Opened {
    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }
}

/// What stands where a directory was to be created, in words that say more than "File exists": a symbolic link whose
/// target is missing, or a file.
fn obstacle(root: &Path) -> Option<io::Error> {
    let missing_or_no_dir = |path: &&Path| fs::metadata(path).map_or(true, |found| !found.is_dir());
    let at = root.ancestors().filter(missing_or_no_dir).find(|path| fs::symlink_metadata(path).is_ok())?;
    let (kind, what) = match (fs::read_link(at), fs::metadata(at)) {
        (Ok(target), Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            (error.kind(), format!("is a symbolic link to {}, which does not exist", target.display()))
        }
        (Ok(target), Err(error)) => (
            error.kind(),
            format!("is a symbolic link to {}, which cannot be followed: {error}", target.display()),
        ),
        _ => (io::ErrorKind::NotADirectory, "is not a directory".to_owned()),
    };
    Some(io::Error::new(kind, format!("{} {what}", at.display())))
}

/// Holds the lock as long as its descriptor is open.
#[derive(Debug)]
pub(super) struct DirLock {
    _locked: fs::File,
}

impl Disk {
    pub(super) fn open(root: &Path) -> io::Result<Disk> {
        fs::create_dir_all(root).map_err(|error| obstacle(root).unwrap_or(error))?;
        Ok(Disk(Arc::new(Shared {
            root: root.to_owned(),
            pool: Pool::new(),
            only_blocking_reads: AtomicBool::new(false),
            out_of_descriptors: AtomicBool::new(false),
        })))
    }

    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) async fn lock(&self, name: &str) -> io::Result<DirLock> {
        let path = self.0.root.join(name);
        self.run_opening(Lane::Meta, move || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(DirLock { _locked: file }),
                Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn open_file(&self, path: &str, how: Open) -> io::Result<File> {
        let full = self.0.root.join(path);
        let file = self
            .run_opening(Lane::Meta, move || {
                let mut options = OpenOptions::new();
                options.read(true);
                match how {
                    Open::Read => &mut options,
                    Open::Write => options.write(true),
                    Open::Create => options.write(true).create(true),
                    Open::CreateNew => options.write(true).create_new(true),
                };
                let file = options.open(&full)?;
                // Only opening for reading lets directories through.
                if how == Open::Read && file.metadata()?.is_dir() {
                    return Err(io::Error::from_raw_os_error(libc::EISDIR));
                }
                Ok(file)
            })
            .await?;
        let sync_failed = AtomicBool::new(false);
        Ok(File(Arc::new(Opened { disk: self.clone(), path: path.into(), file, sync_failed })))
    }

    pub(super) async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let path = self.0.root.join(path);
        self.run(Lane::Meta, move || fs::create_dir_all(path)).await
    }

    pub(super) async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let path = self.0.root.join(path);
        self.run_opening(Lane::Meta, move || fs::remove_dir_all(&path)).await
    }

    pub(super) async fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let dir = self.0.root.join(dir);
        self.run_opening(Lane::Meta, move || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let metadata = match fs::metadata(entry.path()) {
                    Ok(metadata) => metadata,
                    // Removed since, or a link to nowhere.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let is_dir = metadata.is_dir();
                entries.push(DirEntry { name, is_dir, len: if is_dir { 0 } else { metadata.len() } });
            }
            entries.sort_unstable();
            Ok(entries)
        })
        .await
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.0.root.join(from), self.0.root.join(to));
        self.run(Lane::Meta, move || fs::rename(from, to)).await
    }

    pub(super) async fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.0.root.join(path);
        self.run(Lane::Meta, move || fs::remove_file(path)).await
    }

    pub(super) async fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let dir = self.0.root.join(dir);
        self.run_opening(Lane::Sync, move || {
            OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&dir)?.sync_all()
        })
        .await
    }

    pub(super) async fn exists(&self, path: &str) -> io::Result<bool> {
        let path = self.0.root.join(path);
        self.run(Lane::Meta, move || path.try_exists()).await
    }

    pub(super) async fn space(&self) -> io::Result<Space> {
        let shared = self.0.clone();
        self.run(Lane::Meta, move || space(&shared.root)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        op: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.0.pool.run(lane, op).await
    }

    /// As [`Disk::run`], for an `op` that begins by opening something: where no descriptor is left for that it has done
    /// nothing, which says nothing of the disk, and is tried again for a while.
    async fn run_opening<T: Send + 'static>(
        &self,
        lane: Lane,
        op: impl Fn() -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<T> {
        let op = Arc::new(op);
        let short = &self.0.out_of_descriptors;
        let mut deadline = None;
        loop {
            let this_time = op.clone();
            let error = match self.run(lane, move || this_time()).await {
                Err(error) if descriptors::ran_out(&error) => error,
                done => {
                    if deadline.is_some() {
                        short.store(false, Ordering::Relaxed);
                    }
                    return done;
                }
            };
            if clock::now() >= *deadline.get_or_insert_with(|| clock::now() + DESCRIPTOR_PATIENCE) {
                return Err(descriptors::explain(error));
            }
            if !short.swap(true, Ordering::Relaxed) {
                tracing::warn!(disk = %self.0.root.display(), "waiting to open files: {}", descriptors::explain(error));
            }
            clock::sleep(DESCRIPTOR_PAUSE).await;
        }
    }
}

impl File {
    pub(super) async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        if len <= INLINE_READ_MAX {
            if let Some(read) = self.read_cached(pos, len) {
                return read;
            }
        }
        self.run(Lane::Read, move |file| {
            let mut len = len;
            if len > UNCHECKED_READ_MAX {
                let rest = file.metadata()?.len().saturating_sub(pos);
                len = usize::try_from(rest).map_or(len, |rest| rest.min(len));
            }
            let mut bytes = Vec::with_capacity(len);
            while bytes.len() < len {
                let want = len - bytes.len();
                if pread(file, &mut bytes, want, pos)? == 0 {
                    break;
                }
            }
            Ok(bytes.into())
        })
        .await
    }

    pub(super) fn read_cached(&self, pos: u64, len: usize) -> Option<io::Result<Bytes>> {
        let refused = &self.0.disk.0.only_blocking_reads;
        if len == 0 || refused.load(Ordering::Relaxed) {
            return (len == 0).then(|| Ok(Bytes::new()));
        }
        let mut bytes = Vec::with_capacity(len);
        loop {
            let want = len - bytes.len();
            match pread_nowait(&self.0.file, &mut bytes, want, pos) {
                // A short count means that the rest is not in memory, or that there is no rest: ask again.
                Ok(0) => return Some(Ok(bytes.into())),
                Ok(_) if bytes.len() == len => return Some(Ok(bytes.into())),
                Ok(_) => {}
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::EAGAIN) => None,
                        Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                            refused.store(true, Ordering::Relaxed);
                            None
                        }
                        _ => Some(Err(error)),
                    }
                }
            }
        }
    }

    /// Has the range in the page cache: at once if it is there, and else after a thread of the disk has read it.
    pub(super) async fn bring_in(&self, pos: u64, len: u64) -> io::Result<()> {
        match self.is_cached(pos, len) {
            true => Ok(()),
            false => self.run(Lane::Read, move |file| touch(file, pos, len)).await,
        }
    }

    fn is_cached(&self, pos: u64, len: u64) -> bool {
        let mut samples = (pos..pos + len).step_by(SAMPLE_STEP).chain([(pos + len).saturating_sub(1)]);
        // At the end of the file there is nothing to wait for.
        samples.all(|at| matches!(self.read_cached(at, 1), Some(Ok(_))))
    }

    pub(super) async fn write_at(&self, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
        self.run(Lane::Write, move |file| write_all(file, pos, bufs)).await
    }

    /// The write; and the sync that follows it on the same thread.
    pub(super) async fn write_and_begin_sync(
        &self,
        pos: u64,
        bufs: Vec<Bytes>,
    ) -> io::Result<impl Future<Output = io::Result<()>>> {
        let (written, sync) = (self.0.clone(), self.0.clone());
        let write = move || write_all(&written.file, pos, bufs);
        self.0.disk.0.pool.run_then(Lane::Write, write, move || sync.sync_data()).await
    }

    pub(super) async fn sync_data(&self) -> io::Result<()> {
        let opened = self.0.clone();
        self.0.disk.run(Lane::Sync, move || opened.sync_data()).await
    }

    pub(super) fn sync_has_failed(&self) -> bool {
        self.0.sync_failed.load(Ordering::Acquire)
    }

    pub(super) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.run(Lane::Meta, move |file| file.set_len(len)).await
    }

    pub(super) async fn allocate(&self, len: u64) -> io::Result<()> {
        self.run(Lane::Meta, move |file| allocate(file, len)).await
    }

    pub(super) async fn len(&self) -> io::Result<u64> {
        self.run(Lane::Meta, |file| Ok(file.metadata()?.len())).await
    }

    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    pub(super) fn full_path(&self) -> Arc<str> {
        self.0.disk.0.root.join(&*self.0.path).display().to_string().into()
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        op: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let opened = self.0.clone();
        self.0.disk.run(lane, move || op(&opened.file)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::testing::run;

    #[test]
    fn a_data_directory_that_cannot_be_made_says_what_is_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = |path: &Path| Disk::open(path).err().unwrap().to_string();
        let dangling =
            format!("{} is a symbolic link to /nowhere/at/all, which does not exist", link.display());
        assert_eq!(refused(&link), dangling);
        assert_eq!(refused(&link.join("below")), dangling);
        let own = dir.path().join("loop");
        std::os::unix::fs::symlink(&own, &own).unwrap();
        let told = refused(&own);
        assert!(told.contains("which cannot be followed: Too many levels of symbolic links"), "{told}");
        let no_directory = format!("{} is not a directory", file.display());
        assert_eq!(refused(&file), no_directory);
        assert_eq!(refused(&file.join("below")), no_directory);
    }

    /// The outcome of an operation that fails so for the first `failures` times, and how often it was tried.
    fn tried(failures: usize, code: i32) -> (io::Result<()>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let op = move || match counted.fetch_add(1, Ordering::SeqCst) < failures {
            true => Err(io::Error::from_raw_os_error(code)),
            false => Ok(()),
        };
        let outcome = run(|| async move { disk.run_opening(Lane::Meta, op).await });
        (outcome, tries.load(Ordering::SeqCst))
    }

    #[test]
    fn a_range_that_the_page_cache_lacks_is_known() {
        // Beside this program, since what is below the temporary directory may have no disk under it.
        let beside = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        run(|| async move {
            let file = disk.open_file("cold", Open::CreateNew).await.unwrap();
            let len = 10 * SAMPLE_STEP as u64 + 1;
            file.write_at(0, vec![vec![7; len as usize].into()]).await.unwrap();
            file.sync_data().await.unwrap();
            assert!(file.is_cached(0, len));
            // A look at what is not there makes the kernel begin to read it, and it may be there before the look is over.
            let known = (0..1000).any(|_| {
                // SAFETY: a call without pointers.
                let dropped = unsafe { libc::posix_fadvise(file.raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
                assert_eq!(dropped, 0);
                !file.is_cached(0, len)
            });
            assert!(known);
            touch(&file.0.file, 0, SAMPLE_STEP as u64).unwrap();
            assert!(file.is_cached(0, SAMPLE_STEP as u64));
            // Beyond its end there is nothing to wait for.
            touch(&file.0.file, 0, 2 * len).unwrap();
            assert!(file.is_cached(0, 2 * len));
        });
    }

    #[test]
    fn an_open_waits_for_a_descriptor_and_for_nothing_else() {
        let (outcome, tries) = tried(3, libc::EMFILE);
        assert!(outcome.is_ok());
        assert_eq!(tries, 4);
        let (outcome, tries) = tried(3, libc::EIO);
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(tries, 1);
    }

    #[test]
    fn an_open_that_gets_no_descriptor_names_the_limit_in_the_end() {
        let (outcome, tries) = tried(usize::MAX, libc::EMFILE);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("ulimit -n"), "{error}");
        assert!(tries > 2, "{tries}");
    }
}
