//! What a connection's requests hold while they are read and answered: a share of what one connection may have waiting,
//! and of the broker's budgets ([`Budgets`](crate::budgets::Budgets)).
//!
//! A request that comes with one small read takes both when it is whole. A larger one takes its place and memory to be
//! read into when its size is known, before more of it is read: else a few connections could each bring most of a large
//! request, and all of it would be here. A Produce is charged to the log directory of the first partition that it names.
//! Its peer alone decides when that memory is free again; one that is slow about it is cut off once others wait for the
//! same ([`Arriving::due`]).
//!
//! A response takes both once it is made ([`Unsent`]), until its bytes are in the socket.

use std::{sync::Arc, time::Duration};

use norn_env::{
    budget::{Budget, Permit},
    clock::{self, Instant},
    task,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api;

/// Bytes of requests that wait for their replies on one connection, and of responses that wait for its peer, so that one
/// that sends and never reads holds no more than this. A larger request or response takes all of it. Of a Produce nothing
/// is held here: its records are with their partitions, charged to their log directories.
const HELD_BYTES_MAX: u32 = 1 << 20;

/// How far a peer may be behind the pace of `WHOLE_WITHIN` while others wait for the memory: enough for a few lost
/// packets, and short beside the timeouts of those who wait.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// The pace at which a large request has to come while others wait for the memory. librdkafka gives up a request after
/// 60 s and Java's client after 30 s, so one that takes longer is not waited for at its other end either. Nor is memory for
/// one waited for any longer.
pub(super) const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// One connection's room for [`HELD_BYTES_MAX`] bytes.
struct Room(Arc<Semaphore>);

impl Room {
    fn new() -> Self {
        Room(Arc::new(Semaphore::new(HELD_BYTES_MAX as usize)))
    }

    /// Waits until the peer has taken so much that there is room for `bytes`; more than there can be take all of it.
    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(HELD_BYTES_MAX);
        let room = self.0.clone().acquire_many_owned(bytes);
        let held = task::wait(|| "the peer to take earlier replies".into(), room).await;
        held.expect("the semaphore is never closed")
    }

    fn free(&self) -> usize {
        self.0.available_permits()
    }
}

/// What one connection may have waiting for replies.
pub(super) struct Held(Room);

impl Held {
    pub fn new() -> Self {
        Held(Room::new())
    }

    /// Whether a reply is owed, apart from the one to the request that is being read.
    pub fn owes_replies(&self, reading: Option<&Arriving>) -> bool {
        let own = reading.map_or(0, |arriving| arriving.held.num_permits());
        self.0.free() + own < HELD_BYTES_MAX as usize
    }

    /// Waits for the place of a request of `len` bytes, of which `begins` is known.
    pub async fn place(&self, begins: &[u8], len: usize) -> OwnedSemaphorePermit {
        self.0.take(if api::is_produce(begins) { 1 } else { len.max(1) }).await
    }

    /// Waits for the place and the memory of a large request that is still to come.
    pub async fn begin(&self, begins: &[u8], len: usize, budget: &Budget) -> Arriving {
        let held = self.place(begins, len).await;
        let memory = budget.take(len).await;
        Arriving { held, memory, budget: budget.clone(), len, since: clock::now() }
    }
}

/// The responses of one connection that are made and not sent.
pub(super) struct Unsent(Room);

/// A response's share of what its connection and all connections may have unsent, freed when dropped.
pub(crate) struct UnsentShare {
    _held: OwnedSemaphorePermit,
    _memory: Permit,
}

impl Unsent {
    pub fn new() -> Self {
        Unsent(Room::new())
    }

    /// Waits until the peer has taken so many of the earlier responses that one of `bytes` may wait behind them. While the
    /// memory of all connections is short, one at a time may wait on each: so none depends on the peer of another.
    pub async fn charge(&self, bytes: usize, all: &Budget) -> UnsentShare {
        let bytes = bytes.max(1);
        let held = self.0.take(bytes).await;
        let memory = match all.try_take(bytes) {
            Some(memory) => memory,
            None => {
                drop(self.0.take(HELD_BYTES_MAX as usize - held.num_permits()).await);
                all.take_beyond(bytes)
            }
        };
        UnsentShare { _held: held, _memory: memory }
    }
}

/// What a large request holds while it is read.
pub(super) struct Arriving {
    pub held: OwnedSemaphorePermit,
    pub memory: Permit,
    pub budget: Budget,
    pub len: usize,
    since: Instant,
}

impl Arriving {
    /// Until when the peer may take its time if others wait for memory, now that so many of the bytes have come.
    pub fn due(&self, received: usize) -> Instant {
        let part = WHOLE_WITHIN.as_millis() * received.min(self.len) as u128 / self.len.max(1) as u128;
        self.since + BEHIND_MAX + Duration::from_millis(part as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_pace_is_never_due_and_one_that_stops_soon_is() {
        norn_env::testing::run(|| async {
            let (held, memory) = (Held::new(), Budget::new("memory", 1 << 20));
            let arriving = held.begin(&[], 600_000, &memory).await;
            let due = |received| arriving.due(received) - arriving.since;
            assert_eq!(due(0), BEHIND_MAX);
            assert_eq!(due(300_000), BEHIND_MAX + WHOLE_WITHIN / 2);
            assert_eq!(due(600_000), BEHIND_MAX + WHOLE_WITHIN);
            assert_eq!(due(usize::MAX), BEHIND_MAX + WHOLE_WITHIN);
        });
    }

    #[test]
    fn the_request_that_is_being_read_is_no_owed_reply() {
        norn_env::testing::run(|| async {
            let (held, memory) = (Held::new(), Budget::new("memory", 1 << 20));
            let earlier = held.place(&[0, 1], 100).await;
            let reading = held.begin(&[0, 1], 20_000, &memory).await;
            assert!(held.owes_replies(Some(&reading)));
            drop(earlier);
            assert!(!held.owes_replies(Some(&reading)));
        });
    }

    #[test]
    fn responses_wait_for_their_own_peer_and_for_no_other() {
        norn_env::testing::run(|| async {
            let all = Budget::new("memory", 2 << 20);
            let (one, other) = (Unsent::new(), Unsent::new());
            let first = one.charge(600_000, &all).await;
            let mut second = Box::pin(one.charge(600_000, &all));
            assert!(futures::poll!(&mut second).is_pending());
            drop(first);
            let second = second.await;
            let hog = all.take((2 << 20) - 600_000).await;
            // The memory of all is short: one at a time.
            let third = other.charge(100_000, &all).await;
            let mut fourth = Box::pin(other.charge(100_000, &all));
            assert!(futures::poll!(&mut fourth).is_pending());
            drop(third);
            drop((fourth.await, second, hog));
            assert_eq!(all.used(), 0);
        });
    }
}
