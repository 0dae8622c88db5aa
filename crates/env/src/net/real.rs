//! The back end of production: tokio's TCP.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{descriptors, disk};

/// Connections that the kernel holds before we accept them.
const BACKLOG: u32 = 1024;
/// Buffers in one gathered write.
const GATHER_MAX: usize = 64;
/// Bytes that one sendfile(2) may send before others get their turn.
const SEND_FILE_MAX: u64 = 1 << 20;

pub(super) struct Port {
    socket: TcpSocket,
    addr: SocketAddr,
}

impl Port {
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted broker must not wait for its old connections to leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    pub(super) fn listen(self) -> io::Result<Listener> {
        Ok(Listener { inner: self.socket.listen(BACKLOG)?, addr: self.addr })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

pub(super) struct Listener {
    inner: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await.map_err(descriptors::explain)?;
        descriptors::check_connection(&stream)?;
        Ok((Stream::new(stream, peer)?, peer))
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

pub(super) struct Stream {
    inner: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream {
    fn new(inner: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        inner.set_nodelay(true)?;
        Ok(Self { local: inner.local_addr()?, inner, peer })
    }

    pub(super) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(addr).await?, addr)
    }

    pub(super) fn split(self) -> (ReadHalf, WriteHalf) {
        let (reader, writer) = self.inner.into_split();
        (ReadHalf(reader), WriteHalf(writer))
    }

    pub(super) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

pub(super) struct ReadHalf(OwnedReadHalf);

impl ReadHalf {
    pub(super) fn read_buf<'a>(
        &'a mut self,
        buf: &'a mut BytesMut,
    ) -> impl Future<Output = io::Result<usize>> + Send + 'a {
        self.0.read_buf(buf)
    }
}

pub(super) struct WriteHalf(OwnedWriteHalf);

impl WriteHalf {
    pub(super) async fn write_all(&mut self, bufs: &mut VecDeque<Bytes>) -> io::Result<()> {
        loop {
            while bufs.front().is_some_and(Bytes::is_empty) {
                bufs.pop_front();
            }
            if bufs.is_empty() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); GATHER_MAX];
            let mut gathered = 0;
            for (slice, buf) in slices.iter_mut().zip(bufs.iter()) {
                *slice = IoSlice::new(buf);
                gathered += 1;
            }
            let written = self.0.write_vectored(&slices[..gathered]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            take(bufs, written);
        }
    }

    pub(super) async fn send_file(&mut self, file: &disk::File, pos: u64, len: u64) -> io::Result<()> {
        let from = file.raw_fd();
        let socket: &TcpStream = self.0.as_ref();
        let (mut at, end) = (pos, pos + len);
        // Up to here the page cache has it, or had it a moment ago.
        let mut at_hand = at;
        while at < end {
            if at == at_hand {
                at_hand = end.min(at + SEND_FILE_MAX);
                file.bring_in(at, at_hand - at).await?;
            }
            file.check_trusted()?;
            let send = || send_file_once(socket.as_raw_fd(), from, at, at_hand - at);
            match socket.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => at += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.writable().await?;
                    // The peer may have taken its time.
                    at_hand = at;
                }
                Err(error) => return Err(error),
            }
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// Drops the first `n` bytes.
fn take(bufs: &mut VecDeque<Bytes>, mut n: usize) {
    while n > 0 {
        let front = bufs.front_mut().expect("no more was written than was there");
        let step = n.min(front.len());
        front.advance(step);
        n -= step;
        if front.is_empty() {
            bufs.pop_front();
        }
    }
}

fn send_file_once(to: RawFd, from: RawFd, at: u64, count: u64) -> io::Result<u64> {
    let mut at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        // SAFETY: both descriptors are borrowed from owners that outlive the call; `at` is a local.
        let sent = unsafe { libc::sendfile(to, from, &mut at, count as usize) };
        if let Ok(sent) = u64::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
