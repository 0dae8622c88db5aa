//! The quorum over a directory: propose, restart, snapshot, refuse.

use super::*;
use norn_env::clock::{self, Duration};
use norn_env::disk::Open;
use norn_env::testing::{run, run_on_hanging_disk};
use std::sync::Mutex;

/// Keeps every command, and answers with its index.
#[derive(Clone, Default)]
struct Log {
    commands: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Log {
    fn commands(&self) -> Vec<Vec<u8>> {
        self.commands.lock().unwrap().clone()
    }
}

impl StateMachine for Log {
    fn apply(&mut self, index: u64, command: &[u8]) -> Result<Bytes, Fatal> {
        if command == b"unknown" {
            return Err(Fatal("command 99 is not known".to_owned()));
        }
        self.commands.lock().unwrap().push(command.to_vec());
        Ok(Bytes::copy_from_slice(&index.to_be_bytes()))
    }

    fn snapshot(&self, _: usize) -> Box<dyn Iterator<Item = Bytes> + Send> {
        Box::new(self.commands().into_iter().map(Bytes::from))
    }

    fn restore_chunk(&mut self, chunk: &[u8]) -> Result<(), Fatal> {
        self.commands.lock().unwrap().push(chunk.to_vec());
        Ok(())
    }

    fn restore_end(&mut self) -> Result<(), Fatal> {
        Ok(())
    }
}

fn config() -> QuorumConfig {
    QuorumConfig::new(0)
}

fn soon() -> clock::Instant {
    clock::now() + Duration::from_secs(10)
}

async fn led(quorum: &Quorum) {
    let mut status = quorum.status();
    clock::timeout_at(soon(), status.wait_for(|status| status.leader.is_some())).await.unwrap().unwrap();
}

async fn open(root: &std::path::Path, config: QuorumConfig) -> (Log, Quorum, Handle<QuorumExit>) {
    let log = Log::default();
    let disk = Disk::open(root).unwrap();
    let (quorum, task) = start(config, disk, log.clone()).await.unwrap();
    (log, quorum, task)
}

#[test]
fn a_node_leads_by_itself_long_before_an_election_timeout() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let config = QuorumConfig { election_timeout: Duration::from_secs(3600), ..config() };
        let (_, quorum, _task) = open(dir.path(), config).await;
        led(&quorum).await;
        assert_eq!(quorum.status().borrow().leader, Some(0));
    });
}

#[test]
fn proposals_are_answered_with_their_result_and_survive_a_crash() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (log, quorum, task) = open(dir.path(), config()).await;
        led(&quorum).await;
        let proposals = (0..100u8).map(|n| {
            let quorum = quorum.clone();
            async move { quorum.propose(vec![n].into(), soon()).await.unwrap() }
        });
        let mut running: Vec<_> = proposals.map(|proposal| task::spawn("proposal", proposal)).collect();
        let mut indexes = std::collections::BTreeSet::new();
        for proposal in &mut running {
            indexes.insert(u64::from_be_bytes(proposal.await.unwrap().as_ref().try_into().unwrap()));
        }
        assert_eq!(indexes.len(), 100, "each has its own place");
        let before = log.commands();
        // As a kill would: nothing is closed.
        task.abort();
        assert!(task.await.is_err());
        drop(quorum);
        let (log, quorum, _task) = open(dir.path(), config()).await;
        led(&quorum).await;
        assert_eq!(log.commands(), before);
        assert_eq!(before.len(), 100);
    });
}

#[test]
fn snapshots_bound_the_wal_and_are_restored() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let small = QuorumConfig {
            snapshot_entries: 20,
            wal: norn_log::wal::WalConfig { segment_bytes: 512 },
            ..config()
        };
        let (log, quorum, task) = open(dir.path(), small.clone()).await;
        led(&quorum).await;
        for n in 0..200u8 {
            quorum.propose(vec![n].into(), soon()).await.unwrap();
        }
        quorum.close().await;
        drop(quorum);
        assert!(matches!(task.await, Ok(Ok(()))));
        let entries = Disk::open(dir.path()).unwrap().list(&small.dir).await.unwrap();
        let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        let snapshots = names.iter().filter(|name| name.starts_with("snapshot-")).count();
        assert_eq!(snapshots, 1, "{names:?}");
        assert!(names.len() < 20, "old segments are gone: {names:?}");
        let before = log.commands();
        let (log, quorum, _task) = open(dir.path(), small).await;
        led(&quorum).await;
        assert_eq!((log.commands(), before.len()), (before, 200));
    });
}

