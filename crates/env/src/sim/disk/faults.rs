//! What goes wrong on the disks of one node, and how long things take.
//!
//! Paths in rules are whole ones, root included, as the node sees them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::sim::Stream;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskOp {
    /// Reads that miss the page cache.
    Read,
    /// Writes, truncations and allocations.
    Write,
    /// Syncs of data and of directories.
    Sync,
    /// Opening, listing, renaming, removing.
    Meta,
}

/// How long operations take, drawn evenly from these ranges.
#[derive(Clone, Debug)]
pub struct Latency {
    pub read: Range<Duration>,
    pub write: Range<Duration>,
    pub sync: Range<Duration>,
    pub meta: Range<Duration>,
    /// The part of operations that takes [`Latency::SLOW`] times as long.
    pub slow: f64,
}

impl Latency {
    /// How much longer a slow operation takes.
    pub const SLOW: u32 = 20;

    fn draw(&self, op: DiskOp, dice: &Stream) -> Duration {
        let range = match op {
            DiskOp::Read => &self.read,
            DiskOp::Write => &self.write,
            DiskOp::Sync => &self.sync,
            DiskOp::Meta => &self.meta,
        };
        let time = dice.duration(range.clone());
        if dice.chance(self.slow) {
            time * Self::SLOW
        } else {
            time
        }
    }
}

impl Default for Latency {
    /// A solid-state disk.
    fn default() -> Self {
        let micros = |range: Range<u64>| Duration::from_micros(range.start)..Duration::from_micros(range.end);
        Latency {
            read: micros(20..300),
            write: micros(4..40),
            sync: micros(50..2_000),
            meta: micros(10..200),
            slow: 0.005,
        }
    }
}

/// Which operations fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The next so many.
    Next(u64),
    /// Each with this probability.
    Probability(f64),
}

/// A rule that makes operations fail.
#[derive(Clone, Debug)]
pub struct Failure {
    pub op: DiskOp,
    /// Strikes paths that contain this; all if empty.
    pub path: String,
    pub when: When,
    /// The error, as `libc::EIO`.
    pub errno: i32,
}

#[derive(Clone, Debug)]
struct Stall {
    prefix: String,
    until: Instant,
}

/// A rule in force.
#[derive(Clone, Debug)]
struct Rule {
    id: u64,
    failure: Failure,
    struck: u64,
}

#[derive(Clone, Debug)]
struct Capacity {
    id: u64,
    prefix: String,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) latency: Latency,
    /// The part of reads from the page cache that find nothing there.
    pub(super) cold_reads: f64,
    stalls: Vec<Stall>,
    rules: Vec<Rule>,
    capacities: Vec<Capacity>,
    /// Paths of operations that were made to fail.
    pub(super) failed: BTreeSet<String>,
}

impl Faults {
    pub(super) fn new() -> Faults {
        Faults { cold_reads: 0.1, ..Faults::default() }
    }

    pub(super) fn stall(&mut self, prefix: &str, until: Instant) {
        self.stalls.push(Stall { prefix: prefix.to_owned(), until });
    }

    pub(super) fn fail(&mut self, id: u64, failure: Failure) {
        self.rules.push(Rule { id, failure, struck: 0 });
    }

    /// How many operations the rule struck; 0 if it was cleared before.
    pub(super) fn end_failure(&mut self, id: u64) -> u64 {
        let ended = self.rules.extract_if(.., |rule| rule.id == id);
        ended.map(|rule| rule.struck).sum()
    }

    pub(super) fn limit(&mut self, id: u64, prefix: &str, bytes: u64) {
        self.capacities.push(Capacity { id, prefix: prefix.to_owned(), bytes });
    }

    pub(super) fn end_limit(&mut self, id: u64) {
        self.capacities.retain(|capacity| capacity.id != id);
    }

    pub(super) fn clear_stalls(&mut self) {
        self.stalls.clear();
    }

    pub(super) fn clear_failures(&mut self) {
        self.rules.clear();
    }

    pub(super) fn clear_limits(&mut self) {
        self.capacities.clear();
    }

    pub(super) fn latency(&self, op: DiskOp, dice: &Stream) -> Duration {
        self.latency.draw(op, dice)
    }

    /// Until when operations on the path stand still.
    pub(super) fn stalled(&mut self, path: &str, now: Instant) -> Option<Instant> {
        self.stalls.retain(|stall| stall.until > now);
        let stalls = self.stalls.iter().filter(|stall| path.starts_with(&stall.prefix));
        stalls.map(|stall| stall.until).max()
    }

    /// The error that an operation is to end with.
    pub(super) fn failure(&mut self, op: DiskOp, path: &str, dice: &Stream) -> Option<i32> {
        let mut errno = None;
        for Rule { failure, struck, .. } in &mut self.rules {
            if errno.is_some() || failure.op != op || !path.contains(&failure.path) {
                continue;
            }
            let strikes = match &mut failure.when {
                When::Next(0) => false,
                When::Next(count) => {
                    *count -= 1;
                    true
                }
                When::Probability(probability) => dice.chance(*probability),
            };
            *struck += u64::from(strikes);
            errno = strikes.then_some(failure.errno);
        }
        if errno.is_some() {
            self.failed.insert(path.to_owned());
        }
        errno
    }

    /// The size of the disk at `root`, if it is limited.
    pub(super) fn capacity(&self, root: &str) -> Option<u64> {
        let limits = self.capacities.iter().filter(|capacity| root.starts_with(&capacity.prefix));
        limits.map(|capacity| capacity.bytes).min()
    }
}
