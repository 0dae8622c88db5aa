//! The files and directories of one disk: what processes see, and what is durable.
//!
//! Names are changed in the view of the processes at once and on the disk when their directory is synced,
//! each change as a whole (a rename is never half done). Files are found by inode: whoever has one open
//! keeps it, whatever becomes of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::content::Content;
use super::crash::{self, Loss};
use crate::disk::{DirEntry, Open};
use crate::sim::Stream;

/// When so many changes of names wait, the oldest become durable by themselves.
const CHANGES_MAX: usize = 1024;

pub(super) type Ino = u64;
/// A name in a directory.
pub(super) type Place = (Ino, String);

const ROOT: Ino = 0;

#[derive(Debug, Default)]
pub(super) struct Dir {
    pub(super) names: BTreeMap<String, Ino>,
    pub(super) durable: BTreeMap<String, Ino>,
}

/// A change of names that the disk does not have yet.
#[derive(Clone, Debug)]
pub(super) enum DirChange {
    Link { at: Place, ino: Ino },
    Unlink { at: Place, ino: Ino },
    Rename { from: Place, to: Place, ino: Ino },
}

impl DirChange {
    pub(super) fn ino(&self) -> Ino {
        match self {
            DirChange::Link { ino, .. } | DirChange::Unlink { ino, .. } | DirChange::Rename { ino, .. } => {
                *ino
            }
        }
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        match self {
            DirChange::Link { at, .. } | DirChange::Unlink { at, .. } => vec![at],
            DirChange::Rename { from, to, .. } => vec![from, to],
        }
    }

    /// Applies it to the durable names.
    pub(super) fn apply(&self, dirs: &mut BTreeMap<Ino, Dir>) {
        let mut set = |(dir, name): &Place, ino: Option<Ino>| {
            // A directory that is gone takes its names along.
            let Some(dir) = dirs.get_mut(dir) else { return };
            match ino {
                Some(ino) => dir.durable.insert(name.clone(), ino),
                None => dir.durable.remove(name),
            };
        };
        match self {
            DirChange::Link { at, ino } => set(at, Some(*ino)),
            DirChange::Unlink { at, .. } => set(at, None),
            DirChange::Rename { from, to, ino } => {
                set(from, None);
                set(to, Some(*ino));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Node {
    content: Content,
    opens: u64,
}

#[derive(Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<Ino, Dir>,
    files: BTreeMap<Ino, Node>,
    next: Ino,
    /// Oldest first.
    changes: Vec<DirChange>,
}

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            dirs: BTreeMap::from([(ROOT, Dir::default())]),
            files: BTreeMap::new(),
            next: ROOT + 1,
            changes: Vec::new(),
        }
    }

    /// Opens a file and counts the handle; [`Tree::close`] gives it back.
    pub(super) fn open(&mut self, path: &str, how: Open) -> io::Result<Ino> {
        let ino = match (self.lookup(path), how) {
            (Ok(_), Open::CreateNew) => return Err(errno(libc::EEXIST)),
            (Ok(ino), _) if self.dirs.contains_key(&ino) => return Err(errno(libc::EISDIR)),
            (Ok(ino), _) => ino,
            (Err(error), Open::Create | Open::CreateNew) if error.raw_os_error() == Some(libc::ENOENT) => {
                let at = self.place(path)?;
                let ino = self.next_ino();
                self.files.insert(ino, Node::default());
                self.link(at, ino);
                ino
            }
            (Err(error), _) => return Err(error),
        };
        if let Some(node) = self.files.get_mut(&ino) {
            node.opens += 1;
        }
        Ok(ino)
    }

    pub(super) fn close(&mut self, ino: Ino) {
        let Some(node) = self.files.get_mut(&ino) else { return };
        node.opens -= 1;
        if node.opens == 0 && !self.is_named(ino) {
            self.files.remove(&ino);
        }
    }

    /// Handles on files.
    pub(super) fn opens(&self) -> u64 {
        self.files.values().map(|node| node.opens).sum()
    }

    pub(super) fn content(&mut self, ino: Ino) -> io::Result<&mut Content> {
        self.files.get_mut(&ino).map(|node| &mut node.content).ok_or_else(|| errno(libc::ESTALE))
    }

