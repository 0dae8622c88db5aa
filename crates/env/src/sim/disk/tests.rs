//! The faults of the simulated disk.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;

use super::{DiskCtl, DiskOp, Failure, Latency, When};
use crate::clock::{now, sleep};
use crate::disk::{DirLock, Disk, File, Open, Space};
use crate::sim::{install, node, trace, Options};

const ROOT: &str = "/data";

fn simulate<F: Future>(seed: u64, f: impl FnOnce() -> F) -> F::Output {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    install(&runtime, seed, Options::default());
    runtime.block_on(async { f().await })
}

/// A node with a disk.
#[derive(Clone, Copy)]
struct Host {
    id: NodeId,
    key: u64,
}

impl Host {
    fn new() -> Host {
        let id = Handle::current().create_node().build().id();
        Host { id, key: node::key(id) }
    }

    /// Runs a process on the node to its end; it goes on to be alive.
    async fn run<F>(self, f: impl FnOnce(Disk) -> F + Send + 'static) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let process = Handle::current().get_node(self.id).unwrap();
        process.spawn(async { f(Disk::open(Path::new(ROOT)).unwrap()).await }).await.unwrap()
    }

    fn start<F>(self, f: impl FnOnce(Disk) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let process = Handle::current().get_node(self.id).unwrap();
        process.spawn(async { f(Disk::open(Path::new(ROOT)).unwrap()).await });
    }

    fn kill(self) {
        Handle::current().kill(self.id);
        Handle::current().restart(self.id);
    }

    fn lose_power(self) {
        DiskCtl::current().power_fail_on_next_reset(self.key);
        self.kill();
    }

