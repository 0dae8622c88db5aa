//! `norn-sim`: the broker in a world that one seed decides.
//!
//! The seed draws a [`tape`], [`world`] executes it and [`run`] says what came of it, in one process. [`sweep`] is the
//! parent of many such processes, [`mutants`] sweeps known bugs, [`shrink`] makes the tape of a failure small. All of it needs a build with `--cfg madsim`.

// What broker code must not touch, the parent process of a sweep is made of.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

#[cfg(any(madsim, test))]
mod check;
#[cfg(madsim)]
mod cli;
#[cfg(madsim)]
mod client;
#[cfg(madsim)]
mod corpus;
#[cfg(madsim)]
mod faults;
#[cfg(madsim)]
mod functions;
#[cfg(madsim)]
mod mutants;
#[cfg(madsim)]
mod names;
#[cfg(madsim)]
mod probes;
#[cfg(madsim)]
mod replay;
#[cfg(madsim)]
mod report;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod shrink;
#[cfg(madsim)]
mod signature;
#[cfg(madsim)]
mod sweep;
#[cfg(madsim)]
mod tape;
#[cfg(madsim)]
mod workload;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("norn-sim must be built with RUSTFLAGS='--cfg madsim' (and a target directory of its own): make build-sim");
    std::process::ExitCode::from(2)
}
