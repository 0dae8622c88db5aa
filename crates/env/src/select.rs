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

#[cfg(test)]
mod tests {
    use crate::testing::run;

    #[test]
    fn the_first_branch_that_is_ready_wins() {
        run(|| async {
            for _ in 0..100 {
                let first = crate::select! {
                    () = std::future::pending() => 0,
                    () = async {} => 1,
                    () = async {} => 2,
                };
                assert_eq!(first, 1);
            }
        });
    }
}