    /// The content of a file; none if there is no such file.
    async fn content(self, path: &'static str) -> Option<Bytes> {
        self.run(move |disk| async move {
            match disk.open_file(path, Open::Read).await {
                Ok(file) => Some(file.read_at(0, 1 << 20).await.unwrap()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await
    }
}

async fn put(disk: &Disk, path: &str, bytes: impl Into<Bytes>) -> File {
    let file = disk.open_file(path, Open::Create).await.unwrap();
    file.write_at(0, vec![bytes.into()]).await.unwrap();
    file
}

/// Has a file whose name and first content are durable.
async fn put_durably(disk: &Disk, path: &str, bytes: impl Into<Bytes>) -> File {
    let file = put(disk, path, bytes).await;
    file.sync_data().await.unwrap();
    disk.sync_dir("").await.unwrap();
    file
}

fn pattern(len: usize, salt: usize) -> Bytes {
    (0..len).map(|i| (1 + (i * 7 + salt * 31) % 251) as u8).collect()
}

#[test]
fn synced_data_survives_power_losses_and_the_rest_is_lost_in_every_way() {
    simulate(1, || async {
        let host = Host::new();
        let (mut all, mut nothing, mut torn, mut holes) = (0, 0, 0, 0);
        for round in 0..300 {
            let content = pattern(9000, round);
            let data = content.clone();
            let synced = 700 + round * 3;
            host.run(move |disk| async move {
                let file = disk.open_file("log", Open::Create).await.unwrap();
                file.truncate(0).await.unwrap();
                file.write_at(0, vec![data.slice(..synced)]).await.unwrap();
                file.sync_data().await.unwrap();
                disk.sync_dir("").await.unwrap();
                for start in (synced..data.len()).step_by(1300) {
                    let end = data.len().min(start + 1300);
                    file.write_at(start as u64, vec![data.slice(start..end)]).await.unwrap();
                }
            })
            .await;
            host.lose_power();
            let left = host.content("log").await.unwrap();
            assert_eq!(left[..synced], content[..synced]);
            assert!(left.iter().zip(&content).all(|(left, written)| *left == 0 || left == written));
            let zeros = left.contains(&0);
            holes += u32::from(zeros);
            all += u32::from(left == content);
            nothing += u32::from(left.len() == synced);
            torn += u32::from(!zeros && (left.len() - synced) % 1300 != 0 && left.len() < content.len());
        }
        let seen = (all, nothing, torn, holes);
        assert!(all > 5 && nothing > 5 && torn > 5 && holes > 5, "{seen:?}");
        let stats = DiskCtl::current().stats(host.key);
        assert_eq!(stats.power_losses, 300);
        assert!(stats.bytes_lost > 0 && stats.torn_writes > 0, "{stats:?}");
    });
}

#[test]
fn an_overwritten_sector_is_old_or_new_or_torn_once() {
    simulate(2, || async {
        let host = Host::new();
        let mut mixed = 0;
        for _ in 0..200 {
            host.run(|disk| async move {
                let file = put_durably(&disk, "f", vec![b'a'; 8192]).await;
                file.write_at(0, vec![vec![b'b'; 8192].into()]).await.unwrap();
                file.write_at(0, vec![vec![b'c'; 8192].into()]).await.unwrap();
            })
            .await;
            host.lose_power();
            let left = host.content("f").await.unwrap();
            let sectors: Vec<_> = left.chunks(512).collect();
            let inside = sectors.iter().filter(|sector| sector.iter().any(|b| *b != sector[0])).count();
            assert!(inside <= 1, "{inside} sectors torn inside");
            mixed += u32::from(sectors.iter().any(|sector| sector[0] != sectors[0][0]));
        }
        assert!(mixed > 20, "{mixed}");
    });
}

#[test]
fn a_lost_truncation_takes_the_later_writes_along() {
    simulate(3, || async {
        let host = Host::new();
        let mut outcomes = BTreeSet::new();
        for _ in 0..100 {
            host.run(|disk| async move {
                let file = put_durably(&disk, "f", vec![b'a'; 1000]).await;
                file.truncate(400).await.unwrap();
                file.write_at(400, vec![vec![b'b'; 100].into()]).await.unwrap();
            })
            .await;
            host.lose_power();
            let left = host.content("f").await.unwrap();
            if left.len() > 500 {
                assert_eq!(left, vec![b'a'; 1000]);
            }
            outcomes.insert(left.len());
        }
        assert!(
            outcomes.contains(&1000) && outcomes.contains(&400) && outcomes.contains(&500),
            "{outcomes:?}"
        );
    });
}

#[test]
fn an_unsynced_name_is_lost_though_its_file_is_synced() {
    simulate(4, || async {
        let host = Host::new();
        let mut lost = 0;
        for _ in 0..50 {
            host.run(|disk| async move {
                if disk.exists("f").await.unwrap() {
                    disk.remove("f").await.unwrap();
                    disk.sync_dir("").await.unwrap();
                }
                put(&disk, "f", "synced").await.sync_data().await.unwrap();
            })
            .await;
            host.lose_power();
            match host.content("f").await {
                None => lost += 1,
                Some(left) => assert_eq!(left, "synced"),
            }
        }
        assert!((5..45).contains(&lost), "{lost}");
        host.run(|disk| async move {
            put_durably(&disk, "g", "kept").await;
        })
        .await;
        for _ in 0..20 {
            host.lose_power();
            assert_eq!(host.content("g").await.unwrap(), "kept");
        }
    });
}

#[test]
fn a_directory_synced_into_an_unsynced_parent_is_lost_as_a_whole() {
    simulate(5, || async {
        let host = Host::new();
        let mut lost = 0;
        for _ in 0..50 {
            host.run(|disk| async move {
                if disk.exists("d").await.unwrap() {
                    disk.remove_dir("d").await.unwrap();
                    disk.sync_dir("").await.unwrap();
                }
                disk.create_dir_all("d").await.unwrap();
                put(&disk, "d/f", "synced").await.sync_data().await.unwrap();
                disk.sync_dir("d").await.unwrap();
            })
            .await;
            host.lose_power();
            match host.content("d/f").await {
                None => lost += 1,
                Some(left) => assert_eq!(left, "synced"),
            }
        }
        assert!((5..45).contains(&lost), "{lost}");
    });
}

#[test]
fn a_rename_is_lost_or_kept_as_a_whole() {
    simulate(6, || async {
        let host = Host::new();
        let mut kept = 0;
        for _ in 0..60 {
            host.run(|disk| async move {
                disk.create_dir_all("d").await.unwrap();
                put_durably(&disk, "d/current", "old").await;
                put_durably(&disk, "new", "new").await;
                disk.sync_dir("d").await.unwrap();
                disk.rename("new", "d/current").await.unwrap();
            })
            .await;
            host.lose_power();
            match (host.content("new").await.as_deref(), host.content("d/current").await.as_deref()) {
                (Some(b"new"), Some(b"old")) => {}
                (None, Some(b"new")) => kept += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!((5..55).contains(&kept), "{kept}");
    });
}

#[test]
fn syncing_either_directory_of_a_rename_keeps_it() {
    simulate(7, || async {
        let host = Host::new();
        for dir in ["", "d"].repeat(15) {
            host.run(move |disk| async move {
                disk.create_dir_all("d").await.unwrap();
                disk.sync_dir("").await.unwrap();
                put(&disk, "new", "new").await.sync_data().await.unwrap();
                disk.rename("new", "d/f").await.unwrap();
                disk.sync_dir(dir).await.unwrap();
            })
            .await;
            host.lose_power();
            assert_eq!(host.content("new").await, None);
            assert_eq!(host.content("d/f").await.unwrap(), "new");
        }
    });
}

#[test]
fn a_kill_keeps_the_page_cache_and_ends_the_handles() {
    simulate(8, || async {
        let host = Host::new();
        let file = host.run(|disk| async move { put(&disk, "f", "unsynced").await }).await;
        host.kill();
        assert_eq!(host.content("f").await.unwrap(), "unsynced");
        let error = file.write_at(0, vec![Bytes::from_static(b"ghost")]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
        let files = DiskCtl::current().files(host.key);
        assert_eq!((files[0].path.as_str(), files[0].len, files[0].durable_len), ("/data/f", 8, 0));
    });
}

#[test]
fn a_write_that_the_process_dies_in_leaves_any_part() {
    simulate(9, || async {
        let host = Host::new();
        let slow = Duration::from_millis(5)..Duration::from_millis(6);
        DiskCtl::current().set_latency(host.key, Latency { write: slow, ..Latency::default() });
        let mut lengths = BTreeSet::new();
        for _ in 0..60 {
            host.run(|disk| async move {
                disk.open_file("f", Open::Create).await.unwrap().truncate(0).await.unwrap();
            })
            .await;
            host.start(|disk| async move {
                put(&disk, "f", pattern(1000, 0)).await;
            });
            sleep(Duration::from_millis(4)).await;
            host.kill();
            let left = host.content("f").await.unwrap();
            assert_eq!(left, pattern(1000, 0).slice(..left.len()));
            lengths.insert(left.len());
        }
        assert!(lengths.contains(&0) && lengths.contains(&1000) && lengths.len() > 5, "{lengths:?}");
    });
}

#[test]
fn a_dropped_write_lands_unless_the_process_dies() {
    async fn begin(disk: Disk) {
        let file = disk.open_file("f", Open::Create).await.unwrap();
        let mut write = Box::pin(file.write_at(0, vec![Bytes::from_static(b"landed")]));
        assert!(futures::poll!(&mut write).is_pending());
    }
    simulate(20, || async {
        for _ in 0..20 {
            let host = Host::new();
            host.run(begin).await;
            begin(Disk::open(Path::new(ROOT)).unwrap()).await;
            sleep(Duration::from_millis(5)).await;
            assert_eq!(host.content("f").await.unwrap(), "landed");
            assert_eq!(DiskCtl::current().read_raw(0, "/data/f", 0, 9).len(), 0);
            assert_eq!(DiskCtl::current().files(0)[0].len, 6);
        }
        let host = Host::new();
        host.run(begin).await;
        Handle::current().pause(host.id);
        sleep(Duration::from_millis(5)).await;
        host.lose_power();
        sleep(Duration::from_millis(5)).await;
        assert_eq!(DiskCtl::current().stats(host.key).power_losses, 1);
    });
}

#[test]
fn a_lock_is_freed_by_a_kill_and_not_by_the_dead_holder() {
    simulate(10, || async {
        let host = Host::new();
        let lock = |disk: Disk| async move { disk.lock(".lock").await };
        let dead: DirLock = host.run(lock).await.unwrap();
        assert_eq!(host.run(lock).await.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        host.kill();
        let held = host.run(lock).await.unwrap();
        drop(dead);
        assert_eq!(host.run(lock).await.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        host.run(lock).await.unwrap();
    });
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_without_the_data() {
    simulate(11, || async {
        let host = Host::new();
        let ctl = DiskCtl::current();
        let (mut lost, mut shown) = (0, 0);
        for _ in 0..60 {
            let fail = Failure { op: DiskOp::Sync, path: "/f".into(), when: When::Next(1), errno: libc::EIO };
            let before = |disk: Disk| async move { drop(put_durably(&disk, "f", vec![b'a'; 4096]).await) };
            host.run(before).await;
            ctl.fail(host.key, fail);
            let seen = host
                .run(|disk| async move {
                    let file = put(&disk, "f", vec![b'b'; 4096]).await;
                    assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(libc::EIO));
                    file.sync_data().await.unwrap();
                    assert!(file.read_at(0, 4096).await.is_err());
                    disk.open_file("f", Open::Read).await.unwrap().read_at(0, 4096).await.unwrap()
                })
                .await;
            host.lose_power();
            let left = host.content("f").await.unwrap();
            lost += u32::from(left != vec![b'b'; 4096]);
            shown += u32::from(seen != left);
        }
        assert!(lost > 10 && shown > 5, "{lost} lost, {shown} of them were still shown before");
        assert_eq!(ctl.stats(host.key).failures, 60);
    });
}

#[test]
fn failures_strike_the_named_paths_and_operations_only() {
    simulate(12, || async {
        let host = Host::new();
        let ctl = DiskCtl::current();
        for op in [DiskOp::Write, DiskOp::Read] {
            let path = "topic-a".to_owned();
            ctl.fail(host.key, Failure { op, path, when: When::Probability(1.0), errno: libc::EIO });
        }
        host.run(|disk| async move {
            let a = disk.open_file("topic-a", Open::Create).await.unwrap();
            let b = put(&disk, "topic-b", "fine").await;
            assert!(a.write_at(0, vec![Bytes::from_static(b"lost")]).await.is_err());
            assert!(a.read_at(0, 4).await.is_err());
            a.sync_data().await.unwrap();
            assert_eq!(b.read_at(0, 4).await.unwrap(), "fine");
        })
        .await;
        ctl.clear_failures(host.key);
        host.run(|disk| async move {
            put(&disk, "topic-a", "fine").await;
        })
        .await;
    });
}

#[test]
fn a_full_disk_refuses_until_something_is_removed() {
    simulate(13, || async {
        let host = Host::new();
        DiskCtl::current().limit(host.key, ROOT, 64 << 10);
        host.run(|disk| async move {
            let old = put(&disk, "old", vec![1; 40 << 10]).await;
            let new = disk.open_file("new", Open::Create).await.unwrap();
            let data = || vec![Bytes::from(vec![2; 32 << 10])];
            assert_eq!(new.write_at(0, data()).await.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            assert_eq!(new.allocate(32 << 10).await.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            // What is there can be overwritten, and what was removed counts until it is closed.
            old.write_at(0, vec![vec![3; 40 << 10].into()]).await.unwrap();
            disk.remove("old").await.unwrap();
            assert!(new.allocate(32 << 10).await.is_err());
            drop(old);
            new.allocate(32 << 10).await.unwrap();
            assert_eq!(disk.space().await.unwrap(), Space { total: 64 << 10, usable: 32 << 10 });
            new.write_at(0, data()).await.unwrap();
        })
        .await;
    });
}

#[test]
fn a_stall_of_one_path_leaves_the_others_alone() {
    simulate(14, || async {
        let host = Host::new();
        let ctl = DiskCtl::current();
        let until = now() + Duration::from_secs(5);
        host.run(|disk| async move { disk.create_dir_all("slow").await.unwrap() }).await;
        ctl.stall(host.key, "/data/slow", until);
        host.start(|disk| async move {
            put(&disk, "slow/f", "late").await;
        });
        let start = now();
        host.run(|disk| async move {
            put(&disk, "fast", "x").await.sync_data().await.unwrap();
        })
        .await;
        assert!(now() - start < Duration::from_secs(1));
        let slow =
            host.run(|disk| async move { disk.open_file("slow/f", Open::Create).await.unwrap() }).await;
        assert!(now() >= until);
        // A stall can be ended early; what is in it goes on.
        ctl.stall(host.key, "/data/slow", now() + Duration::from_secs(3600));
        let before = now();
        madsim::task::spawn(async move {
            sleep(Duration::from_secs(7)).await;
            DiskCtl::current().clear_stalls(host.key);
        });
        slow.sync_data().await.unwrap();
        let took: Duration = Instant::now() - before;
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_sync_promises_nothing_for_what_is_written_meanwhile() {
    simulate(15, || async {
        let host = Host::new();
        let slow = Duration::from_millis(5)..Duration::from_millis(6);
        DiskCtl::current().set_latency(host.key, Latency { sync: slow, ..Latency::default() });
        let mut lengths = BTreeSet::new();
        for _ in 0..60 {
            host.run(|disk| async move {
                let file = put_durably(&disk, "f", "before").await;
                let sync = file.sync_data();
                let write = file.write_at(6, vec![Bytes::from_static(b"meanwhile")]);
                let (synced, written) = futures::join!(sync, write);
                synced.and(written).unwrap();
            })
            .await;
            lengths.insert(DiskCtl::current().files(host.key)[0].durable_len);
            host.run(|disk| async move {
                disk.open_file("f", Open::Write).await.unwrap().truncate(6).await.unwrap();
            })
            .await;
        }
        assert_eq!(lengths, BTreeSet::from([6, 15]));
    });
}

#[test]
fn decay_strikes_durable_bytes_only_and_is_read() {
    simulate(16, || async {
        let host = Host::new();
        let ctl = DiskCtl::current();
        host.run(|disk| async move {
            let file = put_durably(&disk, "f", vec![0; 100]).await;
            file.write_at(60, vec![Bytes::from_static(b"dirty")]).await.unwrap();
        })
        .await;
        assert!(ctl.flip_bit(host.key, "/data/f", 10, 3));
        assert!(!ctl.flip_bit(host.key, "/data/f", 60, 3));
        assert!(!ctl.flip_bit(host.key, "/data/missing", 0, 3));
        let left = host.content("f").await.unwrap();
        assert_eq!(left[10], 8);
        assert_eq!(ctl.read_raw(host.key, "/data/f", 10, 1)[0], 8);
        assert_eq!(ctl.read_raw(host.key, "/data/f", 60, 5), vec![0; 5]);
        assert_eq!(ctl.stats(host.key).bits_flipped, 1);
    });
}

#[test]
fn a_wiped_disk_is_empty() {
    simulate(17, || async {
        let host = Host::new();
        host.run(|disk| async move {
            put_durably(&disk, "f", "gone").await;
        })
        .await;
        Handle::current().kill(host.id);
        DiskCtl::current().wipe(host.key);
        Handle::current().restart(host.id);
        assert_eq!(host.run(|disk| async move { disk.list("").await.unwrap() }).await, vec![]);
    });
}

#[test]
fn one_seed_gives_one_trace() {
    let story = |seed| {
        simulate(seed, || async {
            let host = Host::new();
            for round in 0..20 {
                host.run(move |disk| async move {
                    let file = put(&disk, "f", pattern(5000, round)).await;
                    file.sync_data().await.unwrap();
                    file.write_at(4000, vec![pattern(3000, round)]).await.unwrap();
                    disk.rename("f", "g").await.unwrap();
                })
                .await;
                host.lose_power();
            }
            trace::finish()
        })
    };
    assert_eq!(story(18), story(18));
    assert_ne!(story(18).0, story(19).0);
}
