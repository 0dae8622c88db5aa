//! The state of the network: hosts, listeners, connections, and what processes do with them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::conn::{Ack, Conn, Item, Side};
use super::connect::Listening;
use super::ctl::Stats;
use super::events::Event;
use super::link::Links;
use super::{NetConfig, Stream};
use crate::sim::trace::Trace;

/// Cuts in one write, at most.
const CUTS_MAX: usize = 6;

/// A host: what outlives its processes.
pub(super) struct Host {
    pub(super) ip: IpAddr,
    pub(super) powered: bool,
    pub(super) listeners: BTreeMap<u16, Listening>,
    pub(super) next_port: u16,
}

pub(super) struct State {
    pub(super) config: NetConfig,
    pub(super) random: Stream,
    pub(super) trace: Arc<Trace>,
    pub(super) now: Instant,
    pub(super) hosts: BTreeMap<u64, Host>,
    pub(super) links: Links,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) events: BTreeMap<(Instant, u64), Event>,
    /// Numbers for connections, listeners, events and stalls.
    last_id: u64,
    pub(super) stats: Stats,
    /// To wake when the state is unlocked.
    pub(super) woken: Vec<Waker>,
    /// To drop when the state is unlocked.
    pub(super) dropped: Vec<Waker>,
}

impl State {
    pub(super) fn new(config: NetConfig, random: Stream, trace: Arc<Trace>, now: Instant) -> Self {
        let mut state = Self {
            config,
            random,
            trace,
            now,
            hosts: BTreeMap::new(),
            links: Links::default(),
            conns: BTreeMap::new(),
            events: BTreeMap::new(),
            last_id: 0,
            stats: Stats::default(),
            woken: vec![],
            dropped: vec![],
        };
        state.add_host(0);
        state
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn add_host(&mut self, node: u64) {
        let ip = Ipv4Addr::new(10, 0, (node >> 8) as u8, node as u8).into();
        let next_port = super::connect::first_port(&self.random);
        let host = Host { ip, powered: true, listeners: BTreeMap::new(), next_port };
        self.hosts.entry(node).or_insert(host);
    }

    pub(super) fn set_ip(&mut self, node: u64, ip: IpAddr) {
        let taken = self.hosts.iter().any(|(other, host)| *other != node && host.ip == ip);
        assert!(!taken, "two hosts with the address {ip}");
        self.hosts.get_mut(&node).expect("madsim tells us of each node").ip = ip;
    }

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        let id = self.next_id();
        self.events.insert((at, id), event);
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.events.first_key_value().map(|(key, _)| key.0)
    }

    /// Whether a packet sent now gets through.
    pub(super) fn passes(&self, src: u64, dst: u64) -> bool {
        let powered = |node| self.hosts.get(node).is_some_and(|host: &Host| host.powered);
        powered(&src) && powered(&dst) && !self.links.is_cut(src, dst)
    }

    pub(super) fn delay(&self, src: u64, dst: u64) -> Duration {
        self.links.delay(src, dst, &self.config, &self.random)
    }

    /// A write by the process at `side`: takes from `bufs` what the window has room for.
    pub(super) fn write(
        &mut self,
        id: u64,
        side: Side,
        bufs: &mut VecDeque<Bytes>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (end, pipe) = (&mut conn.ends[side], &mut conn.pipes[side]);
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if !end.open || !end.held || pipe.fin_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let total: usize = bufs.iter().map(Bytes::len).sum();
        let n = total.min(pipe.capacity - pipe.used);
        if n == 0 && total > 0 {
            self.dropped.extend(end.writer.replace(cx.waker().clone()));
            return Poll::Pending;
        }
        pipe.used += n;
        self.send(id, side, bufs, n);
        Poll::Ready(Ok(()))
    }

    /// Puts the first `n` bytes of `bufs` on their way, in pieces.
    fn send(&mut self, id: u64, side: Side, bufs: &mut VecDeque<Bytes>, n: usize) {
        let mut cuts = self.cuts(n);
        cuts.push(n);
        let mut at = 0;
        for cut in cuts {
            let arrival = self.arrival(id, side, cut - at);
            let pipe = &mut self.conns.get_mut(&id).expect("the caller has it").pipes[side];
            while at < cut {
                let head = bufs.front_mut().expect("there are n bytes");
                let piece = head.split_to(head.len().min(cut - at));
                if head.is_empty() {
                    bufs.pop_front();
                }
                at += piece.len();
                if !piece.is_empty() {
                    pipe.flight.push_back((arrival, Item::Data(piece)));
                }
            }
        }
        self.schedule_delivery(id, side);
    }

