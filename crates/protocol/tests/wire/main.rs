//! Requests and batches as they come from the network: valid, damaged and made up.

mod arbitrary_bytes;
mod codec;
mod counting;
mod golden;
mod layout;
mod strings;
