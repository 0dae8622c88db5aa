//! Time: the monotonic clock, the wall clock, sleeping and deadlines.
