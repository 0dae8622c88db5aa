//! The simulated world beneath `norn-env`: one per madsim runtime, decided by one seed.
//!
//! [`install`] adds it to a runtime before any node exists. All its state lives in madsim simulators, none
//! in statics, so that one process may run one world after another.
//!
//! For whoever writes a simulator: madsim calls `Simulator::{new, create_node, reset_node}` with its table
//! of simulators locked, and timer callbacks with its timer locked. [`world`] and the functions that need it
//! hang there; take what is needed once, outside (see [`World`]).

mod alarm;
pub mod clock;
pub mod disk;
pub mod interpose;
pub mod net;
pub mod node;
pub mod probes;
pub mod random;
mod run;
pub(crate) mod supervise;
pub(crate) mod timers;
pub mod trace;
pub(crate) mod waits;
mod world;

pub use clock::ClockCtl;
pub use disk::DiskCtl;
pub use net::NetCtl;
pub use probes::probes;
pub use random::{RandomStreams, Stream};
pub use run::simulate;
pub use supervise::supervised;
pub use trace::TraceHash;
pub use world::{install, reseed, try_world, world, Options, World};

#[cfg(test)]
mod tests;
