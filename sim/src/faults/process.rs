//! Faults of processes, hosts and their clocks.

use std::time::Duration;

use madsim::runtime::Handle;
use norn_env::clock;
use norn_env::sim::{world, ClockCtl};

use super::director::{Director, Trouble};
use super::underway::Place;
use super::{markers, Fault};
use crate::report::Finding;
use crate::run::waits::{self, CULPRITS};

/// A broker that is told to stop must have stopped after this, whatever its clients do.
const STOP_MAX: Duration = Duration::from_secs(60);

impl Director {
    /// Kills the broker, if it runs, and starts it again. It may be about to stop: then it dies in the middle of that.
    pub(super) async fn kill(&self, fault: &Fault, broker: usize, down_ms: u64) {
        let host = &self.brokers[broker];
        if !host.is_running() {
            return;
        }
        self.note(fault);
        host.hold();
        host.kill();
        self.wait_ms(down_ms).await;
        host.release();
    }

    pub(super) async fn pause(&self, fault: &Fault, broker: usize, for_ms: u64) {
        let host = &self.brokers[broker];
        if !host.is_running() {
            return;
        }
        self.note(fault);
        let process = host.incarnation();
        let set = |_, paused: Option<u32>| match paused {
            Some(_) => Handle::current().pause(host.id),
            None if host.incarnation() == process => Handle::current().resume(host.id),
            // It has died, and another may be paused in its place.
            None => {}
        };
        self.hold(&[Place::Paused(host.key, process)], 1, for_ms, set).await;
    }

    pub(super) async fn graceful_stop(&self, fault: &Fault, broker: usize, down_ms: u64) {
        let host = &self.brokers[broker];
        if !host.tell_to_stop() {
            return;
        }
        self.note(fault);
        let told = world().elapsed();
        host.hold();
        match clock::timeout_at(clock::now() + STOP_MAX, host.ended()).await {
            Ok(true) => {
                let missing = markers::missing(host, &self.harm());
                self.harm.lock().expect("no holder panics").findings.extend(missing);
            }
            // Another fault took the process away meanwhile.
            Ok(false) => return host.release(),
            Err(_) => self.stop_overdue(broker, told),
        }
        host.kill();
        self.wait_ms(down_ms).await;
        host.release();
    }

    /// A process that hangs on a bad disk, or does not run at all, may take its time; what else does not end is a finding.
    fn stop_overdue(&self, broker: usize, told: Duration) {
        let host = &self.brokers[broker];
        let excuses = |trouble: &Trouble| {
            let kind = trouble.fault.kind();
            let holds_up =
                ["disk-stall", "log-stall", "disk-slow", "disk-error", "disk-full", "pause"].contains(&kind);
            // What a bad disk has closed for good it keeps closed until the process is replaced.
            let here = trouble.fault.broker() == Some(broker);
            holds_up && here && trouble.meets(told, world().elapsed())
        };
        if !self.harm().troubles.iter().any(excuses) {
            let waits: Vec<String> = waits::lines(Some(host.key)).into_iter().take(CULPRITS).collect();
            let detail = format!("the broker did not stop within {STOP_MAX:?}\n{}", waits.join("\n"));
            self.harm.lock().expect("no holder panics").findings.push(Finding::new("liveness", detail));
        }
    }

    /// Also of a host whose process is down: what that left unsynced is lost all the same.
    pub(super) async fn power_loss(&self, fault: &Fault, broker: usize, down_ms: u64) {
        let host = &self.brokers[broker];
        if !host.lose_power() {
            return;
        }
        self.note(fault);
        self.note_loss(world().elapsed());
        self.wait_ms(down_ms).await;
        host.regain_power();
    }

    pub(super) async fn client_crash(&self, fault: &Fault, client: usize, down_ms: u64) {
        let Some(id) = self.clients.node(client) else { return };
        if Handle::current().is_exit(id) {
            return;
        }
        self.note(fault);
        Handle::current().kill(id);
        self.wait_ms(down_ms).await;
        Handle::current().restart(id);
    }

    pub(super) fn clock_jump(&self, fault: &Fault, broker: usize, by_ms: i64) {
        self.note(fault);
        ClockCtl::current().jump(self.brokers[broker].key, by_ms);
    }

    pub(super) fn clock_drift(&self, fault: &Fault, broker: usize, ppm: i64) {
        self.note(fault);
        ClockCtl::current().set_drift(self.brokers[broker].key, ppm);
    }
}
