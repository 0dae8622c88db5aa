//! The simulator's hand on the disks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::content::Content;
use super::faults::{Failure, Latency};
use super::node::{DiskStats, Node};
use super::DiskSim;

/// Controls and inspects the disks of nodes, given by their keys (see [`crate::sim::node`]). Paths are
/// whole ones, root included. Faults stay in force across restarts until they are cleared.
#[derive(Clone)]
pub struct DiskCtl(Arc<DiskSim>);

/// A file as [`DiskCtl::files`] sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// The whole path, root included.
    pub path: String,
    /// The length that processes see.
    pub len: u64,
    /// The length of the front part that no loss of power can change.
    pub durable_len: u64,
}

impl DiskCtl {
    /// Of the current world.
    pub fn current() -> DiskCtl {
        DiskCtl(DiskSim::current())
    }

    /// Sets how long the node's operations take.
    pub fn set_latency(&self, node: u64, latency: Latency) {
        self.0.with(node, |node| node.faults.latency = latency);
    }

    /// Sets the part of reads that do not find their bytes in the page cache.
    pub fn set_cold_reads(&self, node: u64, probability: f64) {
        self.0.with(node, |node| node.faults.cold_reads = probability);
    }

    /// Lets no operation on paths with this prefix end before `until`.
    pub fn stall(&self, node: u64, prefix: &str, until: Instant) {
        self.0.with(node, |node| node.faults.stall(prefix, until));
    }

    /// Ends the node's stalls.
    pub fn clear_stalls(&self, node: u64) {
        self.0.with(node, |node| node.faults.clear_stalls());
        self.0.stalls_changed.notify_waiters();
    }

    /// Makes operations fail. A sync that fails has lost what it was to make durable, as on Linux: the next
    /// one succeeds without it. Gives the rule's id.
    pub fn fail(&self, node: u64, failure: Failure) -> u64 {
        self.0.with(node, |node| {
            let id = node.next_token();
            node.faults.fail(id, failure);
            id
        })
    }

    /// Ends one rule; how many operations it made fail.
    pub fn end_failure(&self, node: u64, id: u64) -> u64 {
        self.0.with(node, |node| node.faults.end_failure(id))
    }

    /// Paths of the operations that were made to fail since [`DiskCtl::forget_failed`].
    pub fn failed(&self, node: u64) -> Vec<String> {
        self.0.with(node, |node| node.faults.failed.iter().cloned().collect())
    }

    /// Forgets which operations were made to fail, as the process that met them has ended.
    pub fn forget_failed(&self, node: u64) {
        self.0.with(node, |node| node.faults.failed.clear());
    }

    /// Ends the node's failures.
    pub fn clear_failures(&self, node: u64) {
        self.0.with(node, |node| node.faults.clear_failures());
    }

    /// Limits each disk whose root has this prefix to so many bytes; of several limits the lowest holds. Gives the
    /// limit's id.
    pub fn limit(&self, node: u64, prefix: &str, bytes: u64) -> u64 {
        self.0.with(node, |node| {
            let id = node.next_token();
            node.faults.limit(id, prefix, bytes);
            id
        })
    }

    /// Ends one limit.
    pub fn end_limit(&self, node: u64, id: u64) {
        self.0.with(node, |node| node.faults.end_limit(id));
    }

    /// Ends the node's limits.
    pub fn clear_capacity(&self, node: u64) {
        self.0.with(node, |node| node.faults.clear_limits());
    }

    /// Bytes that the files on all disks of the node take.
    pub fn used(&self, node: u64) -> u64 {
        self.0.with(node, |node| node.volumes.values().map(|volume| volume.tree.used()).sum())
    }

    /// Handles on files that the node's process has open.
    pub fn open_files(&self, node: u64) -> u64 {
        self.0.with(node, |node| node.volumes.values().map(|volume| volume.tree.opens()).sum())
    }

    /// Makes the next kill of the node a loss of power.
    pub fn power_fail_on_next_reset(&self, node: u64) {
        self.0.with(node, |node| node.power_fails = true);
    }

    /// Takes the power away now. The node's process must be dead, or be killed in the same breath: its
    /// handles are.
    pub fn power_fail(&self, node: u64) {
        self.0.with(node, |node| {
            node.power_fails = true;
            node.process_died();
        });
    }

    /// Puts empty disks into the node, as for [`DiskCtl::power_fail`].
    pub fn wipe(&self, node: u64) {
        self.0.with(node, |node| {
            node.process_died();
            node.volumes.clear();
        });
    }

    /// The node's files, sorted by path.
    pub fn files(&self, node: u64) -> Vec<DiskFile> {
        self.0.with(node, |node| {
            let files = node.volumes.iter().flat_map(|(root, volume)| {
                volume.tree.walk().into_iter().map(move |(path, content)| DiskFile {
                    path: format!("{root}/{path}"),
                    len: content.cache.len(),
                    durable_len: content.durable_len(),
                })
            });
            files.collect()
        })
    }

