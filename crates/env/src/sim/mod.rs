//! The simulated world beneath `norn-env`.

pub mod disk;
