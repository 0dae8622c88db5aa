//! The behaviour that both back ends share, against a model of a file system; and what only the production
//! back end can show.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

#[cfg(not(madsim))]
fn run<F: Future>(f: impl FnOnce(Disk) -> F) -> F::Output {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(f(Disk::open(dir.path()).unwrap()))
}

#[cfg(madsim)]
fn run<F: Future>(f: impl FnOnce(Disk) -> F) -> F::Output {
    let runtime = madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default());
    crate::sim::install(&runtime, 1, crate::sim::Options::default());
    runtime.block_on(async { f(Disk::open(Path::new("/data")).unwrap()).await })
}

#[derive(Clone, Debug)]
enum Op {
    Open(&'static str, Open),
    Write { handle: usize, pos: u64, bufs: Vec<Vec<u8>>, begin_sync: bool },
    Read { handle: usize, pos: u64, len: usize },
    Truncate { handle: usize, len: u64 },
    Allocate { handle: usize, len: u64 },
    Sync { handle: usize },
    Close { handle: usize },
    CreateDirAll(&'static str),
    RemoveDir(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    SyncDir(&'static str),
    Exists(&'static str),
}

const PATHS: [&str; 7] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"];

fn op() -> impl Strategy<Value = Op> {
    let path = || prop::sample::select(&PATHS[..]);
    let how = prop::sample::select(&[Open::Read, Open::Write, Open::Create, Open::CreateNew][..]);
    let handle = || 0..4usize;
    let place = || 0..12_000u64;
    let bufs = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..4);
    prop_oneof![
        6 => (path(), how).prop_map(|(path, how)| Op::Open(path, how)),
        8 => (handle(), place(), bufs, any::<bool>())
            .prop_map(|(handle, pos, bufs, begin_sync)| Op::Write { handle, pos, bufs, begin_sync }),
        6 => (handle(), place(), 0..9000usize).prop_map(|(handle, pos, len)| Op::Read { handle, pos, len }),
        2 => (handle(), place()).prop_map(|(handle, len)| Op::Truncate { handle, len }),
        2 => (handle(), place()).prop_map(|(handle, len)| Op::Allocate { handle, len }),
        1 => handle().prop_map(|handle| Op::Sync { handle }),
        1 => handle().prop_map(|handle| Op::Close { handle }),
        3 => path().prop_map(Op::CreateDirAll),
        1 => path().prop_map(Op::RemoveDir),
        3 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => path().prop_map(Op::Remove),
        1 => prop::sample::select(&["", "d", "d/e"][..]).prop_map(Op::SyncDir),
        1 => path().prop_map(Op::Exists),
    ]
}

/// Names lead to files (by number) or are directories.
#[derive(Clone, Debug, Default)]
struct Model {
    names: BTreeMap<String, Option<usize>>,
    files: Vec<Vec<u8>>,
}

impl Model {
    fn parent_is_dir(&self, path: &str) -> bool {
        path.rsplit_once('/').is_none_or(|(dir, _)| self.names.get(dir) == Some(&None))
    }

    fn below<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = &'a String> {
        self.names.keys().filter(move |name| name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The number of the file opened, or none if that is an error.
    fn open(&mut self, path: &str, how: Open) -> Option<usize> {
        match (self.names.get(path), how) {
            (Some(_), Open::CreateNew) => None,
            (Some(file), _) => *file,
            (None, Open::Read | Open::Write) => None,
            (None, Open::Create | Open::CreateNew) => self.parent_is_dir(path).then(|| {
                self.files.push(vec![]);
                self.names.insert(path.to_owned(), Some(self.files.len() - 1));
                self.files.len() - 1
            }),
        }
    }

    fn create_dir_all(&mut self, path: &str) -> bool {
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        ends.into_iter().all(|end| self.names.entry(path[..end].to_owned()).or_insert(None).is_none())
    }

    fn remove_dir(&mut self, path: &str) -> bool {
        let is_dir = self.names.get(path) == Some(&None);
        if is_dir {
            let below = format!("{path}/");
            self.names.retain(|name, _| name != path && !name.starts_with(&below));
        }
        is_dir
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(moved) = self.names.get(from).copied() else { return false };
        if from == to {
            return true;
        }
        let fits = match (moved, self.names.get(to)) {
            (_, None) => self.parent_is_dir(to),
            (Some(_), Some(old)) => old.is_some(),
            (None, Some(old)) => old.is_none() && self.below(to).next().is_none(),
        };
        if !fits || to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return false;
        }
        let below: Vec<String> = self.below(from).cloned().collect();
        for old in below {
            let node = self.names.remove(&old).unwrap();
            self.names.insert(format!("{to}{}", &old[from.len()..]), node);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), moved);
        true
    }

    fn list(&self, dir: &str) -> Vec<DirEntry> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let entry = |(path, node): (&String, &Option<usize>)| {
            let name = path.strip_prefix(&prefix)?.to_owned();
            let len = node.map_or(0, |file| self.files[file].len() as u64);
            (!name.contains('/')).then_some(DirEntry { name, is_dir: node.is_none(), len })
        };
        self.names.iter().filter_map(entry).collect()
    }
}

fn slice(content: &[u8], pos: u64, len: usize) -> &[u8] {
    let start = content.len().min(pos as usize);
    &content[start..content.len().min(start + len)]
}

struct Opened {
    file: File,
    number: usize,
    writable: bool,
}

/// Writes to the file, and to `content` what it is to hold then.
async fn write(
    file: &File,
    content: &mut Vec<u8>,
    writable: bool,
    pos: u64,
    bufs: Vec<Vec<u8>>,
    begin_sync: bool,
) {
    let bytes: Vec<u8> = bufs.concat();
    let bufs = bufs.into_iter().map(Bytes::from).collect();
    let got = match begin_sync {
        true => file.write_and_begin_sync(pos, bufs).await,
        false => file.write_at(pos, bufs).await,
    };
    if bytes.is_empty() {
        return;
    }
    assert_eq!(got.is_ok(), writable, "{got:?}");
    if writable {
        let end = pos as usize + bytes.len();
        content.resize(content.len().max(end), 0);
        content[pos as usize..end].copy_from_slice(&bytes);
    }
}

async fn step(disk: &Disk, model: &mut Model, open: &mut Vec<Opened>, op: Op) {
    match op {
        Op::Open(path, how) => {
            let expected = model.open(path, how);
            let got = disk.open_file(path, how).await;
            assert_eq!(got.is_ok(), expected.is_some(), "{got:?}");
            if let (Ok(file), Some(number)) = (got, expected) {
                assert_eq!(file.path(), path);
                open.push(Opened { file, number, writable: how != Open::Read });
            }
        }
        Op::Write { handle, pos, bufs, begin_sync } => {
            let Some(Opened { file, number, writable }) = open.get(handle) else { return };
            let content = &mut model.files[*number];
            write(file, content, *writable, pos, bufs, begin_sync).await;
        }
        Op::Read { handle, pos, len } => {
            let Some(Opened { file, number, .. }) = open.get(handle) else { return };
            let expected = slice(&model.files[*number], pos, len);
            assert_eq!(file.read_at(pos, len).await.unwrap(), expected);
            if let Some(cached) = file.read_cached(pos, len) {
                assert_eq!(cached.unwrap(), expected);
            }
        }
        Op::Truncate { handle, len } => {
            let Some(Opened { file, number, writable }) = open.get(handle) else { return };
            assert_eq!(file.truncate(len).await.is_ok(), *writable);
            if *writable {
                model.files[*number].resize(len as usize, 0);
            }
        }
        Op::Allocate { handle, len } => {
            let Some(Opened { file, number, writable }) = open.get(handle) else { return };
            assert_eq!(file.allocate(len).await.is_ok(), *writable || len == 0);
            let content = &mut model.files[*number];
            if *writable {
                content.resize(content.len().max(len as usize), 0);
            }
        }
        Op::Sync { handle } => {
            let Some(Opened { file, .. }) = open.get(handle) else { return };
            file.sync_data().await.unwrap();
        }
        Op::Close { handle } => {
            if handle < open.len() {
                open.swap_remove(handle);
            }
        }
        Op::CreateDirAll(path) => {
            assert_eq!(disk.create_dir_all(path).await.is_ok(), model.create_dir_all(path));
        }
        Op::RemoveDir(path) => assert_eq!(disk.remove_dir(path).await.is_ok(), model.remove_dir(path)),
        Op::Rename(from, to) => assert_eq!(disk.rename(from, to).await.is_ok(), model.rename(from, to)),
        Op::Remove(path) => {
            let is_file = model.names.get(path).is_some_and(Option::is_some);
            assert_eq!(disk.remove(path).await.is_ok(), is_file);
            if is_file {
                model.names.remove(path);
            }
        }
        Op::SyncDir(dir) => {
            let is_dir = dir.is_empty() || model.names.get(dir) == Some(&None);
            assert_eq!(disk.sync_dir(dir).await.is_ok(), is_dir);
        }
        Op::Exists(path) => {
            // Below a file the answer is an error.
            if let Ok(exists) = disk.exists(path).await {
                assert_eq!(exists, model.names.contains_key(path));
            }
        }
    }
}

async fn follow(disk: Disk, ops: Vec<Op>) {
    let mut model = Model::default();
    let mut open = vec![];
    for op in ops {
        step(&disk, &mut model, &mut open, op).await;
    }
    assert_eq!(disk.list("").await.unwrap(), model.list(""));
    for (path, node) in &model.names {
        match node {
            None => assert_eq!(disk.list(path).await.unwrap(), model.list(path)),
            Some(number) => {
                let file = disk.open_file(path, Open::Read).await.unwrap();
                let content = &model.files[*number];
                assert_eq!(file.len().await.unwrap(), content.len() as u64);
                assert_eq!(file.read_at(0, usize::MAX / 4).await.unwrap(), content);
            }
        }
    }
    for Opened { file, number, .. } in &open {
        assert_eq!(file.read_at(0, 1 << 20).await.unwrap(), model.files[*number]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_shows_what_a_simple_model_shows(ops in prop::collection::vec(op(), 0..60)) {
        run(|disk| follow(disk, ops));
    }
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    run(|disk| async move {
        for path in ["/etc", "..", "a/../b", "a//b", "./a", "a/", "a\0b"] {
            let error = disk.open_file(path, Open::Create).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    });
}

#[test]
fn a_lock_is_exclusive_until_dropped() {
    run(|disk| async move {
        let again = Disk::open(disk.root()).unwrap();
        let held = disk.lock(".lock").await.unwrap();
        assert_eq!(again.lock(".lock").await.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        again.lock(".lock").await.unwrap();
    });
}

#[test]
fn more_buffers_than_one_call_takes_are_written_in_order() {
    run(|disk| async move {
        let file = disk.open_file("f", Open::CreateNew).await.unwrap();
        let bufs: Vec<Bytes> = (0..5000u32).map(|i| Bytes::copy_from_slice(&i.to_le_bytes())).collect();
        let expected = bufs.concat();
        file.write_at(7, bufs).await.unwrap();
        assert_eq!(file.read_at(7, 1 << 20).await.unwrap(), expected);
        assert_eq!(file.len().await.unwrap(), 7 + 20_000);
    });
}

#[test]
fn errors_keep_their_number() {
    run(|disk| async move {
        let missing = disk.open_file("missing", Open::Write).await.unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        disk.open_file("f", Open::CreateNew).await.unwrap();
        let taken = disk.open_file("f", Open::CreateNew).await.unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(libc::EEXIST));
        let read_only = disk.open_file("f", Open::Read).await.unwrap();
        let refused = read_only.write_at(0, vec![Bytes::from_static(b"x")]).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn the_space_of_the_file_system_is_known() {
    run(|disk| async move {
        let space = disk.space().await.unwrap();
        assert!(space.usable > 0 && space.total >= space.usable, "{space:?}");
    });
}

#[test]
fn a_write_that_was_begun_lands_though_its_future_is_dropped() {
    run(|disk| async move {
        let file = disk.open_file("f", Open::CreateNew).await.unwrap();
        let mut write = Box::pin(file.write_at(0, vec![Bytes::from_static(b"landed")]));
        // It may even be done: the workers do not wait for this thread.
        let _begun = futures::poll!(&mut write);
        drop(write);
        while file.len().await.unwrap() < 6 {
            crate::clock::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(file.read_at(0, 10).await.unwrap(), "landed");
    });
}

/// A device whose sync fails stands in for a disk that does; simulated disks fail by themselves.
#[cfg(not(madsim))]
#[test]
fn nothing_is_read_through_a_handle_of_which_a_sync_has_failed() {
    run(|disk| async move {
        std::os::unix::fs::symlink("/dev/zero", disk.root().join("f")).unwrap();
        for begins_with_the_write in [false, true] {
            let file = disk.open_file("f", Open::Write).await.unwrap();
            assert_eq!(file.read_at(0, 4).await.unwrap(), [0; 4][..]);
            if begins_with_the_write {
                file.write_and_begin_sync(0, vec![Bytes::from_static(b"x")]).await.unwrap();
            }
            assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            assert!(file.read_at(0, 4).await.is_err());
            assert!(file.read_cached(0, 4).is_none_or(|read| read.is_err()));
            let other = disk.open_file("f", Open::Read).await.unwrap();
            assert_eq!(other.read_at(0, 4).await.unwrap(), [0; 4][..]);
        }
    });
}
