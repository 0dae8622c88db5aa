//! File descriptors: how many this process may have open (`ulimit -n`), and for whom the last of them are kept.
//!
//! A connection that is refused comes again; a log that cannot open its next file is offline. So connections leave a
//! share of the descriptors to files, and new logs a share of that to those that are there.
//!
//! Simulated nodes have descriptors without end.

#[cfg(not(madsim))]
mod real;

#[cfg(not(madsim))]
pub use real::*;

/// How many descriptors are not taken.
pub fn free() -> u64 {
    #[cfg(madsim)]
    return u64::MAX;
    #[cfg(not(madsim))]
    real::taken_of_limit().map_or(0, |(taken, limit)| limit.saturating_sub(taken))
}

/// How many more logs may be created, if each begins with one file.
pub fn room_for_logs() -> u64 {
    #[cfg(madsim)]
    return u64::MAX;
    #[cfg(not(madsim))]
    real::taken_of_limit().map_or(0, |(taken, limit)| real::left_for_logs(taken, limit))
}
