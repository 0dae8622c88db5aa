//! The trace hash: everything that happened in a world, in order, in one number.
//!
//! Two runs of one seed must end with the same hash. The hash is kept at every [`CHAIN_EVERY`] events, so
//! that two runs that differ can be bisected to a span, which [`capture`] then records event by event.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use madsim::time::TimeHandle;

use super::random::mix;
use super::world::world;

/// Events between two kept values of the chain.
pub const CHAIN_EVERY: u64 = 4096;

/// Something that happened. Nodes are keys, see [`super::node`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A supervised task was polled.
    Poll { node: u64, task: u64 },
    /// A sleep ended.
    Timer { node: u64 },
    /// Bytes reached the receiver's kernel. `digest` is the hash of their content.
    Chunk { src: u64, dst: u64, conn: u64, len: u64, digest: u64 },
    /// A disk changed. `what` hashes the operation and its path, `digest` the content.
    Disk { node: u64, what: u64, pos: u64, len: u64, digest: u64 },
    /// A stream (the hash of its name) gave a random number.
    Draw { stream: u64, value: u64 },
}

impl Event {
    /// What is folded of it; the first word says how many follow.
    fn fold_into(&self, lanes: &mut Lanes) {
        let mut fold = |words: &[u64]| words.iter().for_each(|word| lanes.fold(*word));
        match *self {
            Self::Poll { node, task } => fold(&[1, node, task]),
            Self::Timer { node } => fold(&[2, node]),
            Self::Chunk { src, dst, conn, len, digest } => fold(&[3, src, dst, conn, len, digest]),
            Self::Disk { node, what, pos, len, digest } => fold(&[4, node, what, pos, len, digest]),
            Self::Draw { stream, value } => fold(&[5, stream, value]),
        }
    }
}

/// The hash of a trace and the number of events in it. Prints as `0123456789abcdef@42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash {
    pub hash: u64,
    pub events: u64,
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}@{}", self.hash, self.events)
    }
}

/// Two 64-bit lanes. Each step is a bijection of the state, and for one state an injection of the word: a
/// word that differs always leaves another state, which no later common event can bring together again.
#[derive(Clone, Copy)]
struct Lanes(u64, u64);

