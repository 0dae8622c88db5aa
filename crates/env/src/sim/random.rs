//! Independent streams of random numbers, derived from the seed by name.
//!
//! Striking one fault from a run must not shift the others, so each subsystem draws from its own stream; the
//! order in which tasks run is drawn by madsim from its own generator.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::trace::{Event, Trace};
use super::world::world;

/// The finaliser of SplitMix64: a bijection on 64 bits that spreads every bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes a name into the seed. Stable across builds and machines.
pub(crate) fn derive(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed ^ 0x6e6f_726e), |h, b| mix(h.rotate_left(8) ^ u64::from(b)))
}

/// xoshiro256++ (Blackman, Vigna), seeded through SplitMix64.
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn new(seed: u64) -> Self {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        Self(std::array::from_fn(|i| mix(seed.wrapping_add(step.wrapping_mul(i as u64 + 1)))))
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }
}

/// One stream. Clones share its state; unless it is detached, every draw is folded into the trace hash.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    id: u64,
    state: Mutex<Xoshiro>,
    trace: Option<Arc<Trace>>,
}

impl Stream {
    /// A stream outside of any world, for tests and for drawing tapes.
    pub fn detached(seed: u64, name: &str) -> Self {
        Self::new(seed, name, None)
    }

    /// A stream with a seed of its own, whose draws are events of the current world.
    pub fn traced(seed: u64, name: &str) -> Self {
        Self::new(seed, name, Some(world().trace().clone()))
    }

    fn new(seed: u64, name: &str, trace: Option<Arc<Trace>>) -> Self {
        let state = Mutex::new(Xoshiro::new(derive(seed, name)));
        Self(Arc::new(Inner { id: derive(0, name), state, trace }))
    }

    /// The number by which the trace names it.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// 64 random bits.
    pub fn u64(&self) -> u64 {
        let value = self.0.state.lock().expect("no draw panics").next();
        if let Some(trace) = &self.0.trace {
            trace.fold(Event::Draw { stream: self.0.id, value });
        }
        value
    }

    /// A number below `n`, which must not be 0.
    pub fn below(&self, n: u64) -> u64 {
        assert!(n > 0, "nothing is below 0");
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// A number of `range`; its start when the range is empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        match range.end.saturating_sub(range.start) {
            0 => range.start,
            n => range.start + self.below(n),
        }
    }

    /// A number in 0..1, evenly.
    pub fn unit(&self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with `probability`. Draws nothing if that is 0 or less.
    pub fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// A duration of `range`; its start when the range is empty.
    pub fn duration(&self, range: Range<Duration>) -> Duration {
        Duration::from_nanos(self.range(range.start.as_nanos() as u64..range.end.as_nanos() as u64))
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_le_bytes()[..chunk.len()]);
        }
    }

    fn reseed(&self, seed: u64) {
        *self.0.state.lock().expect("no draw panics") = Xoshiro::new(seed);
    }
}

/// The streams of one world, by name: `network`, `disk`, `faults`, `workload`, `buggify`, `node`.
pub struct RandomStreams {
    seed: u64,
    trace: Arc<Trace>,
    streams: Mutex<BTreeMap<String, Stream>>,
}

impl RandomStreams {
    pub(crate) fn new(seed: u64, trace: Arc<Trace>) -> Self {
        Self { seed, trace, streams: Mutex::default() }
    }

    /// The seed that all streams derive from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream of that name; the same one each time.
    pub fn stream(&self, name: &str) -> Stream {
        let mut streams = self.streams.lock().expect("no holder panics");
        if let Some(stream) = streams.get(name) {
            return stream.clone();
        }
        let stream = Stream::new(self.seed, name, Some(self.trace.clone()));
        streams.insert(name.to_owned(), stream.clone());
        stream
    }

    /// Gives every stream a new future: from here on another world that shares this one's past.
    pub fn reseed(&self, salt: u64) {
        for (name, stream) in &*self.streams.lock().expect("no holder panics") {
            stream.reseed(derive(mix(self.seed) ^ mix(salt.wrapping_add(1)), name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_names_or_seeds_differ_and_repeat() {
        let draw = |seed, name| {
            let s = Stream::detached(seed, name);
            (0..4).map(|_| s.u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "disk"), draw(1, "disk"));
        assert_ne!(draw(1, "disk"), draw(1, "network"));
        assert_ne!(draw(1, "disk"), draw(2, "disk"));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let s = Stream::detached(7, "x");
        for n in 1..200 {
            assert!(s.below(n) < n);
            assert!((5..5 + n).contains(&s.range(5..5 + n)));
            assert!((0.0..1.0).contains(&s.unit()));
        }
        assert_eq!(s.range(3..3), 3);
        assert!(!s.chance(0.0));
        assert!(s.chance(1.0));
        let mut bytes = [0; 13];
        s.fill(&mut bytes);
        assert_ne!(bytes, [0; 13]);
    }

    #[test]
    fn a_reseeded_stream_leaves_its_old_path() {
        let streams = RandomStreams::new(1, Arc::new(Trace::detached()));
        let other = RandomStreams::new(1, Arc::new(Trace::detached()));
        let (a, b) = (streams.stream("disk"), other.stream("disk"));
        assert_eq!(a.u64(), b.u64());
        streams.reseed(9);
        assert_ne!(a.u64(), b.u64());
    }
}
