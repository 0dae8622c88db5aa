//! Production back end: files of the operating system.
//!
//! Everything that can block runs on the threads of the disk's [`Pool`]. All calls go through libc's
//! functions (directly or beneath `std::fs`), never raw system calls, so that a preloaded library can
//! watch or fail them.

use std::fs::{self, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::pool::{Lane, Pool};
use super::{DirEntry, Open};
use crate::{clock, descriptors};

/// Most buffers in one call (`IOV_MAX` of Linux).
const BUFFERS_MAX: usize = 1024;
/// Reads up to this length are tried on the caller's thread first, where a hit in the page cache costs a
/// copy and a miss costs one call more.
const INLINE_READ_MAX: usize = 256 << 10;
/// Reads above this length ask for the file's length first, so that a wrong length from a corrupt index
/// does not become an allocation.
const UNCHECKED_READ_MAX: usize = 1 << 20;
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

/// Holds the lock as long as its descriptor is open.
#[derive(Debug)]
pub(super) struct DirLock {
    _locked: fs::File,
}

impl Disk {
    pub(super) fn open(root: &Path) -> io::Result<Disk> {
        fs::create_dir_all(root)?;
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

    pub(super) async fn free_space(&self) -> io::Result<u64> {
        let shared = self.0.clone();
        self.run(Lane::Meta, move || free_space(&shared.root)).await
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

fn off_t(pos: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(pos).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Repeats a call that a signal interrupted; negative results become errors.
fn retry<N: TryInto<usize>>(mut call: impl FnMut() -> N) -> io::Result<usize> {
    loop {
        if let Ok(done) = call().try_into() {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn write_all(file: &fs::File, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
    let mut pos = pos;
    let mut bufs = std::collections::VecDeque::from(bufs);
    bufs.retain(|buf| !buf.is_empty());
    while !bufs.is_empty() {
        let slices: Vec<libc::iovec> = bufs
            .iter()
            .take(BUFFERS_MAX)
            .map(|buf| libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() })
            .collect();
        let at = off_t(pos)?;
        // SAFETY: the slices point into `bufs`, which outlives the call; the kernel only reads them.
        let mut done =
            retry(|| unsafe { libc::pwritev(file.as_raw_fd(), slices.as_ptr(), slices.len() as i32, at) })?;
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        pos += done as u64;
        while done > 0 {
            let step = done.min(bufs[0].len());
            bufs[0].advance(step);
            done -= step;
            if bufs[0].is_empty() {
                bufs.pop_front();
            }
        }
    }
    Ok(())
}

/// Appends up to `want` bytes, found at `pos` plus what `bytes` already holds, and returns their number.
fn pread(file: &fs::File, bytes: &mut Vec<u8>, want: usize, pos: u64) -> io::Result<usize> {
    let at = off_t(pos.saturating_add(bytes.len() as u64))?;
    bytes.reserve(want);
    let spare = bytes.spare_capacity_mut().as_mut_ptr();
    // SAFETY: `want` bytes are reserved behind the initialised ones.
    let done = retry(|| unsafe { libc::pread(file.as_raw_fd(), spare.cast(), want, at) })?;
    // SAFETY: the kernel has initialised that many of them.
    unsafe { bytes.set_len(bytes.len() + done) };
    Ok(done)
}

/// As [`pread`], but `EAGAIN` instead of waiting for the device.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn pread_nowait(file: &fs::File, bytes: &mut Vec<u8>, want: usize, pos: u64) -> io::Result<usize> {
    let at = off_t(pos.saturating_add(bytes.len() as u64))?;
    bytes.reserve(want);
    let slice = libc::iovec { iov_base: bytes.spare_capacity_mut().as_mut_ptr().cast(), iov_len: want };
    // SAFETY: `want` bytes are reserved behind the initialised ones.
    let done = retry(|| unsafe { libc::preadv2(file.as_raw_fd(), &slice, 1, at, libc::RWF_NOWAIT) })?;
    // SAFETY: the kernel has initialised that many of them.
    unsafe { bytes.set_len(bytes.len() + done) };
    Ok(done)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn pread_nowait(_: &fs::File, _: &mut Vec<u8>, _: usize, _: u64) -> io::Result<usize> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

fn allocate(file: &fs::File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    {
        let len = off_t(len)?;
        // SAFETY: a call without pointers.
        let allocated = retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) });
        match allocated.map_err(|error| (error.raw_os_error(), error)) {
            Err((Some(libc::EOPNOTSUPP | libc::ENOSYS), _)) => {}
            Err((_, error)) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    // A file system that cannot reserve: at least the length is the same everywhere.
    match file.metadata()?.len() < len {
        true => file.set_len(len),
        false => Ok(()),
    }
}

fn free_space(root: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(root.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a terminated path and a place for the result.
    retry(|| unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: statvfs succeeded; besides, zeros are a valid value.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast)] // The types differ between platforms.
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::testing::run;

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
