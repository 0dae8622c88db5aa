//! A sync that begins with the write that it is for, instead of after a way back to the caller.
//!
//! Each file remembers at most one. Its outcome belongs to the next [`sync_data`](super::File::sync_data): an
//! error is told by that one and all later ones, since the operating system tells it only once.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared};

/// As an error can be told to several.
#[derive(Clone, Debug)]
struct Failure(Arc<io::Error>);

impl From<Failure> for io::Error {
    fn from(Failure(error): Failure) -> io::Error {
        match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        }
    }
}

type Outcome = Shared<BoxFuture<'static, Result<(), Failure>>>;

/// What a file knows of it.
#[derive(Default)]
pub(super) struct EarlySync(Mutex<State>);

#[derive(Default)]
struct State {
    /// Changes to the file that have begun.
    changes: u64,
    /// The sync, and how many changes had begun when its write did.
    under_way: Option<(u64, Outcome)>,
}

impl EarlySync {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write, truncation or allocation begins. Gives its number.
    pub fn change(&self) -> u64 {
        let mut state = self.state();
        state.changes += 1;
        state.changes
    }

    /// Whether one is remembered: then no other may begin.
    pub fn is_under_way(&self) -> bool {
        self.state().under_way.is_some()
    }

    /// Remembers the sync that follows the change with this number.
    pub fn begun(&self, change: u64, sync: impl Future<Output = io::Result<()>> + Send + 'static) {
        let outcome = sync.map(|synced| synced.map_err(|error| Failure(Arc::new(error))));
        self.state().under_way = Some((change, outcome.boxed().shared()));
    }

    /// Waits for the sync that is under way, if there is one; whether it covers every change that has begun.
    pub async fn join(&self) -> io::Result<bool> {
        let (change, outcome, covers) = {
            let state = self.state();
            let Some((change, outcome)) = &state.under_way else { return Ok(false) };
            (*change, outcome.clone(), *change == state.changes)
        };
        outcome.await?;
        let mut state = self.state();
        if state.under_way.as_ref().is_some_and(|(of, _)| *of == change) {
            state.under_way = None;
        }
        Ok(covers)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn join(early: &EarlySync) -> io::Result<bool> {
        early.join().now_or_never().expect("the sync has ended")
    }

    #[test]
    fn it_covers_the_change_that_it_follows_and_none_that_began_later() {
        let early = EarlySync::default();
        assert!(!join(&early).unwrap());
        let change = early.change();
        early.begun(change, ready(Ok(())));
        assert!(early.is_under_way());
        assert!(join(&early).unwrap());
        assert!(!early.is_under_way());

        let change = early.change();
        early.change();
        early.begun(change, ready(Ok(())));
        assert!(!join(&early).unwrap());
    }

    #[test]
    fn its_error_is_told_to_everyone_who_asks() {
        let early = EarlySync::default();
        let change = early.change();
        early.begun(change, ready(Err(io::Error::from_raw_os_error(libc::EIO))));
        early.change();
        for _ in 0..2 {
            assert_eq!(join(&early).unwrap_err().raw_os_error(), Some(libc::EIO));
        }
    }
}
