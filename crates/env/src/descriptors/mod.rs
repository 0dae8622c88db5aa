//! File descriptors: how many this process may have open (`ulimit -n`), and for whom the last of them are kept.
//!
//! A connection that is refused comes again; a log that cannot open its next file is offline. So each user of descriptors
//! has a [`Share`], behind which the others still find some.
//!
//! Simulated nodes have descriptors without end.

#[cfg(not(madsim))]
mod real;

#[cfg(not(madsim))]
pub use real::*;

/// Up to where a user may take descriptors, in eighths of the limit. Each has less than the next: what is created can be
/// started again, a broker that starts can be connected to, and who looks after one that refuses connections sees why. The
/// rest is for the next segments of logs, and of each log that is written for a second file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    NewLogs = 4,
    Start = 5,
    Connections = 6,
    Probes = 7,
}

/// How many descriptors of a share are not taken. `None` where that cannot be told: nothing is to be refused for them.
pub fn left(share: Share) -> Option<u64> {
    #[cfg(madsim)]
    {
        let _ = share;
        None
    }
    #[cfg(not(madsim))]
    real::left(share)
}
