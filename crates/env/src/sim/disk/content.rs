//! What a file holds: the page cache's view, the disk's view, and the changes that only the first has.

use bytes::Bytes;

use super::crash::{self, Loss};
use super::image::{Image, PAGE};
use crate::sim::Stream;

/// When this much waits to be written back, the kernel begins to do so by itself.
const DIRTY_BYTES_MAX: u64 = 8 << 20;
const DIRTY_CHANGES_MAX: usize = 4096;

/// A change of a file that the disk may not have yet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write {
        pos: u64,
        bytes: Bytes,
    },
    /// A new length: a truncation, or an allocation that extended the file.
    Len(u64),
}

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) cache: Image,
    pub(super) durable: Image,
    /// Oldest first. `durable` with all of them is `cache`, unless a failed sync has dropped some.
    dirty: Vec<Change>,
    /// How many changes were ever taken off the front of `dirty`: with its length the sequence number of
    /// the next one.
    settled: u64,
    dirty_bytes: u64,
    /// The space that was allocated, in bytes from the start.
    reserved: u64,
}

impl Content {
    pub(super) fn write(&mut self, pos: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.cache.write(pos, &bytes);
        self.dirty_bytes += bytes.len() as u64;
        // A copy, as the kernel makes one: the writer's buffer is its own again, and may carry more than bytes.
        self.dirty.push(Change::Write { pos, bytes: Bytes::copy_from_slice(&bytes) });
        if self.dirty_bytes > DIRTY_BYTES_MAX || self.dirty.len() > DIRTY_CHANGES_MAX {
            self.write_back(self.dirty.len() / 2 + 1);
        }
    }

    pub(super) fn truncate(&mut self, len: u64) {
        if len == self.cache.len() {
            return;
        }
        self.cache.set_len(len);
        self.reserved = self.reserved.min(len);
        self.dirty.push(Change::Len(len));
    }

    pub(super) fn allocate(&mut self, len: u64) {
        if len > self.cache.len() {
            self.truncate(len);
        }
        self.reserved = self.reserved.max(len);
    }

    /// The number of changes so far: what a sync that begins now must make durable.
    pub(super) fn changes(&self) -> u64 {
        self.settled + self.dirty.len() as u64
    }

    /// Makes the first `changes` durable, and those made since then or not, as it happens.
    pub(super) fn sync(&mut self, changes: u64, dice: &Stream) {
        let due = (changes.saturating_sub(self.settled) as usize).min(self.dirty.len());
        let due = if due < self.dirty.len() && dice.chance(0.5) { self.dirty.len() } else { due };
        self.write_back(due);
    }

    /// What Linux does when a sync fails: some of the dirty pages have reached the disk, all are clean from
    /// now on, so that the next sync succeeds without them; the cache keeps showing them or forgets them.
    pub(super) fn sync_failed(&mut self, dice: &Stream) -> Loss {
        let len = self.cache.len();
        let dirty = self.take_dirty();
        let loss = crash::settle(&mut self.durable, dirty, dice);
        if dice.chance(0.5) {
            self.cache = self.durable.clone();
            self.cache.set_len(len);
        }
        // The length is the inode's, which stays dirty.
        if self.durable.len() != len {
            self.dirty.push(Change::Len(len));
        }
        loss
    }

    /// The power went: what was not written is lost in part, and the cache is gone.
    pub(super) fn power_lost(&mut self, dice: &Stream) -> Loss {
        let dirty = self.take_dirty();
        let loss = crash::settle(&mut self.durable, dirty, dice);
        self.cache = self.durable.clone();
        self.reserved = self.reserved.min(self.cache.len());
        loss
    }

    /// Up to where nothing but what is durable is to be seen.
    pub(super) fn durable_len(&self) -> u64 {
        let touched = self.dirty.iter().map(|change| match change {
            Change::Write { pos, .. } => *pos,
            Change::Len(len) => *len,
        });
        touched.chain([self.durable.len(), self.cache.len()]).min().unwrap_or(0)
    }

    /// Bytes of storage taken.
    pub(super) fn used(&self) -> u64 {
        let reserved = self.reserved.next_multiple_of(PAGE);
        reserved + self.cache.pages_from(reserved) * PAGE
    }

    /// Bytes of storage that a write would take in addition.
    pub(super) fn needed(&self, pos: u64, len: u64) -> u64 {
        let start = pos.max(self.reserved.next_multiple_of(PAGE));
        self.cache.holes(start..pos + len) * PAGE
    }

    fn take_dirty(&mut self) -> Vec<Change> {
        self.settled = self.changes();
        self.dirty_bytes = 0;
        std::mem::take(&mut self.dirty)
    }

    /// Writes the oldest `count` changes to the disk.
    fn write_back(&mut self, count: usize) {
        let whole = count == self.dirty.len();
        for change in self.dirty.drain(..count) {
            self.settled += 1;
            match change {
                Change::Len(len) => self.durable.set_len(len),
                Change::Write { pos, bytes } => {
                    let end = pos + bytes.len() as u64;
                    self.dirty_bytes -= bytes.len() as u64;
                    // Pages go to the disk whole, but not with changes that are not due yet.
                    match whole {
                        true => self.durable.take_pages(&self.cache, pos..end),
                        false => self.durable.write(pos, &bytes),
                    }
                }
            }
        }
        if whole {
            self.durable.set_len(self.cache.len());
        }
    }
}
