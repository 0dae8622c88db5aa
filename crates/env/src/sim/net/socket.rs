//! The back end of `net` in simulation.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::conn::Side;
use super::connect::Syn;
use crate::clock;
use crate::disk;
use crate::sim::node;
use crate::sim::world::{world, World};

/// From a request to connect to the next one, doubled each time (Linux: TCP_TIMEOUT_INIT).
const SYN_RETRY: Duration = Duration::from_secs(1);
const SYN_RETRY_MAX: Duration = Duration::from_secs(64);
/// What `send_file` reads at once.
const SEND_FILE_CHUNK: u64 = 256 << 10;

/// A listener that refuses.
pub(crate) struct Port(Listener);

impl Port {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let (world, node) = (world(), node::current());
        let (id, addr) = world.net.with(|state| state.bind(node, addr))?;
        Ok(Self(Listener { world, node, id, addr }))
    }

    pub(crate) fn listen(self) -> io::Result<Listener> {
        let Self(listener) = self;
        listener.world.net.with(|state| state.listen(listener.node, listener.addr.port(), listener.id));
        Ok(listener)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.addr
    }
}

pub(crate) struct Listener {
    world: Arc<World>,
    node: u64,
    id: u64,
    addr: SocketAddr,
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let net = &self.world.net;
        let accepted = poll_fn(|cx| net.with(|state| state.accept(self.node, self.addr, self.id, cx)));
        let (conn, peer) = accepted.await?;
        let end = Endpoint { world: self.world.clone(), conn, side: 1 };
        Ok((Stream { end, local: self.addr, peer }, peer))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.world.net.with(|state| state.unbind(self.node, self.addr.port(), self.id));
    }
}

/// A process's hold on its end of a connection.
struct Endpoint {
    world: Arc<World>,
    conn: u64,
    side: Side,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.world.net.with(|state| state.close(self.conn, self.side));
    }
}

pub(crate) struct Stream {
    end: Endpoint,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream {
    /// Tries for ever; the caller has a deadline.
    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let (world, src) = (world(), node::current());
        let net = &world.net;
        let local = net.with(|state| state.local_addr_for(src, addr))?;
        let mut retry = SYN_RETRY;
        loop {
            if let Some(dst) = net.with(|state| state.host_at(src, addr.ip())) {
                if let Some(delay) = net.with(|state| state.travel(src, dst)) {
                    clock::sleep(delay).await;
                    match net.with(|state| state.syn(src, local, dst, addr)) {
                        Syn::Accepted(conn) => {
                            let end = Endpoint { world: world.clone(), conn, side: 0 };
                            answered(&world, src, dst, retry).await;
                            return Ok(Self { end, local, peer: addr });
                        }
                        Syn::Refused => {
                            if let Some(delay) = net.with(|state| state.travel(dst, src)) {
                                clock::sleep(delay).await;
                                return Err(io::ErrorKind::ConnectionRefused.into());
                            }
                        }
                        Syn::Lost => {}
                    }
                }
            }
            clock::sleep(retry).await;
            retry = (retry * 2).min(SYN_RETRY_MAX);
        }
    }

    pub(crate) fn split(self) -> (ReadHalf, WriteHalf) {
        let end = Arc::new(self.end);
        (ReadHalf(end.clone()), WriteHalf(end))
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// Waits for the answer of a host that has accepted, which is sent again while it is lost.
async fn answered(world: &World, src: u64, dst: u64, mut retry: Duration) {
    loop {
        if let Some(delay) = world.net.with(|state| state.travel(dst, src)) {
            return clock::sleep(delay).await;
        }
        clock::sleep(retry).await;
        retry = (retry * 2).min(SYN_RETRY_MAX);
    }
}

pub(crate) struct ReadHalf(Arc<Endpoint>);

impl ReadHalf {
    pub(crate) async fn read_buf(&mut self, buf: &mut BytesMut) -> io::Result<usize> {
        let Endpoint { world, conn, side } = &*self.0;
        poll_fn(|cx| world.net.with(|state| state.read(*conn, *side, buf, cx))).await
    }
}

pub(crate) struct WriteHalf(Arc<Endpoint>);

impl WriteHalf {
    pub(crate) async fn write_all(&mut self, bufs: &mut VecDeque<Bytes>) -> io::Result<()> {
        let Endpoint { world, conn, side } = &*self.0;
        loop {
            while bufs.front().is_some_and(Bytes::is_empty) {
                bufs.pop_front();
            }
            if bufs.is_empty() {
                return Ok(());
            }
            poll_fn(|cx| world.net.with(|state| state.write(*conn, *side, bufs, cx))).await?;
        }
    }

    pub(crate) async fn send_file(&mut self, file: &disk::File, pos: u64, len: u64) -> io::Result<()> {
        let (mut at, end) = (pos, pos + len);
        while at < end {
            let chunk = file.read_at(at, (end - at).min(SEND_FILE_CHUNK) as usize).await?;
            if chunk.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += chunk.len() as u64;
            self.write_all(&mut VecDeque::from([chunk])).await?;
        }
        Ok(())
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.world.net.with(|state| state.shutdown(self.0.conn, self.0.side))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // It may be closed already, by the peer or by an earlier shutdown.
        let _ = self.0.world.net.with(|state| state.shutdown(self.0.conn, self.0.side));
    }
}
