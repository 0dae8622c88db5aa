//! The only way to wait for several things: always in the written order.

/// `tokio::select!`, always biased: branches are polled in the order in which they stand.
///
/// A fair `select!` draws from a generator that the seed does not govern. Put first what must not starve.
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => {
        $crate::__tokio::select! { biased; $($branches)* }
    };
}
