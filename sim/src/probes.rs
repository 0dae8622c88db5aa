//! The names of all probes of the broker's crates, collected when this binary was built.

include!(concat!(env!("OUT_DIR"), "/probes.rs"));
