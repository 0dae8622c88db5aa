//! A bound on bytes that are held for others. Who holds some has a [`Permit`], which travels with them until they are gone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};

use crate::task;

/// A number of bytes that may be held at once. Cheap to clone; all clones share one bound.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    bound: u32,
    free: Arc<Semaphore>,
    /// Bytes that are held beyond the bound.
    beyond: AtomicU64,
    /// How often somebody had to wait.
    waits: AtomicU64,
    waiting: watch::Sender<usize>,
}

/// Some bytes of a [`Budget`]. Dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    beyond: u64,
    _within: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// `name`: what the wait-for report says that somebody waits for, behind the number of bytes. `bytes`: at least one,
    /// and no more than 2³²-1.
    pub fn new(name: impl Into<String>, bytes: u64) -> Self {
        let bound = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Budget(Arc::new(Shared {
            name: name.into(),
            bound,
            free: Arc::new(Semaphore::new(bound as usize)),
            beyond: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waiting: watch::Sender::new(0),
        }))
    }

    /// As it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether both are clones of one.
    pub fn is(&self, other: &Budget) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The bytes that may be held at once.
    pub fn bound(&self) -> u64 {
        self.0.bound.into()
    }

    /// The bytes that are held now.
    pub fn used(&self) -> u64 {
        self.bound() - self.0.free.available_permits() as u64 + self.0.beyond.load(Relaxed)
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.used() >= self.bound()
    }

    /// How often somebody had to wait, or to do with less.
    pub fn waits(&self) -> u64 {
        self.0.waits.load(Relaxed)
    }

    /// Waits until there is room for so many bytes; more than the bound take all of it. First come, first served. The caller
    /// puts a deadline on it.
    pub async fn take(&self, bytes: usize) -> Permit {
        if let Some(permit) = self.try_take(bytes) {
            return permit;
        }
        let _waits = Waits::begin(&self.0);
        let room = task::wait(|| self.wanted_bytes(bytes), self.acquire(bytes));
        self.permit(room.await)
    }

    /// Takes so many bytes if there is room now. Passes nobody who waits.
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        let within = self.0.free.clone().try_acquire_many_owned(self.within(bytes)).ok()?;
        Some(self.permit(within))
    }

    /// Takes so many bytes even if they exceed the bound. For who bounds them otherwise, or holds them anyway.
    pub fn take_beyond(&self, bytes: usize) -> Permit {
        if let Some(permit) = self.try_take(bytes) {
            return permit;
        }
        self.0.waits.fetch_add(1, Relaxed);
        self.0.beyond.fetch_add(bytes as u64, Relaxed);
        Permit { shared: self.0.clone(), beyond: bytes as u64, _within: None }
    }

    /// Ends when somebody waits.
    pub async fn wanted(&self) {
        // The sender is this budget's own.
        let _ = self.0.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Whether somebody waits.
    pub fn is_wanted(&self) -> bool {
        *self.0.waiting.borrow() > 0
    }

    fn within(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.0.bound)
    }

    async fn acquire(&self, bytes: usize) -> OwnedSemaphorePermit {
        let acquired = self.0.free.clone().acquire_many_owned(self.within(bytes)).await;
        acquired.expect("the semaphore is never closed")
    }

    fn permit(&self, within: OwnedSemaphorePermit) -> Permit {
        Permit { shared: self.0.clone(), beyond: 0, _within: Some(within) }
    }

    fn wanted_bytes(&self, bytes: usize) -> String {
        format!("{bytes} bytes of {}", self.0.name)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.beyond.fetch_sub(self.beyond, Relaxed);
    }
}

/// One who waits, until it is dropped.
struct Waits<'a>(&'a Shared);

impl<'a> Waits<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.waits.fetch_add(1, Relaxed);
        shared.waiting.send_modify(|waiting| *waiting += 1);
        Waits(shared)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;

    #[test]
    fn what_is_taken_is_told_and_given_back() {
        run(|| async {
            let budget = Budget::new("bytes", 100);
            let first = budget.take(60).await;
            assert_eq!(budget.used(), 60);
            assert!(budget.try_take(41).is_none());
            let beyond = budget.take_beyond(1000);
            assert_eq!((budget.used(), budget.waits()), (1060, 1));
            drop(first);
            assert_eq!(budget.used(), 1000);
            drop(beyond);
            // More than there is takes all there is, and nothing takes something.
            let all = budget.take(1000).await;
            assert_eq!(budget.used(), 100);
            drop(all);
            let least = budget.take(0).await;
            assert_eq!(budget.used(), 1);
            drop(least);
            assert_eq!(budget.used(), 0);
        });
    }

    #[test]
    fn who_waits_is_served_in_turn_and_known_to_wait() {
        run(|| async {
            let budget = Budget::new("bytes", 100);
            let first = budget.take(80).await;
            let mut second = Box::pin(budget.take(50));
            assert!(!budget.is_wanted());
            assert!(futures::poll!(&mut second).is_pending());
            assert!(budget.is_wanted());
            assert!(budget.try_take(10).is_none(), "nobody passes one who waits");
            drop(first);
            drop(second.await);
            assert!(!budget.is_wanted());
            assert_eq!((budget.used(), budget.waits()), (0, 1));
        });
    }

    #[test]
    fn one_who_gave_up_keeps_nothing() {
        run(|| async {
            let budget = Budget::new("bytes", 100);
            let first = budget.take(80).await;
            let mut second = Box::pin(budget.take(50));
            assert!(futures::poll!(&mut second).is_pending());
            drop(second);
            assert!(!budget.is_wanted());
            drop(first);
            assert_eq!(budget.used(), 0);
        });
    }
}
