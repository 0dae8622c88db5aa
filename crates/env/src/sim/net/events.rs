//! What happens in the network by itself, in time: arrivals, acknowledgements, resets, giving up.

use std::io;

use super::conn::{Ack, Item, Side};
use super::state::State;
use crate::sim::trace::{self, Event as TraceEvent};

pub(super) enum Event {
    /// What the pipe of `side` has under way arrives, as far as it is due.
    Deliver { id: u64, side: Side },
    /// The sender at `side` hears what was read.
    Ack { id: u64, side: Side },
    /// A reset arrives at `to`.
    Reset { id: u64, to: Side },
    /// The sender at `side` has tried for long, if this is still the same stall.
    GiveUp { id: u64, side: Side, stall: u64 },
}

impl State {
    pub(super) fn run_due(&mut self) {
        while self.next_event().is_some_and(|at| at <= self.now) {
            let (_, event) = self.events.pop_first().expect("seen above");
            let id = match event {
                Event::Deliver { id, side } => {
                    self.deliver(id, side);
                    id
                }
                Event::Ack { id, side } => {
                    self.ack(id, side);
                    id
                }
                Event::Reset { id, to } => {
                    self.reset(id, to);
                    id
                }
                Event::GiveUp { id, side, stall } => {
                    self.give_up(id, side, stall);
                    id
                }
            };
            self.reap(id);
        }
    }

    fn deliver(&mut self, id: u64, side: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.pipes[side].delivery = false;
        let (src, dst) = conn.route(side);
        if !self.passes(src, dst) {
            return self.stall(id, side);
        }
        if src != dst && self.random.chance(self.config.reset_probability) {
            return self.break_both(id);
        }
        let conn = self.conns.get_mut(&id).expect("looked up above");
        let (pipe, end) = (&mut conn.pipes[side], &mut conn.ends[1 - side]);
        let has_data = pipe.flight.iter().any(|(_, item)| matches!(item, Item::Data(_)));
        if !end.open || (!end.held && has_data) {
            return self.answer_with_reset(id, side);
        }
        while pipe.flight.front().is_some_and(|(at, _)| *at <= self.now) {
            match pipe.flight.pop_front().expect("seen above").1 {
                Item::Data(bytes) => {
                    let (len, digest) = (bytes.len() as u64, trace::digest(&bytes));
                    self.trace.fold(TraceEvent::Chunk { src, dst, conn: id, len, digest });
                    self.stats.chunks += 1;
                    self.stats.bytes += len;
                    pipe.receive(bytes);
                }
                Item::Fin => pipe.fin_received = true,
            }
            self.woken.extend(end.reader.take());
        }
        self.schedule_delivery(id, side);
    }

    /// Data came for a connection that is closed here. If the answer cannot pass, the sender will try again.
    fn answer_with_reset(&mut self, id: u64, sender: Side) {
        let conn = self.conns.get_mut(&id).expect("the caller has it");
        let (src, dst) = conn.route(sender);
        if !self.passes(dst, src) {
            return self.stall(id, sender);
        }
        let conn = self.conns.get_mut(&id).expect("looked up above");
        conn.ends[1 - sender].open = false;
        conn.pipes[sender].flight.clear();
        self.send_reset(id, sender);
    }

    /// Sends a reset to the end at `to`, if that is open.
    pub(super) fn send_reset(&mut self, id: u64, to: Side) {
        let conn = &self.conns[&id];
        if conn.ends[to].open {
            let (from, to_node) = conn.route(1 - to);
            let at = self.now + self.delay(from, to_node);
            self.schedule(at, Event::Reset { id, to });
        }
    }

    fn reset(&mut self, id: u64, to: Side) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !conn.ends[to].open {
            return;
        }
        let (src, dst) = conn.route(1 - to);
        if self.passes(src, dst) {
            self.stats.resets += 1;
            // As Linux tells it (tcp_reset): after an end of file there was nothing more to expect.
            let ended = self.conns[&id].pipes[1 - to].fin_received;
            let error = if ended { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
            self.fail(id, to, error);
        } else if self.conns[&id].pipes[to].used > 0 {
            // Lost. Whoever still has something to send will be told again; the others never.
            self.stall(id, to);
        }
    }