    /// Where to cut a write of `n` bytes: often nowhere, sometimes within what looks like a header.
    fn cuts(&self, n: usize) -> Vec<usize> {
        if n < 2 {
            return vec![];
        }
        let count = match self.random.below(16) {
            0..=8 => 0,
            9..=12 => 1,
            13..=14 => 2,
            _ => CUTS_MAX,
        };
        let mut cuts: Vec<usize> = (0..count)
            .map(|i| {
                let reach = if i % 2 == 0 { n.min(64) } else { n };
                1 + self.random.below(reach as u64 - 1) as usize
            })
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// When a piece of `len` bytes that is sent now arrives: after all that was sent before it.
    fn arrival(&mut self, id: u64, side: Side, len: usize) -> Instant {
        let (src, dst) = self.conns[&id].route(side);
        let mut delay = self.delay(src, dst);
        let bandwidth = self.config.bandwidth.filter(|_| src != dst);
        let pipe = &mut self.conns.get_mut(&id).expect("looked up above").pipes[side];
        if let Some(bandwidth) = bandwidth {
            let on_wire = Duration::from_secs_f64(len as f64 / bandwidth.max(1) as f64);
            pipe.wire_free = pipe.wire_free.max(self.now) + on_wire;
            delay += pipe.wire_free - self.now;
        }
        pipe.last_arrival = pipe.last_arrival.max(self.now + delay);
        pipe.last_arrival
    }

    /// Sees that an event delivers what is under way.
    pub(super) fn schedule_delivery(&mut self, id: u64, side: Side) {
        let pipe = &mut self.conns.get_mut(&id).expect("the caller has it").pipes[side];
        if pipe.delivery || pipe.stalled.is_some() {
            return;
        }
        if let Some((at, _)) = pipe.flight.front() {
            pipe.delivery = true;
            let at = *at;
            self.schedule(at, Event::Deliver { id, side });
        }
    }

    /// A read by the process at `side`, into spare capacity that `buf` has.
    pub(super) fn read(
        &mut self,
        id: u64,
        side: Side,
        buf: &mut BytesMut,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(conn) = self.conns.get_mut(&id) else { return Poll::Ready(Ok(0)) };
        let there = conn.pipes[1 - side].unread().min(buf.capacity() - buf.len());
        if there > 0 {
            let n =
                if self.random.below(8) == 0 { 1 + self.random.below(there as u64) as usize } else { there };
            conn.pipes[1 - side].take(n, buf);
            self.acknowledge(id, 1 - side);
            return Poll::Ready(Ok(n));
        }
        let end = &mut conn.ends[side];
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if conn.pipes[1 - side].fin_received || !end.open || !end.held {
            return Poll::Ready(Ok(0));
        }
        self.dropped.extend(end.reader.replace(cx.waker().clone()));
        Poll::Pending
    }

    /// Tells the sender of a pipe that there is room again. While it has room enough anyway it hears of it
    /// at once, which it cannot notice and which saves an event per read.
    fn acknowledge(&mut self, id: u64, side: Side) {
        let (src, dst) = self.conns[&id].route(side);
        let passes = self.passes(dst, src);
        let pipe = &mut self.conns.get_mut(&id).expect("looked up above").pipes[side];
        if pipe.ack != Ack::None {
            return;
        }
        if passes && pipe.used * 2 < pipe.capacity {
            pipe.used -= std::mem::take(&mut pipe.freed);
            return;
        }
        pipe.ack = Ack::Travels;
        let at = self.now + self.delay(dst, src);
        self.schedule(at, Event::Ack { id, side });
    }

    /// The process at `side` ends its direction.
    pub(super) fn shutdown(&mut self, id: u64, side: Side) -> io::Result<()> {
        match self.conns.get(&id) {
            Some(conn) if conn.ends[side].open && conn.ends[side].held => {
                self.send_fin(id, side);
                Ok(())
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn send_fin(&mut self, id: u64, side: Side) {
        if self.conns[&id].pipes[side].fin_sent {
            return;
        }
        let arrival = self.arrival(id, side, 0);
        let pipe = &mut self.conns.get_mut(&id).expect("looked up above").pipes[side];
        pipe.fin_sent = true;
        pipe.flight.push_back((arrival, Item::Fin));
        self.schedule_delivery(id, side);
    }

    /// The process at `side` holds the connection no longer. As in Linux, what it left unread makes that a
    /// reset; else the kernel still sends what was written, then an end of file.
    pub(super) fn close(&mut self, id: u64, side: Side) {
        self.release(id, side, true);
    }

    fn release(&mut self, id: u64, side: Side, politely: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let end = &mut conn.ends[side];
        if !end.held {
            return;
        }
        end.held = false;
        self.dropped.extend(end.reader.take());
        self.dropped.extend(end.writer.take());
        let unread = conn.pipes[1 - side].unread();
        conn.pipes[1 - side].forget_received();
        if end.open {
            if politely && unread == 0 {
                self.send_fin(id, side);
            } else {
                end.open = false;
                self.send_reset(id, 1 - side);
            }
        }
        self.reap(id);
    }

    /// Forgets a connection that nobody can notice.
    pub(super) fn reap(&mut self, id: u64) {
        if self.conns.get(&id).is_some_and(Conn::is_over) {
            self.conns.remove(&id);
        }
    }

    /// See [`super::Net::process_killed`].
    pub(super) fn process_killed(&mut self, node: u64) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let powered = host.powered;
        for listening in std::mem::take(&mut host.listeners).into_values() {
            self.dropped.extend(listening.wakers);
        }
        for (id, side) in self.ends_of(node) {
            if powered {
                let politely = self.random.chance(self.config.kill_fin_probability);
                self.release(id, side, politely);
            } else {
                self.vanish(id, side);
            }
        }
    }

    /// The host of an end lost its power: nobody is told.
    pub(super) fn vanish(&mut self, id: u64, side: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let end = &mut conn.ends[side];
        (end.open, end.held) = (false, false);
        self.dropped.extend(end.reader.take());
        self.dropped.extend(end.writer.take());
        conn.pipes[1 - side].forget_received();
        let pipe = &mut conn.pipes[side];
        pipe.flight.clear();
        pipe.stalled = None;
        self.reap(id);
    }

    /// All ends at a node, oldest connection first.
    pub(super) fn ends_of(&self, node: u64) -> Vec<(u64, Side)> {
        let ends =
            self.conns.iter().flat_map(|(id, conn)| [(*id, 0, &conn.ends[0]), (*id, 1, &conn.ends[1])]);
        ends.filter(|(_, _, end)| end.node == node).map(|(id, side, _)| (id, side)).collect()
    }
}
