//! The program `norn`: reads settings, starts a broker and ends it cleanly, and asks brokers about
//! topics and groups. A library too, so that its parsers can be fuzzed.

#[cfg(not(madsim))]
pub mod cli;
pub mod client;
mod columns;
pub mod group;
#[cfg(not(madsim))]
mod serve;
pub mod settings;
pub mod topic;
