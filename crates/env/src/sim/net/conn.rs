//! The data of a connection: two ends, and a pipe from each to the other.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

/// Which end: 0 connected, 1 accepted. A pipe has the side of its sender.
pub(super) type Side = usize;

/// One end, as its kernel sees it.
pub(super) struct End {
    pub(super) node: u64,
    pub(super) addr: SocketAddr,
    /// The kernel knows the connection; data for one that it does not know is answered with a reset.
    pub(super) open: bool,
    /// A process (or a listener's queue) holds it.
    pub(super) held: bool,
    /// Told once, to whoever reads or writes next.
    pub(super) error: Option<io::ErrorKind>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl End {
    pub(super) fn new(node: u64, addr: SocketAddr) -> Self {
        Self { node, addr, open: true, held: true, error: None, reader: None, writer: None }
    }
}

pub(super) enum Item {
    Data(Bytes),
    /// The sender's direction ends.
    Fin,
}

/// An acknowledgement frees window at the sender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    None,
    Travels,
    /// It met a cut link, and goes again when that heals.
    Stuck,
}

pub(super) struct Pipe {
    pub(super) capacity: usize,
    /// Bytes sent and not yet acknowledged as read.
    pub(super) used: usize,
    /// Read, not yet acknowledged.
    pub(super) freed: usize,
    pub(super) ack: Ack,
    /// Under way, with the time of arrival.
    pub(super) flight: VecDeque<(Instant, Item)>,
    pub(super) last_arrival: Instant,
    /// When the sender's wire is free again.
    pub(super) wire_free: Instant,
    /// An event will deliver the head of `flight`.
    pub(super) delivery: bool,
    /// The link is cut or the host without power; a number, for the timer that gives up.
    pub(super) stalled: Option<u64>,
    pub(super) fin_sent: bool,
    received: VecDeque<Bytes>,
    received_len: usize,
    pub(super) fin_received: bool,
}

impl Pipe {
    pub(super) fn new(capacity: usize, now: Instant) -> Self {
        Self {
            capacity,
            used: 0,
            freed: 0,
            ack: Ack::None,
            flight: VecDeque::new(),
            last_arrival: now,
            wire_free: now,
            delivery: false,
            stalled: None,
            fin_sent: false,
            received: VecDeque::new(),
            received_len: 0,
            fin_received: false,
        }
    }

    pub(super) fn unread(&self) -> usize {
        self.received_len
    }

    pub(super) fn receive(&mut self, bytes: Bytes) {
        self.received_len += bytes.len();
        self.received.push_back(bytes);
    }

    /// Moves `n` received bytes, which are there, into `buf`.
    pub(super) fn take(&mut self, mut n: usize, buf: &mut BytesMut) {
        self.received_len -= n;
        self.freed += n;
        while n > 0 {
            let head = self.received.front_mut().expect("received_len counts them");
            let step = n.min(head.len());
            buf.extend_from_slice(&head[..step]);
            head.advance(step);
            n -= step;
            if head.is_empty() {
                self.received.pop_front();
            }
        }
    }

    pub(super) fn forget_received(&mut self) {
        self.received.clear();
        self.received_len = 0;
    }

    /// All that was sent has arrived, as far as it ever will.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_empty() && self.stalled.is_none()
    }
}

pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Conn {
    /// The nodes that the pipe of `side` leads from and to.
    pub(super) fn route(&self, side: Side) -> (u64, u64) {
        (self.ends[side].node, self.ends[1 - side].node)
    }

    /// Nobody can notice it any more.
    pub(super) fn is_over(&self) -> bool {
        let over = |side: Side| !self.ends[side].held && self.pipes[side].is_idle();
        over(0) && over(1)
    }
}
