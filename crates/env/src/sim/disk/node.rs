//! What one node has of disks: their content, which outlives its processes, and its faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::crash::Loss;
use super::faults::Faults;
use super::submit::Underway;
use super::tree::Tree;
use crate::disk::Space;
use crate::sim::trace::{digest, Event};
use crate::sim::{Stream, World};

/// What happened on the disks of a node so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Writes that took effect.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Successful syncs of data.
    pub syncs: u64,
    /// Successful syncs of directories.
    pub dir_syncs: u64,
    /// Operations that were made to fail.
    pub failures: u64,
    /// Operations that found no room on the disk.
    pub no_room: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Written bytes that losses of power and failed syncs took away.
    pub bytes_lost: u64,
    /// Writes of which a part was left.
    pub torn_writes: u64,
    /// Creations, renames and removals that were lost.
    pub names_lost: u64,
    /// Bits flipped at rest.
    pub bits_flipped: u64,
}

/// One data directory.
pub(super) struct Volume {
    pub(super) tree: Tree,
    /// The holder of each lock.
    pub(super) locks: BTreeMap<String, u64>,
}

pub(super) struct Node {
    pub(super) key: u64,
    pub(super) world: Arc<World>,
    /// By root.
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) incarnation: u64,
    pub(super) power_fails: bool,
    pub(super) faults: Faults,
    pub(super) stats: DiskStats,
    /// For latencies and faults of operations.
    pub(super) dice: Stream,
    /// For what crashes leave, so that their outcome does not depend on the number of operations before.
    pub(super) crash_dice: Stream,
    last_token: u64,
    underway: BTreeMap<u64, Underway>,
}

impl Node {
    pub(super) fn new(key: u64, world: Arc<World>) -> Node {
        Node {
            key,
            volumes: BTreeMap::new(),
            incarnation: 0,
            power_fails: false,
            faults: Faults::new(),
            stats: DiskStats::default(),
            dice: world.streams().stream(&format!("disk/{key}")),
            crash_dice: world.streams().stream(&format!("disk-crash/{key}")),
            last_token: 0,
            underway: BTreeMap::new(),
            world,
        }
    }

    pub(super) fn volume(&mut self, root: &str) -> &mut Volume {
        if !self.volumes.contains_key(root) {
            let volume = Volume { tree: Tree::new(), locks: BTreeMap::new() };
            self.volumes.insert(root.to_owned(), volume);
        }
        self.volumes.get_mut(root).expect("inserted above")
    }

    /// Bytes that the disk at `root` can still take.
    pub(super) fn free(&mut self, root: &str) -> Option<u64> {
        let capacity = self.faults.capacity(root)?;
        Some(capacity.saturating_sub(self.volume(root).tree.used()))
    }

    /// The disk's size and what is left of it; one without a limit has `plenty` left.
    pub(super) fn space(&mut self, root: &str, plenty: u64) -> Space {
        let used = self.volume(root).tree.used();
        let usable = self.free(root).unwrap_or(plenty);
        Space { total: self.faults.capacity(root).unwrap_or(usable + used), usable }
    }

    /// Registers a write until it takes effect, and returns its ticket.
    pub(super) fn begin(&mut self, write: Underway) -> u64 {
        let ticket = self.next_token();
        self.underway.insert(ticket, write);
        ticket
    }

    pub(super) fn end(&mut self, ticket: u64) {
        self.underway.remove(&ticket);
    }

    /// Counts an operation that was made to fail, or else had no room.
    pub(super) fn count_failed(&mut self, failure: Option<i32>) {
        match failure {
            Some(_) => self.stats.failures += 1,
            None => self.stats.no_room += 1,
        }
    }

    pub(super) fn count_loss(&mut self, loss: Loss) {
        self.stats.bytes_lost += loss.bytes;
        self.stats.torn_writes += loss.torn_writes;
        self.stats.names_lost += loss.names;
    }

    /// A number that this node never uses again.
    pub(super) fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Folds a change into the trace hash.
    pub(super) fn trace(&self, what: &str, path: &str, pos: u64, bytes: &[u8]) {
        let what = digest(what.as_bytes()).rotate_left(1) ^ digest(path.as_bytes());
        let (len, digest) = (bytes.len() as u64, digest(bytes));
        self.world.trace().fold(Event::Disk { node: self.key, what, pos, len, digest });
    }

    /// The process died: its handles and locks are gone, the page cache stays. Of the writes that it was
    /// in, a part has reached the cache.
    pub(super) fn process_died(&mut self) {
        self.incarnation += 1;
        for (_, write) in std::mem::take(&mut self.underway) {
            let total = length(&write.bufs);
            let dice = self.crash_dice.clone();
            let done = match dice.below(3) {
                0 => 0,
                1 => total,
                _ => dice.below(total + 1),
            };
            let parts: Vec<(u64, Bytes)> = prefix(write.pos, &write.bufs, done).collect();
            if let Ok(content) = self.volume(&write.root).tree.content(write.ino) {
                parts.iter().for_each(|(pos, bytes)| content.write(*pos, bytes.clone()));
                parts.iter().for_each(|(pos, bytes)| self.trace("died in", &write.full, *pos, bytes));
            }
        }
        for volume in self.volumes.values_mut() {
            volume.locks.clear();
            volume.tree.close_all();
        }
        if std::mem::take(&mut self.power_fails) {
            self.power_lost();
        }
    }

    fn power_lost(&mut self) {
        self.stats.power_losses += 1;
        let mut loss = Loss::default();
        for volume in self.volumes.values_mut() {
            loss.add(volume.tree.power_lost(&self.crash_dice));
        }
        self.count_loss(loss);
    }
}

/// The total length of the buffers.
pub(super) fn length(bufs: &[Bytes]) -> u64 {
    bufs.iter().map(|buf| buf.len() as u64).sum()
}

/// The first `count` bytes of the buffers, each with the position it is written to.
pub(super) fn prefix(pos: u64, bufs: &[Bytes], count: u64) -> impl Iterator<Item = (u64, Bytes)> + '_ {
    let mut done = 0;
    bufs.iter().map_while(move |buf| {
        let part = buf.slice(..buf.len().min((count - done) as usize));
        let at = pos + done;
        done += part.len() as u64;
        (at < pos + count).then_some((at, part))
    })
}