impl Lanes {
    const START: Self = Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);

    fn fold(&mut self, word: u64) {
        self.0 = mix(self.0.rotate_left(17) ^ word);
        self.1 = (self.1.rotate_left(29) ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn value(self) -> u64 {
        mix(self.0 ^ self.1.rotate_left(32))
    }
}

/// Bytes of content that are hashed in one step, each eight of them apart from the others: a processor does several
/// such chains in the time of one.
const BLOCK: usize = 32;
/// Shorter content is not worth that.
const BLOCKS_FROM: usize = 128;

/// Hashes content.
pub fn digest(bytes: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("chunks of eight"));
    let mut lanes = Lanes::START;
    let (blocks, rest) = match bytes.len() < BLOCKS_FROM {
        true => bytes.split_at(0),
        false => bytes.split_at(bytes.len() / BLOCK * BLOCK),
    };
    if !blocks.is_empty() {
        let mut apart = [Lanes::START; BLOCK / 8];
        for block in blocks.chunks_exact(BLOCK) {
            apart.iter_mut().zip(block.chunks_exact(8)).for_each(|(lanes, bytes)| lanes.fold(word(bytes)));
        }
        for Lanes(a, b) in apart {
            lanes.fold(a);
            lanes.fold(b);
        }
    }
    let mut words = rest.chunks_exact(8);
    for bytes in &mut words {
        lanes.fold(word(bytes));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    lanes.fold(u64::from_le_bytes(last));
    lanes.fold(bytes.len() as u64);
    lanes.value()
}

struct State {
    lanes: Lanes,
    events: u64,
    chain: Vec<u64>,
    captured_range: Range<u64>,
    captured: Vec<(u64, Duration, Event)>,
}

/// The trace of one world.
pub struct Trace {
    time: Option<TimeHandle>,
    state: Mutex<State>,
}

impl Trace {
    pub(crate) fn new(time: TimeHandle) -> Self {
        Self { time: Some(time), ..Self::detached() }
    }

    /// A trace without a clock.
    pub(crate) fn detached() -> Self {
        let state =
            State { lanes: Lanes::START, events: 0, chain: vec![], captured_range: 0..0, captured: vec![] };
        Self { time: None, state: Mutex::new(state) }
    }

    /// Folds an event that happens now.
    pub fn fold(&self, event: Event) {
        self.fold_at(self.time.as_ref().map_or(Duration::ZERO, TimeHandle::elapsed), event);
    }

    /// Folds an event that happens at `at`, which is now.
    pub(crate) fn fold_at(&self, at: Duration, event: Event) {
        let mut state = self.state.lock().expect("no holder panics");
        state.lanes.fold(at.as_nanos() as u64);
        event.fold_into(&mut state.lanes);
        if state.captured_range.contains(&state.events) {
            let index = state.events;
            state.captured.push((index, at, event));
        }
        state.events += 1;
        if state.events.is_multiple_of(CHAIN_EVERY) {
            let value = state.lanes.value();
            state.chain.push(value);
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> TraceHash {
        let state = self.state.lock().expect("no holder panics");
        TraceHash { hash: state.lanes.value(), events: state.events }
    }
}

/// The hash of the current world so far and the number of its events.
pub fn finish() -> (u64, u64) {
    let hash = world().trace().hash();
    (hash.hash, hash.events)
}

/// The hash after each [`CHAIN_EVERY`] events.
pub fn chain() -> Vec<u64> {
    world().trace().state.lock().expect("no holder panics").chain.clone()
}

/// Records the events with these indexes, for [`captured`].
pub fn capture(events: Range<u64>) {
    world().trace().state.lock().expect("no holder panics").captured_range = events;
}

/// Takes what was recorded: index, virtual time, event.
pub fn captured() -> Vec<(u64, Duration, Event)> {
    std::mem::take(&mut world().trace().state.lock().expect("no holder panics").captured)
}

/// Folds the poll of a task.
pub fn fold_poll(node: u64, task: u64) {
    world().trace().fold(Event::Poll { node, task });
}

/// Folds the end of a sleep.
pub fn fold_timer(node: u64) {
    world().trace().fold(Event::Timer { node });
}

/// Folds bytes that arrived.
pub fn fold_chunk(src: u64, dst: u64, conn: u64, bytes: &[u8]) {
    let event = Event::Chunk { src, dst, conn, len: bytes.len() as u64, digest: digest(bytes) };
    world().trace().fold(event);
}

/// Folds a change of a node's disk. `what` names the operation and the path.
pub fn fold_disk(node: u64, what: &str, pos: u64, bytes: &[u8]) {
    let (what, len) = (digest(what.as_bytes()), bytes.len() as u64);
    world().trace().fold(Event::Disk { node, what, pos, len, digest: digest(bytes) });
}

/// Folds a random number.
pub fn fold_draw(stream: u64, value: u64) {
    world().trace().fold(Event::Draw { stream, value });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(events: &[Event]) -> u64 {
        let trace = Trace::detached();
        events.iter().for_each(|e| trace.fold(e.clone()));
        trace.hash().hash
    }

    fn one_of_each() -> Vec<Event> {
        vec![
            Event::Poll { node: 1, task: 2 },
            Event::Timer { node: 3 },
            Event::Chunk { src: 1, dst: 2, conn: 3, len: 4, digest: digest(b"abcd") },
            Event::Disk { node: 1, what: 2, pos: 3, len: 4, digest: digest(b"abcd") },
            Event::Draw { stream: 1, value: 2 },
        ]
    }

    #[test]
    fn one_flipped_bit_of_any_event_changes_the_hash() {
        let trace = one_of_each();
        let before = hash(&trace);
        let flips: [fn(&mut Event, u64); 5] = [
            |e, bit| {
                if let Event::Poll { task, .. } = e {
                    *task ^= bit
                }
            },
            |e, bit| {
                if let Event::Timer { node } = e {
                    *node ^= bit
                }
            },
            |e, bit| {
                if let Event::Chunk { digest, .. } = e {
                    *digest ^= bit
                }
            },
            |e, bit| {
                if let Event::Disk { pos, .. } = e {
                    *pos ^= bit
                }
            },
            |e, bit| {
                if let Event::Draw { value, .. } = e {
                    *value ^= bit
                }
            },
        ];
        for (i, flip) in flips.into_iter().enumerate() {
            for bit in 0..64 {
                let mut changed = trace.clone();
                flip(&mut changed[i], 1 << bit);
                assert_ne!(changed, trace);
                assert_ne!(hash(&changed), before, "event {i}, bit {bit}");
            }
        }
    }

    #[test]
    fn one_flipped_bit_of_the_time_of_any_event_changes_the_hash() {
        let hash = |times: &[u64]| {
            let trace = Trace::detached();
            let events = one_of_each().into_iter().zip(times);
            events.for_each(|(event, at)| trace.fold_at(Duration::from_nanos(*at), event));
            trace.hash().hash
        };
        let times = [10, 20, 30, 40, 50];
        for i in 0..times.len() {
            for bit in 0..64 {
                let mut changed = times;
                changed[i] ^= 1 << bit;
                assert_ne!(hash(&changed), hash(&times), "event {i}, bit {bit}");
            }
        }
    }

    #[test]
    fn one_flipped_bit_of_content_changes_its_digest() {
        for len in [45, BLOCKS_FROM + 45] {
            let content: Vec<u8> = (0..len as u8).collect();
            for i in 0..content.len() * 8 {
                let mut changed = content.clone();
                changed[i / 8] ^= 1 << (i % 8);
                assert_ne!(digest(&changed), digest(&content), "bit {i}");
            }
        }
        assert_ne!(digest(b""), digest(b"\0"));
        assert_ne!(digest(b"\0\0\0\0\0\0\0\0"), digest(b"\0\0\0\0\0\0\0"));
    }

    #[test]
    fn order_and_number_of_events_count() {
        let mut trace = one_of_each();
        let before = hash(&trace);
        trace.swap(0, 1);
        assert_ne!(hash(&trace), before);
        trace.swap(0, 1);
        trace.pop();
        assert_ne!(hash(&trace), before);
    }

    #[test]
    fn the_chain_keeps_a_value_per_span() {
        let trace = Trace::detached();
        for value in 0..CHAIN_EVERY * 2 + 1 {
            trace.fold(Event::Draw { stream: 0, value });
        }
        let state = trace.state.lock().unwrap();
        assert_eq!(state.chain.len(), 2);
        assert_ne!(state.chain[0], state.chain[1]);
    }
}