#[test]
fn proposals_go_on_while_a_disk_keeps_a_snapshot_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run_on_hanging_disk(move |disk| async move {
        let small = QuorumConfig { snapshot_entries: 20, ..config() };
        let (log, quorum, task) = open(&path, small.clone()).await;
        led(&quorum).await;
        disk.hang(&path.join(&small.dir).join("snapshot.tmp"));
        for n in 0..100u8 {
            quorum.propose(vec![n].into(), soon()).await.unwrap();
        }
        assert_eq!(log.commands().len(), 100);
        disk.go_on();
        quorum.close().await;
        drop(quorum);
        assert!(matches!(task.await, Ok(Ok(()))));
    });
}

#[test]
fn a_command_that_is_not_known_halts_the_quorum_by_name_also_after_a_restart() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (_, quorum, task) = open(dir.path(), config()).await;
        led(&quorum).await;
        assert_eq!(quorum.propose("unknown".into(), soon()).await, Err(ProposeError::Stopped));
        let exit = task.await.unwrap().unwrap_err();
        assert_eq!(
            exit.to_string(),
            "the metadata command at index 2 halts this node: command 99 is not known"
        );
        let (_, _quorum, task) = open(dir.path(), config()).await;
        assert!(matches!(task.await.unwrap(), Err(QuorumError::Halted { index: 2, .. })));
    });
}

#[test]
fn what_cannot_be_taken_is_refused_by_name() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let small = QuorumConfig { proposal_bytes_max: 10, ..config() };
        let (_, quorum, task) = open(dir.path(), small).await;
        led(&quorum).await;
        let large = quorum.propose(vec![0; 11].into(), soon()).await;
        assert_eq!(large, Err(ProposeError::TooLarge { bytes: 11, max: 10 }));
        let late = quorum.propose("late".into(), clock::now() - Duration::from_millis(1)).await;
        assert_eq!(late, Err(ProposeError::DeadlineExceeded));
        quorum.close().await;
        assert_eq!(quorum.propose("closed".into(), soon()).await, Err(ProposeError::Stopped));
        assert!(matches!(task.await, Ok(Ok(()))));
    });
}

#[test]
fn a_directory_of_another_node_is_refused() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (_, quorum, task) = open(dir.path(), config()).await;
        quorum.close().await;
        drop(task);
        let disk = Disk::open(dir.path()).unwrap();
        let refused = start(QuorumConfig::new(3), disk, Log::default()).await.err().unwrap();
        assert!(matches!(refused, QuorumError::OtherVoters { found, node_id: 3, .. } if found == [0]));
    });
}

#[test]
fn a_damaged_wal_is_refused_and_left_as_it_is() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (_, quorum, task) = open(dir.path(), config()).await;
        led(&quorum).await;
        for n in 0..10u8 {
            quorum.propose(vec![n; 20].into(), soon()).await.unwrap();
        }
        quorum.close().await;
        drop(task);
        let disk = Disk::open(dir.path()).unwrap();
        let path = format!("__cluster_metadata/{:020}.wal", 1);
        let file = disk.open_file(&path, Open::Write).await.unwrap();
        let length = file.len().await.unwrap();
        let byte = file.read_at(150, 1).await.unwrap()[0];
        file.write_at(150, vec![vec![byte ^ 1].into()]).await.unwrap();
        let refused = start(config(), disk, Log::default()).await.err().unwrap().to_string();
        assert!(refused.contains("00000000000000000001.wal is damaged at byte"), "{refused}");
        assert_eq!(file.len().await.unwrap(), length, "nothing is cut");
    });
}
