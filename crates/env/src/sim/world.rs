//! One simulated world: what its subsystems share, and how it is put into a madsim runtime.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use madsim::plugin::{self, Simulator};
use madsim::rand::{GlobalRng, RngCore};
use madsim::runtime::Runtime;
use madsim::task::NodeId;
use madsim::time::TimeHandle;

use super::clock::Clocks;
use super::disk::DiskSim;
use super::net::{Net, NetConfig};
use super::node::{self, Names};
use super::probes::Probes;
use super::random::RandomStreams;
use super::supervise::TaskIds;
use super::timers::Timers;
use super::trace::Trace;
use super::waits::Waits;

/// How the world differs from the default one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The network before [`super::NetCtl`] changes it.
    pub net: NetConfig,
    /// Whether `buggify!` may ever say yes.
    pub buggify: bool,
    /// Records these events of the trace for [`super::trace::captured`].
    pub capture: Range<u64>,
}

/// What the subsystems of one world share. Tasks of ours keep an `Arc` of it, so that what is dropped after
/// the end of the runtime still finds it.
pub struct World {
    time: TimeHandle,
    streams: RandomStreams,
    trace: Arc<Trace>,
    pub(crate) names: Names,
    pub(crate) tasks: TaskIds,
    pub(crate) timers: Timers,
    pub(crate) waits: Waits,
    pub(crate) probes: Probes,
    pub(crate) clocks: Clocks,
    pub(crate) net: Net,
}

impl World {
    fn new(seed: u64, time: TimeHandle, options: &Options) -> Self {
        let trace = Arc::new(Trace::new(time.clone()));
        let streams = RandomStreams::new(seed, trace.clone());
        Self {
            names: Names::default(),
            tasks: TaskIds::default(),
            timers: Timers::new(time.clone(), trace.clone()),
            waits: Waits::default(),
            probes: Probes::new(options.buggify, seed, streams.stream("buggify")),
            clocks: Clocks::default(),
            net: Net::new(options.net.clone(), streams.stream("network"), time.clone(), trace.clone()),
            time,
            streams,
            trace,
        }
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    /// The virtual clock.
    pub fn time(&self) -> &TimeHandle {
        &self.time
    }

    /// The random streams.
    pub fn streams(&self) -> &RandomStreams {
        &self.streams
    }

    /// The trace hash.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}

/// Holds the world for madsim, which builds a simulator before the seed can be told to it.
struct WorldSim(OnceLock<Arc<World>>);

impl Simulator for WorldSim {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Self {
        Self(OnceLock::new())
    }

    fn create_node(&self, id: NodeId) {
        if let Some(world) = self.0.get() {
            world.net.add_host(node::key(id));
        }
    }

    /// Called when a node is killed: its process is gone, at once.
    fn reset_node(&self, id: NodeId) {
        let Some(world) = self.0.get() else { return };
        let node = node::key(id);
        world.waits.forget_node(node);
        world.net.process_killed(node);
    }
}

/// Puts a new world into `rt`. Call it once, before nodes are created.
///
/// Kill a node before restarting it: madsim's `restart` alone does not tell the simulators.
pub fn install(rt: &Runtime, seed: u64, options: Options) {
    super::interpose::keep();
    rt.add_simulator::<WorldSim>();
    rt.add_simulator::<DiskSim>();
    rt.block_on(async move {
        let world = Arc::new(World::new(seed, TimeHandle::current(), &options));
        let set = plugin::simulator::<WorldSim>().0.set(world.clone());
        assert!(set.is_ok(), "the new holder is empty");
        super::trace::capture(options.capture);
        world.timers.start(&world);
        world.net.start(&world);
    });
}

/// The current world.
///
/// Panics outside of a runtime that [`install`] prepared, and hangs inside of `Simulator` callbacks.
pub fn world() -> Arc<World> {
    plugin::simulator::<WorldSim>().0.get().expect("norn_env::sim::install prepares the runtime").clone()
}

/// The current world; none outside of a simulation, as in a plain unit test of a simulation build.
pub fn try_world() -> Option<Arc<World>> {
    TimeHandle::try_current().map(|_| world())
}

/// Gives the world another future from now on: all random streams, and the order in which tasks run.
pub fn reseed(salt: u64) {
    world().streams().reseed(salt);
    // madsim's generator cannot be seeded again; moving it on changes all that it will say.
    let mut schedule = madsim::rand::thread_rng();
    for _ in 0..=salt % 1024 {
        schedule.next_u64();
    }
}
