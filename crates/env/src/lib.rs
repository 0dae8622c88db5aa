//! Everything that touches the world, and all that differs between the two builds.
//!
//! Each thing here is one type with two back ends: the operating system in production, a deterministic
//! simulation under `--cfg madsim`. Code above this crate never asks which build it is in.

// What is banned elsewhere is wrapped here.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod budget;
pub mod clock;
pub mod descriptors;
pub mod disk;
pub mod net;
pub mod probe;
pub mod rand;
pub mod select;
pub mod task;
pub mod testing;
pub mod wait_report;

#[cfg(madsim)]
pub mod sim;

#[doc(hidden)]
pub use tokio as __tokio;
