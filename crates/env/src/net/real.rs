//! The back end of production: tokio's TCP.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddr};
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
        let socket = if addr.ip().is_unspecified() { bind_everywhere(addr) } else { bind_one(addr) }?;
        // The address as it was asked for: that the socket is one of IPv6 is nobody's matter.
        let addr = SocketAddr::new(addr.ip(), socket.local_addr()?.port());
        Ok(Self { socket, addr })
    }

    pub(super) fn listen(self) -> io::Result<Listener> {
        Ok(Listener { inner: self.socket.listen(BACKLOG)?, addr: self.addr })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A socket at every address of this machine, of IPv4 and IPv6, as Java binds the wildcard; of IPv4 alone where that is
/// all there is.
fn bind_everywhere(addr: SocketAddr) -> io::Result<TcpSocket> {
    let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port());
    match bind_one(everywhere) {
        Err(error) if addr.is_ipv4() && lacks_ipv6(&error) => bind_one(addr),
        bound => bound,
    }
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        take_ipv4_too(&socket)?;
    }
    // A restarted broker must not wait for its old connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Whether the failure to bind an address of IPv6 says that this machine has none.
fn lacks_ipv6(error: &io::Error) -> bool {
    let none = [libc::EAFNOSUPPORT, libc::EPFNOSUPPORT, libc::EPROTONOSUPPORT, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| none.contains(&code))
}

/// Lets a socket of IPv6 take connections of IPv4, whatever the system's default is (`net.ipv6.bindv6only`).
fn take_ipv4_too(socket: &TcpSocket) -> io::Result<()> {
    let off: libc::c_int = 0;
    let len = size_of_val(&off) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), std::ptr::from_ref(&off).cast());
    // SAFETY: the descriptor is borrowed from its owner; the option's value is a local of that length.
    match unsafe { libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An address of IPv4 that a socket of both tells as one of IPv6 (`::ffff:127.0.0.1`), as what it is.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

pub(super) struct Listener {
    inner: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await.map_err(descriptors::explain)?;
        descriptors::check_connection(&stream)?;
        let peer = canonical(peer);
        Ok((Stream::new(stream, peer)?, peer))
    }

    pub(super) fn into_tcp(self) -> TcpListener {
        self.inner
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
        Ok(Self { local: canonical(inner.local_addr()?), inner, peer })
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "clients that are not ours")]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    /// Whether this machine has IPv6 at all.
    fn has_ipv6() -> bool {
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }

    #[test]
    fn the_wildcard_listens_for_ipv4_and_ipv6() {
        crate::testing::run(|| async {
            for wildcard in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
                if !has_ipv6() {
                    continue;
                }
                let listener = Port::bind(SocketAddr::new(wildcard, 0)).unwrap().listen().unwrap();
                let at = listener.local_addr();
                assert_eq!(at.ip(), wildcard, "as it was asked for");
                for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                    let client = TcpStream::connect((host, at.port())).unwrap();
                    let (accepted, peer) = listener.accept().await.unwrap();
                    assert_eq!(peer, client.local_addr().unwrap(), "of the client's own family");
                    assert_eq!(accepted.local_addr().ip(), host);
                }
            }
        });
    }

    #[test]
    fn one_address_listens_for_nothing_else() {
        crate::testing::run(|| async {
            let listener = Port::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap().listen().unwrap();
            let port = listener.local_addr().port();
            assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
        });
    }

    #[test]
    fn only_a_machine_without_ipv6_does_without() {
        let lacks = |code| lacks_ipv6(&io::Error::from_raw_os_error(code));
        assert!(lacks(libc::EAFNOSUPPORT) && lacks(libc::EADDRNOTAVAIL));
        assert!(!lacks(libc::EADDRINUSE) && !lacks(libc::EACCES));
    }
}
