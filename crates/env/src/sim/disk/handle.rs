//! The simulated back end of [`crate::disk`].

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::content::Content;
use super::faults::DiskOp;
use super::node::{length, prefix, Node};
use super::submit::{Effect, Process, Underway};
use super::tree::{errno, Ino};
use super::DiskSim;
use crate::disk::{DirEntry, Open, Space};
use crate::sim::node as nodes;

/// The free space of a disk without a limit.
const PLENTY: u64 = 1 << 40;

#[derive(Clone)]
pub(crate) struct Disk {
    process: Process,
    root: Arc<Path>,
    /// The root as a string, without a slash at its end.
    key: Arc<str>,
}

#[derive(Clone)]
pub(crate) struct File(Arc<Opened>);

struct Opened {
    process: Process,
    root: Arc<str>,
    path: Box<str>,
    full: Arc<str>,
    ino: Ino,
    how: Open,
    sync_failed: Arc<AtomicBool>,
}

pub(crate) struct DirLock {
    process: Process,
    root: Arc<str>,
    name: String,
    token: u64,
}

impl Disk {
    pub(crate) fn open(root: &Path) -> io::Result<Disk> {
        let sim = DiskSim::current();
        let node = nodes::current();
        let key: Arc<str> = root.to_string_lossy().trim_end_matches('/').into();
        let incarnation = sim.with(node, |node| {
            node.volume(&key);
            node.incarnation
        });
        let root: Arc<Path> = PathBuf::from(root).into();
        Ok(Disk { process: Process { sim, node, incarnation }, root, key })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    // What an effect opens or locks it returns as its owner, so that it is given back if nobody waits for it.

    pub(crate) async fn lock(&self, name: &str) -> io::Result<DirLock> {
        let (process, file) = (self.process.clone(), name.to_owned());
        self.run(DiskOp::Meta, name, move |node, root| {
            let token = node.next_token();
            let volume = node.volume(root);
            let ino = volume.tree.open(&file, Open::Create)?;
            volume.tree.close(ino);
            if volume.locks.contains_key(&file) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            volume.locks.insert(file.clone(), token);
            Ok(DirLock { process, root: root.into(), name: file, token })
        })
        .await
    }

    pub(crate) async fn open_file(&self, path: &str, how: Open) -> io::Result<File> {
        let (process, name) = (self.process.clone(), path.to_owned());
        let full: Arc<str> = self.full(path).into();
        self.run(DiskOp::Meta, path, move |node, root| {
            let ino = node.volume(root).tree.open(&name, how)?;
            node.trace("open", &full, ino, &[]);
            let sync_failed = Arc::default();
            Ok(File(Arc::new(Opened {
                process,
                root: root.into(),
                path: name.into(),
                full,
                ino,
                how,
                sync_failed,
            })))
        })
        .await
    }

    pub(crate) async fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.run(DiskOp::Meta, path, move |node, root| {
            node.trace("mkdir", &name, 0, &[]);
            node.volume(root).tree.create_dir_all(&name)
        })
        .await
    }

    pub(crate) async fn remove_dir(&self, path: &str) -> io::Result<()> {
        let dir = path.to_owned();
        let found =
            self.run(DiskOp::Meta, path, move |node, root| node.volume(root).tree.below(&dir)).await?;
        for (path, is_dir) in found {
            self.remove_one(&path, is_dir).await?;
        }
        Ok(())
    }

