//! What the simulator may do to the network.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use super::NetConfig;
use crate::sim::world::{world, World};

/// What the network has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub connected: u64,
    pub refused: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// Ends of connections that were reset.
    pub resets: u64,
    /// Ends of connections that sent in vain for too long.
    pub gave_up: u64,
}

/// A link that carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub from: u64,
    pub to: u64,
    /// Virtual time.
    pub since: Duration,
}

/// Controls the network of a world. Nodes are keys, see [`crate::sim::node`].
pub struct NetCtl(Arc<World>);

impl NetCtl {
    /// Of the current world.
    pub fn current() -> Self {
        Self(world())
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        self.0.net.with(f)
    }

    /// Changes what the network is like from now on.
    pub fn configure(&self, change: impl FnOnce(&mut NetConfig)) {
        self.with(|state| change(&mut state.config));
    }

    /// Sets the latency between any two hosts, one way.
    pub fn set_latency(&self, latency: Range<Duration>) {
        self.configure(|config| config.latency = latency);
    }

    /// Cuts the way from `a` to `b`. What is sent is kept by its sender and comes after healing.
    pub fn cut(&self, a: u64, b: u64) {
        self.with(|state| state.links.cut(a, b, state.now));
    }

    /// Cuts both ways.
    pub fn cut_both(&self, a: u64, b: u64) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Heals the way from `a` to `b`.
    pub fn heal(&self, a: u64, b: u64) {
        self.with(|state| {
            state.links.heal(a, b);
            state.resume(Some(a), Some(b));
        });
    }

    /// Heals both ways.
    pub fn heal_both(&self, a: u64, b: u64) {
        self.heal(a, b);
        self.heal(b, a);
    }

    /// Makes every link plain: not cut, not slow, not lossy. Nor does the network as a whole lose or reset any more.
    pub fn heal_all(&self) {
        self.with(|state| {
            state.config.heal();
            state.links.clear();
            state.resume(None, None);
        });
    }

    /// Multiplies the latency from `a` to `b`; 1 is plain.
    pub fn slow(&self, a: u64, b: u64, factor: f64) {
        self.with(|state| state.links.slow(a, b, factor));
    }

    /// How often a piece from `a` to `b` is lost, and comes only when sent again; never less often than
    /// in the whole network.
    pub fn lose(&self, a: u64, b: u64, probability: f64) {
        self.with(|state| state.links.lose(a, b, probability));
    }

    /// The links that are cut.
    pub fn cuts(&self) -> Vec<Cut> {
        let elapsed = self.0.elapsed();
        self.with(|state| {
            let cuts = state.links.cuts();
            cuts.map(|((from, to), at)| Cut { from, to, since: elapsed.saturating_sub(state.now - at) })
                .collect()
        })
    }

    /// Resets all connections of `node`, or only those with `peer`, at both ends at once.
    pub fn reset_connections(&self, node: u64, peer: Option<u64>) {
        self.with(|state| {
            let between = |ends: [u64; 2]| {
                ends.contains(&node) && peer.is_none_or(|peer| ends == [node, peer] || ends == [peer, node])
            };
            let conns = state.conns.iter().filter(|(_, c)| between(c.ends.each_ref().map(|end| end.node)));
            let ids: Vec<u64> = conns.map(|(id, _)| *id).collect();
            for id in ids {
                state.break_both(id);
                state.reap(id);
            }
        });
    }

    /// Takes the power from a host: nothing leaves or reaches it any more. Kill the node right after; its
    /// peers notice by their own deadlines only.
    pub fn host_power_off(&self, node: u64) {
        self.with(|state| {
            state.hosts.get_mut(&node).expect("no such node").powered = false;
            for (id, side) in state.ends_of(node) {
                if !state.conns[&id].ends[side].held {
                    state.vanish(id, side);
                }
            }
        });
    }

    /// Gives power back, before the node is restarted: from now on the host answers what belongs to its
    /// former life with resets.
    pub fn host_power_on(&self, node: u64) {
        self.with(|state| {
            state.hosts.get_mut(&node).expect("no such node").powered = true;
            state.resume(Some(node), None);
        });
    }

    /// Connections that some process can still notice.
    pub fn connections(&self) -> usize {
        self.with(|state| state.conns.len())
    }

    /// What was carried so far.
    pub fn stats(&self) -> Stats {
        self.with(|state| state.stats)
    }
}
