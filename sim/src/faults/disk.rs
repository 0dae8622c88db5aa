//! Faults of disks.

use std::time::Duration;

use norn_env::clock;
use norn_env::sim::disk::{DiskOp, Failure, When};
use norn_env::sim::{world, DiskCtl};

use super::director::Director;
use super::underway::Place;
use super::{DiskVerb, Fault};

impl Director {
    pub(super) async fn disk_slow(&self, fault: &Fault, broker: usize, factor: u32, for_ms: u64) {
        let host = &self.brokers[broker];
        self.note(fault);
        let set = |_, factor: Option<u32>| {
            DiskCtl::current().set_latency(host.key, host.spec.disk.latency(factor.unwrap_or(1)));
        };
        self.hold(&[Place::Disk(host.key)], factor, for_ms, set).await;
    }

    pub(super) async fn disk_stall(&self, fault: &Fault, broker: usize, dir: Option<usize>, for_ms: u64) {
        let host = &self.brokers[broker];
        self.note(fault);
        let dirs = host.data_dirs();
        let prefix = dir.and_then(|dir| dirs.get(dir)).map_or("", String::as_str);
        let until = (clock::now() + Duration::from_millis(for_ms)).min(self.end);
        DiskCtl::current().stall(host.key, prefix, until);
    }

    pub(super) fn log_stall(&self, fault: &Fault, broker: usize, log: &str, for_ms: u64) {
        let host = &self.brokers[broker];
        let until = (clock::now() + Duration::from_millis(for_ms)).min(self.end);
        let files = DiskCtl::current().files(host.key);
        let mut found = false;
        for dir in host.data_dirs() {
            let prefix = format!("{dir}/{log}/");
            if files.iter().any(|file| file.path.starts_with(&prefix)) {
                DiskCtl::current().stall(host.key, &prefix, until);
                found = true;
            }
        }
        if found {
            self.note(fault);
        }
    }

    pub(super) async fn disk_error(
        &self,
        fault: &Fault,
        (broker, op, count): (usize, DiskVerb, u64),
        for_ms: u64,
        stays_ms: u64,
    ) {
        let host = &self.brokers[broker];
        self.announce(fault);
        let began = world().elapsed();
        host.expect_trouble();
        let loses = op != DiskVerb::Read;
        let op = match op {
            DiskVerb::Read => DiskOp::Read,
            DiskVerb::Write => DiskOp::Write,
            DiskVerb::Sync => DiskOp::Sync,
            DiskVerb::Meta => DiskOp::Meta,
        };
        let failure = Failure { op, path: String::new(), when: When::Next(count), errno: libc::EIO };
        let rule = DiskCtl::current().fail(host.key, failure);
        self.wait_ms(for_ms).await;
        let struck = DiskCtl::current().end_failure(host.key, rule);
        host.trouble_over();
        if struck > 0 {
            self.count(fault);
        }
        if struck > 0 && loses {
            // Which of the syncs since then failed, and so lost what it was for, the disk does not say.
            self.note_loss(began);
        }
        self.wait_ms(stays_ms).await;
        host.replace_after_trouble();
    }

    pub(super) async fn disk_full(
        &self,
        fault: &Fault,
        broker: usize,
        room_bytes: u64,
        for_ms: u64,
        stays_ms: u64,
    ) {
        let host = &self.brokers[broker];
        self.announce(fault);
        let no_room = || DiskCtl::current().stats(host.key).no_room;
        let (began, no_room_before) = (world().elapsed(), no_room());
        host.expect_trouble();
        let files = DiskCtl::current().files(host.key);
        let limit = |dir: String| {
            let inside =
                |path: &str| path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.starts_with('/'));
            let used: u64 = files.iter().filter(|file| inside(&file.path)).map(|file| file.len).sum();
            DiskCtl::current().limit(host.key, &dir, used + room_bytes)
        };
        let limits: Vec<u64> = host.data_dirs().into_iter().map(limit).collect();
        self.wait_ms(for_ms).await;
        limits.iter().for_each(|limit| DiskCtl::current().end_limit(host.key, *limit));
        host.trouble_over();
        if no_room() > no_room_before {
            self.count(fault);
            // Which of the writes since then found no room, and so lost what it was for, the disk does not say.
            self.note_loss(began);
        }
        self.wait_ms(stays_ms).await;
        host.replace_after_trouble();
    }
}
