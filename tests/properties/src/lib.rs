//! What must hold for any bytes from outside: from the network, from a disk, from a file that a person wrote.
//!
//! Each property is a function of bytes that panics where it does not hold. The fuzzer calls it (`fuzz/`, `make fuzz`),
//! and so do the tests beside it, with bytes that are random and bytes that are nearly right, wherever tests run.

mod config_file;
mod frame_decoder;
mod log_recovery;
mod record_batch;

pub use config_file::config_file;
pub use frame_decoder::frame_decoder;
pub use log_recovery::log_recovery;
pub use record_batch::record_batch;

#[cfg(test)]
mod nearly;