    /// The end at `side` is closed by its kernel: what it had to send is gone, what came can be read.
    fn fail(&mut self, id: u64, side: Side, error: io::ErrorKind) {
        let conn = self.conns.get_mut(&id).expect("the caller has it");
        let (end, pipe) = (&mut conn.ends[side], &mut conn.pipes[side]);
        end.open = false;
        end.error = Some(error);
        pipe.flight.clear();
        pipe.stalled = None;
        self.woken.extend(end.reader.take());
        self.woken.extend(end.writer.take());
    }

    /// Something between the two ends resets the connection at both.
    pub(super) fn break_both(&mut self, id: u64) {
        for side in [0, 1] {
            if self.conns[&id].ends[side].open {
                self.stats.resets += 1;
                self.fail(id, side, io::ErrorKind::ConnectionReset);
            }
        }
    }

    fn ack(&mut self, id: u64, side: Side) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (src, dst) = conn.route(side);
        let passes = self.passes(dst, src);
        let conn = self.conns.get_mut(&id).expect("looked up above");
        let pipe = &mut conn.pipes[side];
        if passes {
            pipe.ack = Ack::None;
            pipe.used -= std::mem::take(&mut pipe.freed);
            self.woken.extend(conn.ends[side].writer.take());
        } else {
            pipe.ack = Ack::Stuck;
        }
    }

    /// What is under way stays so until the link is healed, or the sender gives up.
    fn stall(&mut self, id: u64, side: Side) {
        let stall = self.next_id();
        let pipe = &mut self.conns.get_mut(&id).expect("the caller has it").pipes[side];
        if pipe.stalled.is_none() {
            pipe.stalled = Some(stall);
            let at = self.now + self.random.duration(self.config.abort_after.clone());
            self.schedule(at, Event::GiveUp { id, side, stall });
        }
    }

    fn give_up(&mut self, id: u64, side: Side, stall: u64) {
        if self.conns.get(&id).is_some_and(|conn| conn.pipes[side].stalled == Some(stall)) {
            self.stats.gave_up += 1;
            self.fail(id, side, io::ErrorKind::TimedOut);
        }
    }

    /// After a change for the better between two hosts, or of one (`None` stands for any): what was stuck
    /// is sent again, and is stuck again if the change was not enough.
    pub(super) fn resume(&mut self, a: Option<u64>, b: Option<u64>) {
        let concerned = |(src, dst): (u64, u64)| {
            let is = |want: Option<u64>, node| want.is_none_or(|want| want == node);
            (is(a, src) && is(b, dst)) || (is(a, dst) && is(b, src))
        };
        let routes =
            self.conns.iter().flat_map(|(id, conn)| [(*id, 0, conn.route(0)), (*id, 1, conn.route(1))]);
        let pipes: Vec<_> = routes.filter(|(_, _, route)| concerned(*route)).collect();
        for (id, side, (src, dst)) in pipes {
            let pipe = &mut self.conns.get_mut(&id).expect("listed above").pipes[side];
            let ack_stuck = pipe.ack == Ack::Stuck;
            if pipe.stalled.take().is_some() {
                let at =
                    self.now + self.random.duration(self.config.retransmit.clone()) + self.delay(src, dst);
                let pipe = &mut self.conns.get_mut(&id).expect("listed above").pipes[side];
                pipe.last_arrival = pipe.last_arrival.max(at);
                pipe.flight.iter_mut().for_each(|(arrival, _)| *arrival = at.max(*arrival));
                pipe.delivery = true;
                self.schedule(at, Event::Deliver { id, side });
            }
            if ack_stuck {
                let at =
                    self.now + self.random.duration(self.config.retransmit.clone()) + self.delay(dst, src);
                self.conns.get_mut(&id).expect("listed above").pipes[side].ack = Ack::Travels;
                self.schedule(at, Event::Ack { id, side });
            }
        }
    }
}
