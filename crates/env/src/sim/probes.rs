//! What `sometimes!` and `buggify!` do in a simulation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use super::random::{derive, mix, Stream};
use super::world::{try_world, world};

/// Of the `buggify!` points, how many a seed switches on.
const POINTS_ON: f64 = 0.25;
/// How often a point that is on says yes, unless it says so itself.
const SAYS_YES: f64 = 0.05;

pub(crate) struct Probes {
    hits: Mutex<BTreeMap<&'static str, u64>>,
    buggify: AtomicBool,
    seed: u64,
    random: Stream,
}

impl Probes {
    pub(crate) fn new(buggify: bool, seed: u64, random: Stream) -> Self {
        Self { hits: Mutex::default(), buggify: AtomicBool::new(buggify), seed, random }
    }

    /// Swarm testing: a seed has some points on and the others off, not a little of each.
    fn is_on(&self, name: &str) -> bool {
        (mix(derive(self.seed, name)) >> 11) as f64 / ((1u64 << 53) as f64) < POINTS_ON
    }
}

/// How often each probe and each `buggify!` point that said yes was met.
pub fn probes() -> BTreeMap<&'static str, u64> {
    world().probes.hits.lock().expect("no holder panics").clone()
}

/// Counts that a probe was met. Nothing outside of a world.
pub fn hit(name: &'static str) {
    if let Some(world) = try_world() {
        *world.probes.hits.lock().expect("no holder panics").entry(name).or_default() += 1;
    }
}

/// From here on no `buggify!` point says yes: what is to come in time now comes in the time that it takes.
pub fn stop_buggify() {
    world().probes.buggify.store(false, Ordering::Relaxed);
}

/// Whether the rare but legal thing `name` shall happen now. `probability` counts in seeds that have it on.
pub fn buggify(name: &'static str, probability: Option<f64>) -> bool {
    let Some(world) = try_world() else { return false };
    let probes = &world.probes;
    let yes = probes.buggify.load(Ordering::Relaxed)
        && probes.is_on(name)
        && probes.random.chance(probability.unwrap_or(SAYS_YES));
    if yes {
        *probes.hits.lock().expect("no holder panics").entry(name).or_default() += 1;
    }
    yes
}
