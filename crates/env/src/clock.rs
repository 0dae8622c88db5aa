//! Time: the monotonic clock, the wall clock, sleeping and deadlines.
//!
//! In simulation time is virtual, and each node's wall clock may be wrong in its own way.

use std::future::Future;
pub use std::time::{Duration, Instant};

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline exceeded")]
pub struct Elapsed;

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// The monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970 by this node's wall clock, which may jump, also backwards.
pub fn wall_ms() -> i64 {
    #[cfg(madsim)]
    return crate::sim::clock::wall_ms();
    #[cfg(not(madsim))]
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// Waits for `d`. In production the timer's grain is a millisecond.
pub async fn sleep(d: Duration) {
    sleep_until(now() + d).await;
}

/// Waits until `at`.
pub async fn sleep_until(at: Instant) {
    #[cfg(madsim)]
    crate::sim::timers::Sleep::until(at).await;
    #[cfg(not(madsim))]
    tokio::time::sleep_until(at.into()).await;
}

/// Awaits `f`, until `at` at the longest. `f` is polled at least once, and goes first when both are due.
pub async fn timeout_at<F: Future>(at: Instant, f: F) -> Result<F::Output, Elapsed> {
    #[cfg(madsim)]
    {
        use std::task::Poll;
        let mut f = std::pin::pin!(f);
        let mut sleep = std::pin::pin!(None);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = f.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if sleep.is_none() {
                sleep.set(Some(crate::sim::timers::Sleep::until(at)));
            }
            let mut sleep = sleep.as_mut().as_pin_mut().expect("set above");
            if sleep.is_due() {
                return Poll::Ready(Err(Elapsed));
            }
            sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }
    #[cfg(not(madsim))]
    tokio::time::timeout_at(at.into(), f).await.map_err(|_| Elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_sleep_takes_its_time() {
        run(|| async {
            let start = now();
            sleep(20 * MS).await;
            assert!(start.elapsed() >= 20 * MS);
            sleep_until(start).await;
        });
    }

    #[test]
    fn the_wall_clock_goes_on() {
        run(|| async {
            let start = wall_ms();
            assert!(start > 1_600_000_000_000);
            sleep(20 * MS).await;
            assert!(wall_ms() >= start + 19);
        });
    }

    #[test]
    fn a_deadline_ends_what_takes_longer_and_only_that() {
        run(|| async {
            let start = now();
            assert_eq!(timeout_at(start + 20 * MS, sleep(2000 * MS)).await, Err(Elapsed));
            assert!(start.elapsed() >= 20 * MS);
            assert_eq!(timeout_at(now() + 2000 * MS, sleep(MS)).await, Ok(()));
            assert_eq!(timeout_at(start, async { 7 }).await, Ok(7));
            assert_eq!(timeout_at(start, std::future::pending::<()>()).await, Err(Elapsed));
        });
    }
}
