//! TCP: the operating system's in production, a simulated one as unkind as that in simulation.
//!
//! Nothing here needs a flush. A read takes whatever has come, cut anywhere; a write waits for the peer to
//! make room. Connecting has a deadline; reads and writes have none, their callers bring one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use crate::clock::Instant;
use crate::disk;
use crate::task::{wait, wait_for};
use crate::wait_report::What;

#[cfg(madsim)]
use crate::sim::net::socket as back;
#[cfg(not(madsim))]
mod real;
#[cfg(not(madsim))]
use real as back;

#[cfg(test)]
mod tests;

/// What a read makes room for when the buffer has none.
const READ_ROOM: usize = 16 * 1024;

/// An address that is ours and at which nobody listens yet: whoever comes is refused, and knows at once that it is to try
/// again, where a listener that does not accept would let it wait.
pub struct Port(back::Port);

impl Port {
    /// Takes `addr`; port 0 takes a free one. `AddrInUse` if someone else listens there. The wildcard of either family stands
    /// for every address of both, where the machine has IPv6.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        back::Port::bind(addr).map(Self)
    }

    /// Listens from now on. `AddrInUse` if someone else who had taken the address listens by now.
    pub fn listen(self) -> io::Result<Listener> {
        self.0.listen().map(Listener)
    }

    /// Where it will listen, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

/// A listening socket. Dropping it refuses whoever comes, and resets whoever was not accepted.
pub struct Listener(back::Listener);

impl Listener {
    /// Takes `addr` and listens, as [`Port`] does in two steps.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        Port::bind(addr)?.listen()
    }

    /// The next connection and its peer's address. Errors pass (too few descriptors left, a peer that has gone):
    /// log, wait a little and accept again.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = wait(|| format!("accept at {}", self.local_addr()), self.0.accept()).await?;
        Ok((Stream(stream), peer))
    }

    /// Where it listens, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// The operating system's listener, for servers that exist in production only.
    #[cfg(not(madsim))]
    pub fn into_tcp(self) -> tokio::net::TcpListener {
        self.0.into_tcp()
    }
}

/// A connection.
pub struct Stream(back::Stream);

impl Stream {
    /// Connects. `ConnectionRefused` if nobody listens there, `TimedOut` if there was no answer by `deadline`.
    pub async fn connect(addr: SocketAddr, deadline: Instant) -> io::Result<Self> {
        let connect = crate::clock::timeout_at(deadline, back::Stream::connect(addr));
        wait(|| format!("connect to {addr}"), connect).await?.map(Self)
    }

    /// The two directions. The connection closes when both are dropped; dropping the write half alone ends
    /// its direction, as [`WriteHalf::shutdown`] does.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        let peer = self.peer_addr();
        let (reader, writer) = self.0.split();
        (ReadHalf { half: reader, peer }, WriteHalf { half: writer, peer })
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// Our own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

/// The direction from the peer.
pub struct ReadHalf {
    half: back::ReadHalf,
    peer: SocketAddr,
}

impl ReadHalf {
    /// Appends what has come, at most the buffer's spare capacity (some is made if there is none), and says
    /// how many bytes; 0 when the peer has ended its direction. Loses nothing when dropped while it waits.
    pub async fn read_buf(&mut self, buf: &mut BytesMut) -> io::Result<usize> {
        if buf.len() == buf.capacity() {
            buf.reserve(READ_ROOM);
        }
        wait_for(|| What::Peer("read from", self.peer), self.half.read_buf(buf)).await
    }
}

/// The direction to the peer.
pub struct WriteHalf {
    half: back::WriteHalf,
    peer: SocketAddr,
}

impl WriteHalf {
    /// Sends all of `bufs`, gathered, and takes from it what was handed to the kernel: after an error, or
    /// when dropped while it waits, `bufs` holds the rest.
    pub async fn write_all(&mut self, bufs: &mut VecDeque<Bytes>) -> io::Result<()> {
        wait_for(|| What::Peer("write to", self.peer), self.half.write_all(bufs)).await
    }

    /// Sends `len` bytes of `file` from `pos`, in production without bringing them into this process (sendfile(2));
    /// what the page cache lacks is read by the disk's threads first, so that the executor waits for no disk.
    /// `UnexpectedEof` if the file ends before; after any error part of the range may have been sent.
    pub async fn send_file(&mut self, file: &disk::File, pos: u64, len: u64) -> io::Result<()> {
        let send = self.half.send_file(file, pos, len);
        wait(|| format!("send {len} bytes of {} at {pos} to {}", file.path(), self.peer), send).await
    }

    /// Ends this direction: the peer reads what was written, then end of file. The other one goes on.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }
}
