//! Wall time as records and producer state carry it.

use std::fmt;

/// Milliseconds since the Unix epoch, read by the caller. Deadlines are `std::time::Instant`s instead:
/// wall time may jump, and is never used to wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// How many milliseconds lie between `earlier` and `self`; negative if the clock went back.
    pub fn since(self, earlier: Millis) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