    pub(crate) async fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let name = dir.to_owned();
        self.run(DiskOp::Meta, dir, move |node, root| node.volume(root).tree.list(&name)).await
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        self.run(DiskOp::Meta, from, move |node, root| {
            node.trace("rename", &old, 0, new.as_bytes());
            node.volume(root).tree.rename(&old, &new)
        })
        .await
    }

    pub(crate) async fn remove(&self, path: &str) -> io::Result<()> {
        self.remove_one(path, false).await
    }

    pub(crate) async fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let name = dir.to_owned();
        self.run(DiskOp::Sync, dir, move |node, root| {
            let tree = &mut node.volume(root).tree;
            let ino = tree.dir_ino(&name)?;
            tree.sync_dir(ino);
            node.stats.dir_syncs += 1;
            node.trace("sync_dir", &name, 0, &[]);
            Ok(())
        })
        .await
    }

    pub(crate) async fn exists(&self, path: &str) -> io::Result<bool> {
        let name = path.to_owned();
        self.run(DiskOp::Meta, path, move |node, root| node.volume(root).tree.exists(&name)).await
    }

    pub(crate) async fn space(&self) -> io::Result<Space> {
        self.run(DiskOp::Meta, "", |node, root| Ok(node.space(root, PLENTY))).await
    }

    async fn remove_one(&self, path: &str, is_dir: bool) -> io::Result<()> {
        let name = path.to_owned();
        self.run(DiskOp::Meta, path, move |node, root| {
            node.trace("remove", &name, 0, &[]);
            node.volume(root).tree.remove(&name, is_dir)
        })
        .await
    }

    /// Submits something that an injected error replaces.
    async fn run<T: Send + 'static>(
        &self,
        op: DiskOp,
        path: &str,
        f: impl FnOnce(&mut Node, &str) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let root = self.key.clone();
        let effect = move |node: &mut Node, failure: Option<i32>| match failure {
            Some(code) => {
                node.stats.failures += 1;
                Err(errno(code))
            }
            None => f(node, &root),
        };
        self.process.submit(op, self.full(path), None, effect).await
    }

    fn full(&self, path: &str) -> String {
        format!("{}/{path}", self.key)
    }
}

