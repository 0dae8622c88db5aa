//! A TCP that is as unkind as the real one, in virtual time.
//!
//! A connection is two pipes of bytes ([`conn`]). What is written travels in pieces cut at random, each with
//! its own delay, in order, into a window that fills when nobody reads. Links are cut, slowed and healed by
//! [`NetCtl`]; processes die with a reset or an end of file, hosts die in silence. Hosts are nodes by their
//! key (see [`super::node`]), each with one address, 10.0.x.y for node 256x+y unless it is given another.

mod conn;
mod connect;
mod ctl;
mod events;
mod link;
pub(crate) mod socket;
mod state;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use madsim::time::TimeHandle;
use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::random::Stream;
use super::trace::Trace;
use super::world::World;
pub use ctl::{Cut, NetCtl, Stats};
use state::State;

/// What the network is like. All durations are drawn evenly from their range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetConfig {
    /// One way, between two hosts.
    pub latency: Range<Duration>,
    /// How often a piece takes `spike` longer.
    pub spike_probability: f64,
    pub spike: Range<Duration>,
    /// How often a piece is lost and comes after a retransmission timeout, on links of which `NetCtl` says
    /// nothing worse.
    pub loss: f64,
    /// Of each connection's direction, in bytes per second.
    pub bandwidth: Option<u64>,
    /// Bytes that a writer may have under way or unread before it blocks; drawn per connection.
    pub window: Range<u64>,
    /// From the healing of a link until what was stuck comes.
    pub retransmit: Range<Duration>,
    /// For how long a sender tries before its connection ends with `TimedOut`.
    pub abort_after: Range<Duration>,
    /// How often an arrival breaks its connection, at both ends.
    pub reset_probability: f64,
    /// How often the connections of a killed process end with an end of file instead of a reset, when they
    /// have read all that came.
    pub kill_fin_probability: f64,
    /// Connections that wait to be accepted, at most; more are not answered.
    pub backlog: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(100)..Duration::from_millis(2),
            spike_probability: 0.002,
            spike: Duration::from_millis(2)..Duration::from_millis(40),
            loss: 0.0,
            bandwidth: None,
            window: 32 << 10..96 << 10,
            retransmit: Duration::from_millis(5)..Duration::from_millis(1500),
            abort_after: Duration::from_secs(60)..Duration::from_secs(900),
            reset_probability: 0.0,
            kill_fin_probability: 0.5,
            backlog: 128,
        }
    }
}

impl NetConfig {
    /// Takes away what goes wrong in the network of its own accord.
    pub fn heal(&mut self) {
        self.loss = 0.0;
        self.reset_probability = 0.0;
    }
}

/// The network of one world.
pub(crate) struct Net {
    time: TimeHandle,
    alarm: Alarm,
    state: Mutex<State>,
}

impl Net {
    pub(crate) fn new(config: NetConfig, random: Stream, time: TimeHandle, trace: Arc<Trace>) -> Self {
        let state = Mutex::new(State::new(config, random, trace, time.now_instant()));
        Self { alarm: Alarm::new(time.clone()), time, state }
    }

    /// Spawns the task that moves the bytes, on the current (the main) node: no kill or pause reaches it.
    pub(crate) fn start(&self, world: &Arc<World>) {
        let world = world.clone();
        madsim::task::spawn(poll_fn(move |cx| {
            world.net.alarm.drive(cx.waker());
            world.net.with(State::run_due);
            Poll::<()>::Pending
        }));
    }

    /// Works on the state, then wakes whom that concerns: never with the state locked.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("no holder panics");
        state.now = self.time.now_instant();
        let result = f(&mut state);
        let (woken, dropped) = (std::mem::take(&mut state.woken), std::mem::take(&mut state.dropped));
        let next = state.next_event();
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
        drop(dropped);
        if let Some(at) = next {
            self.alarm.arm(at);
        }
        result
    }

    pub(crate) fn add_host(&self, node: u64) {
        self.with(|state| state.add_host(node));
    }

    pub(crate) fn set_ip(&self, node: u64, ip: IpAddr) {
        self.with(|state| state.set_ip(node, ip));
    }

    /// The node's process is gone; if its host has power, the kernel closes what it had open.
    pub(crate) fn process_killed(&self, node: u64) {
        self.with(|state| state.process_killed(node));
    }
}
