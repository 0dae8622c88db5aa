//! One partition's replica on this node: epochs, high watermark, and who waits for what.
//!
//! The partition's task appends and syncs; it tells each fact as an [`Event`] and does what each
//! [`Action`] says. The rules that read-only requests follow without asking the task are in
//! [`Bounds`] and [`check_epoch`], over what the task publishes.

mod bounds;
mod message;
mod state;
#[cfg(test)]
mod tests;
mod waits;

pub use bounds::{check_epoch, fetch_answers_at_once, offset_lag, Bounds, FetchAt};
pub use message::{Acks, Action, Event, Settings, Slot};
pub use state::Replica;