    /// Bytes as they are on the disk, whatever the page cache holds; fewer at the end of the file, none if
    /// there is no such file.
    pub fn read_raw(&self, node: u64, path: &str, pos: u64, len: usize) -> Bytes {
        self.content(node, path, |content| content.durable.read(pos, len).into()).unwrap_or_default()
    }

    /// Flips a bit (0 to 7) of a durable byte, as decay does, out of the page cache too. False if the byte
    /// is not (yet) as the disk has it.
    pub fn flip_bit(&self, node: u64, path: &str, pos: u64, bit: u8) -> bool {
        let flipped = self.content(node, path, |content| {
            let durable = pos < content.durable_len();
            if durable {
                content.durable.flip_bit(pos, bit);
                content.cache.flip_bit(pos, bit);
            }
            durable
        });
        let flipped = flipped.unwrap_or(false);
        self.0.with(node, |node| {
            node.stats.bits_flipped += u64::from(flipped);
            node.trace("flip", path, pos, &[bit, u8::from(flipped)]);
        });
        flipped
    }

    /// What happened on the node's disks so far.
    pub fn stats(&self, node: u64) -> DiskStats {
        self.0.with(node, |node| node.stats)
    }

    fn content<T>(&self, node: u64, path: &str, f: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let find = |node: &mut Node| {
            let volumes = node.volumes.iter_mut();
            let mut matching = volumes.filter_map(|(root, volume)| {
                let below = path.strip_prefix(root.as_str())?.strip_prefix('/')?;
                volume.tree.find(below).ok()
            });
            matching.next().map(f)
        };
        self.0.with(node, find)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use madsim::runtime::Handle;

    use super::super::{DiskOp, When};
    use super::*;
    use crate::clock::sleep;
    use crate::disk::{Disk, Open};
    use crate::sim::{node, simulate, trace, Options};

    async fn write_x(disk: Disk, byte: u8) -> Result<(), Option<i32>> {
        let file = disk.open_file("x", Open::Create).await.unwrap();
        file.write_at(0, vec![vec![byte; 32 << 10].into()]).await.map_err(|error| error.raw_os_error())
    }

    #[test]
    fn rules_and_limits_end_one_by_one_and_of_limits_the_lowest_holds() {
        simulate(1, Options::default(), || async {
            let (ctl, key) = (DiskCtl::current(), node::current());
            let write = || write_x(Disk::open(Path::new("/data")).unwrap(), 1);
            let rule =
                || Failure { op: DiskOp::Write, path: "x".into(), when: When::Next(1), errno: libc::EIO };
            let (first, second) = (ctl.fail(key, rule()), ctl.fail(key, rule()));
            let (low, _high) = (ctl.limit(key, "/data", 8 << 10), ctl.limit(key, "/data", 64 << 10));
            assert_eq!(write().await, Err(Some(libc::EIO)));
            assert_eq!((ctl.end_failure(key, first), ctl.stats(key).no_room), (1, 0));
            assert_eq!(write().await, Err(Some(libc::EIO)));
            assert_eq!(write().await, Err(Some(libc::ENOSPC)));
            assert_eq!((ctl.end_failure(key, second), ctl.stats(key).no_room), (1, 1));
            ctl.end_limit(key, low);
            assert_eq!(write().await, Ok(()));
        });
    }

    #[test]
    fn what_a_dying_process_leaves_is_in_the_trace() {
        let hashes = |seed, byte| {
            simulate(seed, Options::default(), move || async move {
                let host = Handle::current().create_node().build();
                let slow = Duration::from_millis(5)..Duration::from_millis(6);
                let latency = Latency { write: slow, ..Latency::default() };
                DiskCtl::current().set_latency(node::key(host.id()), latency);
                host.spawn(async move { write_x(Disk::open(Path::new("/data")).unwrap(), byte).await });
                sleep(Duration::from_millis(4)).await;
                let before = trace::finish();
                Handle::current().kill(host.id());
                (before, trace::finish())
            })
        };
        let pairs = (1..20).map(|seed| (hashes(seed, 1), hashes(seed, 2)));
        let begun_alike: Vec<_> = pairs.filter(|(one, other)| one.0 == other.0).collect();
        assert!(begun_alike.iter().any(|(one, other)| one.1 != other.1));
    }

    #[test]
    fn open_files_are_counted_until_they_are_closed_or_their_process_dies() {
        simulate(1, Options::default(), || async {
            let host = Handle::current().create_node().build();
            let key = node::key(host.id());
            let open = || DiskCtl::current().open_files(key);
            let process = async {
                let disk = Disk::open(Path::new("/data")).unwrap();
                let first = disk.open_file("a", Open::Create).await.unwrap();
                (first.clone(), disk.open_file("a", Open::Read).await.unwrap())
            };
            let (first, second) = host.spawn(process).await.unwrap();
            assert_eq!(open(), 2);
            drop(first);
            assert_eq!(open(), 1);
            Handle::current().kill(host.id());
            assert_eq!(open(), 0);
            drop(second);
            assert_eq!(open(), 0);
        });
    }
}
