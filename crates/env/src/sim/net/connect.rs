//! Listening, connecting and accepting.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::conn::{Conn, End, Pipe};
use super::state::State;
use super::Stream;

/// Ports that the kernel gives out (Linux's default range).
const PORT_FIRST: u16 = 32_768;
const PORT_LAST: u16 = 60_999;

/// Where a host starts to give out ports.
pub(super) fn first_port(random: &Stream) -> u16 {
    PORT_FIRST + random.below(u64::from(PORT_LAST - PORT_FIRST)) as u16
}

/// A socket that has an address, and listens there once it is open.
pub(super) struct Listening {
    pub(super) id: u64,
    ip: IpAddr,
    open: bool,
    queue: VecDeque<u64>,
    pub(super) wakers: Vec<Waker>,
}

/// What becomes of a request to connect, at the host that it reached.
pub(super) enum Syn {
    Accepted(u64),
    Refused,
    /// Nothing is answered.
    Lost,
}

impl State {
    /// Takes an address; gives the listener's id and its address.
    pub(super) fn bind(&mut self, node: u64, mut addr: SocketAddr) -> io::Result<(u64, SocketAddr)> {
        let host = &self.hosts[&node];
        if !addr.ip().is_unspecified() && !addr.ip().is_loopback() && addr.ip() != host.ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if addr.port() == 0 {
            addr.set_port(self.free_port(node)?);
        } else if host.listeners.contains_key(&addr.port()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = self.next_id();
        let listening = Listening { id, ip: addr.ip(), open: false, queue: VecDeque::new(), wakers: vec![] };
        let host = self.hosts.get_mut(&node).expect("looked up above");
        host.listeners.insert(addr.port(), listening);
        Ok((id, addr))
    }

    /// Listens at an address that was taken.
    pub(super) fn listen(&mut self, node: u64, port: u16, id: u64) {
        let host = self.hosts.get_mut(&node).expect("it has an address there");
        if let Some(listening) = host.listeners.get_mut(&port).filter(|listening| listening.id == id) {
            listening.open = true;
        }
    }

    /// The next port that nothing at the host uses.
    fn free_port(&mut self, node: u64) -> io::Result<u16> {
        let ends = self.ends_of(node);
        let used: Vec<u16> = ends.iter().map(|(id, side)| self.conns[id].ends[*side].addr.port()).collect();
        let host = self.hosts.get_mut(&node).expect("madsim tells us of each node");
        for _ in PORT_FIRST..=PORT_LAST {
            let port = host.next_port;
            host.next_port = if port == PORT_LAST { PORT_FIRST } else { port + 1 };
            if !host.listeners.contains_key(&port) && !used.contains(&port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    /// The listener is gone, unless another process listens there by now.
    pub(super) fn unbind(&mut self, node: u64, port: u16, id: u64) {
        let host = self.hosts.get_mut(&node).expect("it has listened");
        if host.listeners.get(&port).is_some_and(|listening| listening.id == id) {
            let listening = host.listeners.remove(&port).expect("seen above");
            self.dropped.extend(listening.wakers);
            for conn in listening.queue {
                self.refuse_queued(conn);
            }
        }
    }

    /// A connection that nobody accepted is reset.
    fn refuse_queued(&mut self, id: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ends[1].held = false;
            conn.ends[1].open = false;
            self.send_reset(id, 0);
            self.reap(id);
        }
    }

    /// The next connection of a listener, with the peer's address.
    pub(super) fn accept(
        &mut self,
        node: u64,
        local: SocketAddr,
        id: u64,
        cx: &Context<'_>,
    ) -> Poll<io::Result<(u64, SocketAddr)>> {
        let host = self.hosts.get_mut(&node).expect("it listens");
        let Some(listening) = host.listeners.get_mut(&local.port()).filter(|l| l.id == id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while let Some(conn) = listening.queue.pop_front() {
            if let Some(accepted) = self.conns.get(&conn) {
                return Poll::Ready(Ok((conn, accepted.ends[0].addr)));
            }
        }
        if !listening.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            listening.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The address that a connection of `node` to `to` comes from.
    pub(super) fn local_addr_for(&mut self, node: u64, to: SocketAddr) -> io::Result<SocketAddr> {
        let ip = if to.ip().is_loopback() { to.ip() } else { self.hosts[&node].ip };
        Ok(SocketAddr::new(ip, self.free_port(node)?))
    }

    /// The host with that address, as seen from `node`.
    pub(super) fn host_at(&self, node: u64, ip: IpAddr) -> Option<u64> {
        if ip.is_loopback() {
            return Some(node);
        }
        self.hosts.iter().find(|(_, host)| host.ip == ip).map(|(key, _)| *key)
    }

    /// How long a packet sent now takes; none if it is lost.
    pub(super) fn travel(&self, src: u64, dst: u64) -> Option<Duration> {
        self.passes(src, dst).then(|| self.delay(src, dst))
    }

    /// A request to connect arrives at `to`, the host of node `dst`.
    pub(super) fn syn(&mut self, src: u64, from: SocketAddr, dst: u64, to: SocketAddr) -> Syn {
        if !self.passes(src, dst) {
            return Syn::Lost;
        }
        let listeners = &self.hosts[&dst].listeners;
        let hears = |listening: &&Listening| {
            listening.open && (listening.ip.is_unspecified() || listening.ip == to.ip())
        };
        let Some(listening) = listeners.get(&to.port()).filter(hears) else {
            self.stats.refused += 1;
            return Syn::Refused;
        };
        if listening.queue.len() >= self.config.backlog {
            return Syn::Lost;
        }
        let id = self.next_id();
        let window = |state: &Self| state.random.range(state.config.window.clone()).max(1) as usize;
        let pipes = [Pipe::new(window(self), self.now), Pipe::new(window(self), self.now)];
        let conn = Conn { ends: [End::new(src, from), End::new(dst, to)], pipes };
        self.conns.insert(id, conn);
        self.stats.connected += 1;
        let host = self.hosts.get_mut(&dst).expect("looked up above");
        let listening = host.listeners.get_mut(&to.port()).expect("looked up above");
        listening.queue.push_back(id);
        self.woken.append(&mut listening.wakers);
        Syn::Accepted(id)
    }
}
