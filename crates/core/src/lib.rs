//! What Norn decides: pure state machines without I/O, clock or randomness.
//!
//! Each room takes facts (`Event`, a request, a committed command) and an instant that its caller
//! read, and gives back orders (`Action`, a verdict, an outcome). The rooms do not know each other's
//! callers, the log or the network; what they must know of the log, they are told.

pub mod admin;
mod codec;
pub mod group;
pub mod metadata;
pub mod operations;
pub mod producer;
pub mod record_rules;
pub mod replica;
mod time;

pub use codec::DecodeError;
pub use time::Millis;
