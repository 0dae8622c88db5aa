//! The rounds' task, driven by hand: syncs and chores end when the test says so, and as it says.

use super::queue::{Item, Submit};
use super::*;
use crate::rounds::{DirtyRange, Rounds, SyncRequest, SyncTicket};
use norn_env::disk::Open;
use norn_env::testing::run;
use tokio::sync::oneshot;

struct Driven {
    task: RoundsTask,
    file: File,
    name: Arc<str>,
    _root: tempfile::TempDir,
}

impl Driven {
    async fn new() -> Driven {
        let root = tempfile::tempdir().unwrap();
        let disk = Disk::open(root.path()).unwrap();
        let file = disk.open_file("segment", Open::Create).await.unwrap();
        let config = JournalConfig { files: 2, file_bytes: 64 << 10 };
        let ring = Ring::new(config, vec![None, None], 0, 1);
        let queue = Arc::new(Queue::default());
        let task = RoundsTask::new(disk, config, queue, ring, Points::new(), BTreeSet::new());
        Driven { task, file, name: "t-0".into(), _root: root }
    }

    /// A log of the name hands over a byte in each of the segments, and a round takes it.
    fn append(&mut self, segments: &[i64]) -> (LogKey, SyncTicket) {
        let (log, _) = self.task.queue.register(self.name.clone());
        let range = |segment: &i64| DirtyRange {
            segment: Offset(*segment),
            file: self.file.clone(),
            position: 0,
            len: 1,
            bytes: Vec::new(),
        };
        let end = Offset(segments[segments.len() - 1] + 1);
        let request = SyncRequest { log, ranges: segments.iter().map(range).collect(), end };
        let ticket = Submit(self.task.queue.clone()).submit(request);
        self.task.begin_round();
        (log, ticket)
    }

    /// The log of the name is to be removed; a round takes that, if it may.
    fn remove(&mut self) -> oneshot::Receiver<Result<(), SyncError>> {
        let (log, _) = self.task.queue.register(self.name.clone());
        let (reply, answer) = oneshot::channel();
        self.task.queue.push(log, Item::Delete(reply));
        self.task.begin_round();
        answer
    }

    fn synced(&mut self, log: LogKey, segment: i64, result: io::Result<()>) {
        let key = (self.name.clone(), Offset(segment));
        self.task.synced(Synced { log, key, before: 1, result });
        self.task.begin_round();
    }

    /// Nothing of the name is known or held against it.
    fn assert_forgotten(&self) {
        assert_eq!(self.task.points.get(&self.name), None);
        assert!(self.task.untold.next(1_000).is_empty());
        assert!(self.task.failed.is_empty());
        assert!(self.task.is_idle());
    }
}

fn failed() -> io::Result<()> {
    Err(io::Error::other("the disk is gone"))
}

#[test]
fn a_removal_waits_for_a_sync_that_is_under_way_and_leaves_no_point() {
    run(|| async {
        let mut driven = Driven::new().await;
        let (log, ticket) = driven.append(&[0]);
        let mut removed = driven.remove();
        assert!(removed.try_recv().is_err(), "its sync has not ended");
        driven.synced(log, 0, Ok(()));
        assert_eq!(ticket.await.unwrap(), Offset(1));
        removed.try_recv().unwrap().unwrap();
        driven.assert_forgotten();
    });
}

#[test]
fn a_sync_that_fails_is_not_held_against_the_next_log_of_the_name() {
    run(|| async {
        let mut driven = Driven::new().await;
        let (log, ticket) = driven.append(&[0, 10]);
        let mut removed = driven.remove();
        driven.synced(log, 0, failed());
        assert!(ticket.await.is_err());
        assert!(removed.try_recv().is_err(), "its other sync has not ended");
        driven.synced(log, 10, failed());
        removed.try_recv().unwrap().unwrap();
        driven.assert_forgotten();
        let (log, ticket) = driven.append(&[0]);
        driven.synced(log, 0, Ok(()));
        assert_eq!(ticket.await.unwrap(), Offset(1));
    });
}

#[test]
fn a_chore_that_fails_when_its_log_was_removed_is_held_against_nobody() {
    run(|| async {
        let mut driven = Driven::new().await;
        for removed in [true, false] {
            let key = (driven.name.clone(), Offset(0));
            driven.task.chore_log = Some(driven.name.clone());
            if removed {
                driven.remove().try_recv().unwrap().unwrap();
            }
            driven.task.chore_done(ChoreDone::Synced { first_sequence: 1, key, result: failed() });
            assert_eq!(driven.task.failed.is_empty(), removed);
        }
    });
}