impl File {
    pub(crate) async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        if let Some(read) = self.read_cached(pos, len) {
            return read;
        }
        let ino = self.0.ino;
        let read = move |content: &mut Content| content.cache.read(pos, len).into();
        self.submit(DiskOp::Read, None, self.on_content(ino, read)).await
    }

    pub(crate) fn read_cached(&self, pos: u64, len: usize) -> Option<io::Result<Bytes>> {
        let this = &self.0;
        let read = this.process.with(|node| {
            let cold = node.faults.cold_reads;
            if node.dice.chance(cold) || node.faults.stalled(&this.full, Instant::now()).is_some() {
                return Ok(None);
            }
            if let Some(code) = node.faults.failure(DiskOp::Read, &this.full, &node.dice) {
                node.stats.failures += 1;
                return Err(errno(code));
            }
            let content = node.volume(&this.root).tree.content(this.ino)?;
            Ok(Some(content.cache.read(pos, len).into()))
        });
        read.transpose()
    }

    pub(crate) async fn write_at(&self, pos: u64, bufs: Vec<Bytes>) -> io::Result<()> {
        self.writable(libc::EBADF)?;
        let (ino, root, full) = (self.0.ino, self.0.root.clone(), self.0.full.clone());
        let len = length(&bufs);
        pos.checked_add(len).filter(|end| i64::try_from(*end).is_ok()).ok_or_else(|| errno(libc::EINVAL))?;
        let underway = Underway { root: root.clone(), full: full.clone(), ino, pos, bufs: bufs.clone() };
        self.submit(DiskOp::Write, Some(underway), move |node, failure| {
            let free = node.free(&root);
            let dice = node.dice.clone();
            let content = node.volume(&root).tree.content(ino)?;
            let fits = free.filter(|free| content.needed(pos, len) > *free);
            let error = failure.or(fits.map(|_| libc::ENOSPC));
            // A write that fails may have been begun.
            let done = match error {
                Some(_) => dice.below(fits.unwrap_or(len).min(len) + 1),
                None => len,
            };
            prefix(pos, &bufs, done).for_each(|(pos, bytes)| content.write(pos, bytes));
            node.stats.writes += 1;
            node.stats.bytes_written += done;
            prefix(pos, &bufs, done).for_each(|(pos, bytes)| node.trace("write", &full, pos, &bytes));
            match error {
                None => Ok(()),
                Some(code) => {
                    node.count_failed(failure);
                    Err(errno(code))
                }
            }
        })
        .await
    }

    /// The write; and the sync that follows it, which runs as long as the file is open.
    pub(crate) async fn write_and_begin_sync(
        &self,
        pos: u64,
        bufs: Vec<Bytes>,
    ) -> io::Result<impl Future<Output = io::Result<()>>> {
        self.write_at(pos, bufs).await?;
        let file = self.clone();
        let sync = crate::task::spawn("disk: early sync", async move { file.sync_data().await });
        Ok(async move { sync.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped))) })
    }

    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        let (ino, root, full) = (self.0.ino, self.0.root.clone(), self.0.full.clone());
        let sync_failed = self.0.sync_failed.clone();
        let changes = self.on_cache(|content| content.changes())?;
        self.submit(DiskOp::Sync, None, move |node, failure| {
            let dice = node.dice.clone();
            let content = node.volume(&root).tree.content(ino)?;
            match failure {
                None => {
                    content.sync(changes, &dice);
                    node.stats.syncs += 1;
                    node.trace("sync", &full, changes, &[]);
                    Ok(())
                }
                Some(code) => {
                    let loss = content.sync_failed(&dice);
                    node.count_loss(loss);
                    node.stats.failures += 1;
                    node.trace("failed sync", &full, changes, &[]);
                    sync_failed.store(true, Ordering::Relaxed);
                    Err(errno(code))
                }
            }
        })
        .await
    }

    pub(crate) fn sync_has_failed(&self) -> bool {
        self.0.sync_failed.load(Ordering::Relaxed)
    }

    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.writable(libc::EINVAL)?;
        self.change("truncate", len, move |content| content.truncate(len)).await
    }

    pub(crate) async fn allocate(&self, len: u64) -> io::Result<()> {
        self.writable(libc::EBADF)?;
        let (ino, root, full) = (self.0.ino, self.0.root.clone(), self.0.full.clone());
        self.submit(DiskOp::Write, None, move |node, failure| {
            let free = node.free(&root);
            let content = node.volume(&root).tree.content(ino)?;
            let full_disk = free.is_some_and(|free| len.saturating_sub(content.used()) > free);
            if let Some(code) = failure.or(full_disk.then_some(libc::ENOSPC)) {
                node.count_failed(failure);
                return Err(errno(code));
            }
            content.allocate(len);
            node.trace("allocate", &full, len, &[]);
            Ok(())
        })
        .await
    }

    pub(crate) async fn len(&self) -> io::Result<u64> {
        let read = |content: &mut Content| content.cache.len();
        self.submit(DiskOp::Meta, None, self.on_content(self.0.ino, read)).await
    }

    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    pub(crate) fn full_path(&self) -> Arc<str> {
        self.0.full.clone()
    }

    fn writable(&self, code: i32) -> io::Result<()> {
        match self.0.how {
            Open::Read => Err(errno(code)),
            Open::Write | Open::Create | Open::CreateNew => Ok(()),
        }
    }

    fn on_cache<T>(&self, f: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let this = &self.0;
        this.process.with(|node| node.volume(&this.root).tree.content(this.ino).map(f))
    }

    async fn change(
        &self,
        what: &'static str,
        pos: u64,
        f: impl FnOnce(&mut Content) + Send + 'static,
    ) -> io::Result<()> {
        let full = self.0.full.clone();
        let effect = self.on_content(self.0.ino, f);
        self.submit(DiskOp::Write, None, move |node, failure| {
            effect(node, failure)?;
            node.trace(what, &full, pos, &[]);
            Ok(())
        })
        .await
    }

    /// An effect on the content that an injected error replaces.
    fn on_content<T: Send + 'static>(
        &self,
        ino: Ino,
        f: impl FnOnce(&mut Content) -> T + Send + 'static,
    ) -> impl Effect<T> {
        let root = self.0.root.clone();
        move |node: &mut Node, failure: Option<i32>| match failure {
            Some(code) => {
                node.stats.failures += 1;
                Err(errno(code))
            }
            None => node.volume(&root).tree.content(ino).map(f),
        }
    }

    async fn submit<T: Send + 'static>(
        &self,
        op: DiskOp,
        underway: Option<Underway>,
        effect: impl Effect<T>,
    ) -> io::Result<T> {
        self.0.process.submit(op, self.0.full.clone(), underway, effect).await
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Of a dead process nothing is open.
        let _dead = self.process.with(|node| {
            node.volume(&self.root).tree.close(self.ino);
            Ok(())
        });
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        let _dead = self.process.with(|node| {
            let locks = &mut node.volume(&self.root).locks;
            if locks.get(&self.name) == Some(&self.token) {
                locks.remove(&self.name);
            }
            Ok(())
        });
    }
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirLock({}/{})", self.root, self.name)
    }
}
