//! What is left of changes that the disk had not confirmed when the power went.
//!
//! A sector holds what it held after some prefix of the changes to it: the cache only ever has the newest
//! content, so an older one cannot overwrite a newer. Different sectors are independent of each other. The
//! length is metadata, which is journalled in order: when a change of it is lost, so is what follows.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Change;
use super::image::{sectors, Image, SECTOR};
use super::tree::{Dir, DirChange, Ino, Place};
use crate::sim::Stream;

/// What a loss of power took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) bytes: u64,
    pub(super) torn_writes: u64,
    pub(super) names: u64,
}

impl Loss {
    pub(super) fn add(&mut self, other: Loss) {
        self.bytes += other.bytes;
        self.torn_writes += other.torn_writes;
        self.names += other.names;
    }
}

/// How much of a file's or directory's unconfirmed changes survives.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    /// The oldest so many; of a write that is next, a part.
    Prefix(usize),
    /// Each with this probability, as far as order allows.
    Scattered(f64),
}

impl Luck {
    fn draw(changes: usize, dice: &Stream) -> Luck {
        match dice.below(8) {
            0 | 1 => Luck::Nothing,
            2 => Luck::Everything,
            3..=5 => Luck::Prefix(dice.below(changes as u64 + 1) as usize),
            _ => Luck::Scattered([0.1, 0.5, 0.9][dice.below(3) as usize]),
        }
    }
}

/// Applies to `disk` what survives of `dirty`.
pub(super) fn settle(disk: &mut Image, dirty: Vec<Change>, dice: &Stream) -> Loss {
    let mut loss = Loss::default();
    if dirty.is_empty() {
        return loss;
    }
    let luck = Luck::draw(dirty.len(), dice);
    if let Luck::Scattered(survival) = luck {
        return scatter(disk, dirty, survival, dice);
    }
    for (i, change) in dirty.into_iter().enumerate() {
        let (kept, next) = match luck {
            Luck::Everything => (true, false),
            Luck::Prefix(count) => (i < count, i == count),
            _ => (false, false),
        };
        match change {
            Change::Len(len) if kept => disk.set_len(len),
            Change::Len(_) => {}
            Change::Write { pos, bytes } if kept => disk.write(pos, &bytes),
            Change::Write { pos, bytes } => {
                let mut left = 0;
                if next {
                    left = tear(pos, bytes.len(), dice);
                    disk.write(pos, &bytes[..left]);
                    loss.torn_writes += u64::from(left > 0);
                }
                loss.bytes += (bytes.len() - left) as u64;
            }
        }
    }
    loss
}

/// How much of a torn write is left: up to a sector's border, or up to any byte.
fn tear(pos: u64, len: usize, dice: &Stream) -> usize {
    let left = dice.below(len as u64);
    match dice.chance(0.5) {
        true => ((pos + left) / SECTOR * SECTOR).saturating_sub(pos) as usize,
        false => left as usize,
    }
}

fn scatter(disk: &mut Image, dirty: Vec<Change>, survival: f64, dice: &Stream) -> Loss {
    let mut loss = Loss::default();
    let mut stopped = BTreeSet::new();
    let mut tears = u64::from(dice.chance(0.5));
    let mut reach = disk.len();
    let mut cut = false;
    for change in dirty {
        match change {
            Change::Len(_) if cut => {}
            Change::Len(len) => match dice.chance(survival) {
                true => {
                    disk.set_len(len);
                    reach = len;
                }
                false => cut = true,
            },
            Change::Write { bytes, .. } if cut => loss.bytes += bytes.len() as u64,
            Change::Write { pos, bytes } => {
                let end = pos + bytes.len() as u64;
                let lost_before = loss.bytes;
                for (sector, within, at) in sectors(pos..end) {
                    let piece = &bytes[at..at + (within.end - within.start) as usize];
                    if !stopped.contains(&sector) && dice.chance(survival) {
                        disk.write(pos + at as u64, piece);
                        continue;
                    }
                    let mut left = 0;
                    if stopped.insert(sector) && tears > 0 {
                        tears -= 1;
                        left = dice.below(piece.len() as u64) as usize;
                        disk.write(pos + at as u64, &piece[..left]);
                    }
                    loss.bytes += (piece.len() - left) as u64;
                }
                let lost = loss.bytes - lost_before;
                loss.torn_writes += u64::from(lost > 0 && lost < bytes.len() as u64);
                reach = reach.max(end);
            }
        }
    }
    // The new length may have been written although the data was not: then it reads as zeros.
    if reach > disk.len() && dice.chance(0.25) {
        disk.set_len(reach);
    }
    loss
}

/// Applies to the durable entries of the directories what survives of the changes, and makes them the only
/// view. A lost change takes with it what was done later to the same names and files.
pub(super) fn settle_names(dirs: &mut BTreeMap<Ino, Dir>, changes: Vec<DirChange>, dice: &Stream) -> Loss {
    let mut loss = Loss::default();
    let luck = if changes.is_empty() { Luck::Nothing } else { Luck::draw(changes.len(), dice) };
    let mut lost_places: BTreeSet<Place> = BTreeSet::new();
    let mut lost_inodes: BTreeSet<Ino> = BTreeSet::new();
    for (i, change) in changes.into_iter().enumerate() {
        let lucky = match luck {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::Prefix(count) => i < count,
            Luck::Scattered(survival) => dice.chance(survival),
        };
        let free = !lost_inodes.contains(&change.ino())
            && change.places().iter().all(|place| !lost_places.contains(*place));
        if lucky && free {
            change.apply(dirs);
        } else {
            loss.names += 1;
            lost_inodes.insert(change.ino());
            lost_places.extend(change.places().into_iter().cloned());
        }
    }
    for dir in dirs.values_mut() {
        dir.names = dir.durable.clone();
    }
    loss
}
