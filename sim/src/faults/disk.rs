//! Faults of disks.

use std::time::Duration;

use norn_env::clock;
use norn_env::sim::disk::{DiskOp, Failure, When};
use norn_env::sim::{world, DiskCtl};

use super::director::Director;
use super::{DiskVerb, Fault};

impl Director {
    pub(super) async fn disk_slow(&self, fault: &Fault, broker: usize, factor: u32, for_ms: u64) {
        let host = &self.brokers[broker];
        self.note(fault);
        DiskCtl::current().set_latency(host.key, host.spec.disk.latency(factor));
        self.wait_ms(for_ms).await;
        DiskCtl::current().set_latency(host.key, host.spec.disk.latency(1));
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
        broker: usize,
        op: DiskVerb,
        count: u64,
        for_ms: u64,
    ) {
        let host = &self.brokers[broker];
        self.announce(fault);
        let failures = || DiskCtl::current().stats(host.key).failures;
        let (began, failed_before) = (world().elapsed(), failures());
        host.expect_trouble();
        let op = match op {
            DiskVerb::Read => DiskOp::Read,
            DiskVerb::Write => DiskOp::Write,
            DiskVerb::Sync => DiskOp::Sync,
            DiskVerb::Meta => DiskOp::Meta,
        };
        let failure = Failure { op, path: String::new(), when: When::Next(count), errno: libc::EIO };
        DiskCtl::current().fail(host.key, failure);
        self.wait_ms(for_ms).await;
        DiskCtl::current().clear_failures(host.key);
        host.replace_after_trouble();
        if failures() > failed_before {
            self.count(fault);
            // Which of the syncs since then failed, and so lost what it was for, the disk does not say.
            self.note_loss(began);
        }
    }

    pub(super) async fn disk_full(&self, fault: &Fault, broker: usize, room_bytes: u64, for_ms: u64) {
        let host = &self.brokers[broker];
        self.note(fault);
        let began = world().elapsed();
        host.expect_trouble();
        let files = DiskCtl::current().files(host.key);
        for dir in host.data_dirs() {
            let inside =
                |path: &str| path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.starts_with('/'));
            let used: u64 = files.iter().filter(|file| inside(&file.path)).map(|file| file.len).sum();
            DiskCtl::current().set_capacity(host.key, &dir, used + room_bytes);
        }
        self.wait_ms(for_ms).await;
        DiskCtl::current().clear_capacity(host.key);
        host.replace_after_trouble();
        // Which of the syncs since then failed, and so lost what it was for, the disk does not say.
        self.note_loss(began);
    }
}