    pub(super) fn find(&mut self, path: &str) -> io::Result<&mut Content> {
        let ino = self.lookup(path)?;
        self.content(ino)
    }

    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        match self.lookup(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn create_dir_all(&mut self, path: &str) -> io::Result<()> {
        let mut dir = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let names = &self.dirs.get(&dir).ok_or_else(|| errno(libc::ENOTDIR))?.names;
            dir = match names.get(name) {
                Some(ino) => *ino,
                None => {
                    let ino = self.next_ino();
                    self.dirs.insert(ino, Dir::default());
                    self.link((dir, name.to_owned()), ino);
                    ino
                }
            };
        }
        match self.dirs.contains_key(&dir) {
            true => Ok(()),
            false => Err(errno(libc::EEXIST)),
        }
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, ino): (&String, &Ino)| DirEntry {
            name: name.clone(),
            is_dir: self.dirs.contains_key(ino),
            len: self.files.get(ino).map_or(0, |node| node.content.cache.len()),
        };
        Ok(self.dir(dir)?.1.names.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let ino = self.lookup(from)?;
        let from = self.place(from)?;
        let to_path = to;
        let to = self.place(to_path)?;
        if self.dirs.contains_key(&ino) && self.is_within(to.0, ino) {
            return Err(errno(libc::EINVAL));
        }
        match self.lookup(to_path) {
            Ok(old) if old == ino => return Ok(()),
            Ok(old) => match (self.dirs.contains_key(&ino), self.dirs.get(&old)) {
                (false, Some(_)) => return Err(errno(libc::EISDIR)),
                (true, None) => return Err(errno(libc::ENOTDIR)),
                (true, Some(dir)) if !dir.names.is_empty() => return Err(errno(libc::ENOTEMPTY)),
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.set_name(&from, None);
        self.set_name(&to, Some(ino));
        self.change(DirChange::Rename { from, to, ino });
        Ok(())
    }

    /// Removes a file's name, or an empty directory.
    pub(super) fn remove(&mut self, path: &str, is_dir: bool) -> io::Result<()> {
        let ino = self.lookup(path)?;
        let at = self.place(path)?;
        match (self.dirs.get(&ino), is_dir) {
            (Some(_), false) => return Err(errno(libc::EISDIR)),
            (None, true) => return Err(errno(libc::ENOTDIR)),
            (Some(dir), true) if !dir.names.is_empty() => return Err(errno(libc::ENOTEMPTY)),
            _ => {}
        }
        self.set_name(&at, None);
        self.change(DirChange::Unlink { at, ino });
        Ok(())
    }

    /// What has to be removed, in this order, so that the directory is gone: (path, whether a directory).
    pub(super) fn below(&self, path: &str) -> io::Result<Vec<(String, bool)>> {
        let mut found = vec![(path.to_owned(), true)];
        let mut next = 0;
        while let Some((path, is_dir)) = found.get(next).cloned() {
            if is_dir {
                for entry in self.list(&path)? {
                    let separator = if path.is_empty() { "" } else { "/" };
                    found.push((format!("{path}{separator}{}", entry.name), entry.is_dir));
                }
            }
            next += 1;
        }
        found.reverse();
        Ok(found)
    }

    /// The directory's inode, for [`Tree::sync_dir`].
    pub(super) fn dir_ino(&self, dir: &str) -> io::Result<Ino> {
        Ok(self.dir(dir)?.0)
    }

    /// Makes the changes in this directory durable, and those they build on.
    pub(super) fn sync_dir(&mut self, dir: Ino) {
        let mut places: BTreeSet<Place> = BTreeSet::new();
        let mut inodes: BTreeSet<Ino> = BTreeSet::new();
        let mut due = vec![false; self.changes.len()];
        for (i, change) in self.changes.iter().enumerate().rev() {
            due[i] = inodes.contains(&change.ino())
                || change.places().into_iter().any(|place| place.0 == dir || places.contains(place));
            if due[i] {
                inodes.insert(change.ino());
                places.extend(change.places().into_iter().cloned());
            }
        }
        let mut unnames = false;
        for (change, due) in std::mem::take(&mut self.changes).into_iter().zip(due) {
            match due {
                true => {
                    unnames |= !matches!(change, DirChange::Link { .. });
                    change.apply(&mut self.dirs);
                }
                false => self.changes.push(change),
            }
        }
        // It looks at every name there is.
        if unnames {
            self.forget_unnamed();
        }
    }

    /// All files by path, as a process sees them.
    pub(super) fn walk(&self) -> Vec<(String, &Content)> {
        let mut found = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = todo.pop() {
            if let Some(node) = self.files.get(&ino) {
                found.push((path, &node.content));
            } else if let Some(dir) = self.dirs.get(&ino) {
                let separator = if path.is_empty() { "" } else { "/" };
                todo.extend(dir.names.iter().map(|(name, ino)| (format!("{path}{separator}{name}"), *ino)));
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Bytes of storage that all files take. What was removed takes none, durably removed or not.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<Ino> = self.dirs.values().flat_map(|dir| dir.names.values()).copied().collect();
        let taking = self.files.iter().filter(|(ino, node)| node.opens > 0 || named.contains(ino));
        taking.map(|(_, node)| node.content.used()).sum()
    }

    /// The process is gone and its handles with it.
    pub(super) fn close_all(&mut self) {
        self.files.values_mut().for_each(|node| node.opens = 0);
        self.forget_unnamed();
    }

    /// The power is gone, and with it the process and the page cache.
    pub(super) fn power_lost(&mut self, dice: &Stream) -> Loss {
        let mut loss = crash::settle_names(&mut self.dirs, std::mem::take(&mut self.changes), dice);
        for node in self.files.values_mut() {
            loss.add(node.content.power_lost(dice));
        }
        self.close_all();
        loss
    }

    fn next_ino(&mut self) -> Ino {
        self.next += 1;
        self.next - 1
    }

    fn lookup(&self, path: &str) -> io::Result<Ino> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |dir, name| {
            let dir = self.dirs.get(&dir).ok_or_else(|| errno(libc::ENOTDIR))?;
            dir.names.get(name).copied().ok_or_else(|| errno(libc::ENOENT))
        })
    }

    fn dir(&self, path: &str) -> io::Result<(Ino, &Dir)> {
        let ino = self.lookup(path)?;
        self.dirs.get(&ino).map(|dir| (ino, dir)).ok_or_else(|| errno(libc::ENOTDIR))
    }

    /// Where a name is or would be.
    fn place(&self, path: &str) -> io::Result<Place> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name {
            "" => Err(errno(libc::EBUSY)),
            _ => Ok((self.dir(dir)?.0, name.to_owned())),
        }
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_within(&self, dir: Ino, ancestor: Ino) -> bool {
        dir == ancestor
            || self.dirs.get(&ancestor).is_some_and(|above| {
                above.names.values().any(|ino| self.dirs.contains_key(ino) && self.is_within(dir, *ino))
            })
    }

    fn link(&mut self, at: Place, ino: Ino) {
        self.set_name(&at, Some(ino));
        self.change(DirChange::Link { at, ino });
    }

    fn set_name(&mut self, (dir, name): &Place, ino: Option<Ino>) {
        let Some(dir) = self.dirs.get_mut(dir) else { return };
        match ino {
            Some(ino) => dir.names.insert(name.clone(), ino),
            None => dir.names.remove(name),
        };
    }

    fn change(&mut self, change: DirChange) {
        self.changes.push(change);
        if self.changes.len() > CHANGES_MAX {
            for change in self.changes.drain(..CHANGES_MAX / 2) {
                change.apply(&mut self.dirs);
            }
            self.forget_unnamed();
        }
    }

    /// Whether any name, seen or durable, now or after a change to come, leads to the inode.
    fn is_named(&self, ino: Ino) -> bool {
        self.changes.iter().any(|change| change.ino() == ino)
            || self.dirs.values().any(|dir| dir.names.values().chain(dir.durable.values()).any(|i| *i == ino))
    }

    /// Drops what nothing leads to any more.
    fn forget_unnamed(&mut self) {
        loop {
            // By inode, which are counted from the root on: a set of them costs most of what a busy disk does.
            let mut named = vec![false; self.next as usize];
            named[ROOT as usize] = true;
            self.changes.iter().for_each(|change| named[change.ino() as usize] = true);
            for dir in self.dirs.values() {
                dir.names.values().chain(dir.durable.values()).for_each(|ino| named[*ino as usize] = true);
            }
            self.files.retain(|ino, node| node.opens > 0 || named[*ino as usize]);
            let before = self.dirs.len();
            self.dirs.retain(|ino, _| named[*ino as usize]);
            if self.dirs.len() == before {
                return;
            }
            let dirs = &self.dirs;
            self.changes.retain(|change| change.places().iter().any(|place| dirs.contains_key(&place.0)));
        }
    }
}
