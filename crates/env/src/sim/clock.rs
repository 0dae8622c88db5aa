//! Wall clocks that are wrong: an offset and a drift per node. The host keeps them over restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::node;
use super::world::{world, World};

#[derive(Clone, Copy, Default)]
struct NodeClock {
    offset_ms: i64,
    drift_ppm: i64,
    /// The virtual time that the drift counts from.
    since: Duration,
}

impl NodeClock {
    /// How far the clock is off at virtual time `now`.
    fn error_ms(&self, now: Duration) -> i64 {
        let drifting = now.saturating_sub(self.since).as_millis() as i64;
        self.offset_ms + drifting * self.drift_ppm / 1_000_000
    }
}

#[derive(Default)]
pub(crate) struct Clocks(Mutex<BTreeMap<u64, NodeClock>>);

pub(crate) fn wall_ms() -> i64 {
    let world = world();
    let since_epoch = world.time().now_time().duration_since(SystemTime::UNIX_EPOCH);
    let true_ms = since_epoch.expect("worlds begin in 2022").as_millis() as i64;
    let clocks = world.clocks.0.lock().expect("no holder panics");
    true_ms + clocks.get(&node::current()).map_or(0, |clock| clock.error_ms(world.elapsed()))
}

/// Sets the wall clocks of the world's nodes.
pub struct ClockCtl(Arc<World>);

impl ClockCtl {
    /// Of the current world.
    pub fn current() -> Self {
        Self(world())
    }

    fn change(&self, node: u64, f: impl FnOnce(&mut NodeClock)) {
        let now = self.0.elapsed();
        let mut clocks = self.0.clocks.0.lock().expect("no holder panics");
        let clock = clocks.entry(node).or_default();
        clock.offset_ms = clock.error_ms(now);
        clock.since = now;
        f(clock);
    }

    /// Puts the node's clock this far ahead of true time; negative is behind.
    pub fn set_offset(&self, node: u64, offset_ms: i64) {
        self.change(node, |clock| clock.offset_ms = offset_ms);
    }

    /// Moves the node's clock by this much, at once.
    pub fn jump(&self, node: u64, by_ms: i64) {
        self.change(node, |clock| clock.offset_ms += by_ms);
    }

    /// Lets the node's clock gain this many microseconds per second from now on; negative loses.
    pub fn set_drift(&self, node: u64, drift_ppm: i64) {
        self.change(node, |clock| clock.drift_ppm = drift_ppm);
    }

    /// How far the node's clock is ahead of true time now.
    pub fn error_ms(&self, node: u64) -> i64 {
        let clocks = self.0.clocks.0.lock().expect("no holder panics");
        clocks.get(&node).map_or(0, |clock| clock.error_ms(self.0.elapsed()))
    }
}
