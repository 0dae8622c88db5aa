//! What a request holds while it is read: its share of what its connection may have waiting for replies, and of the
//! memory of all connections (`queued.max.request.bytes`).
//!
//! A request that comes with one small read takes both when it is whole. A larger one takes its place and memory to be
//! read into when its size is known, before more of it is read: else a few connections could each bring most of a large
//! request, and all of it would be here. Its peer alone decides when that memory is free again; one that is slow about it
//! is cut off once others wait for the same ([`Arriving::due`]). Requests that have come wait for no peer.

use std::{sync::Arc, time::Duration};

use norn_env::{
    clock::{self, Instant},
    task,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::{self, RequestMemory};

/// Bytes of requests that wait for their replies on one connection, so that a peer that sends and never reads holds no
/// more than this. A larger request takes all of it. Of a Produce nothing is held here: its records are with their
/// partitions, which have permits of their own for them.
const HELD_BYTES_MAX: u32 = 1 << 20;

/// How far a peer may be behind the pace of `WHOLE_WITHIN` while others wait for the memory: enough for a few lost
/// packets, and short beside the timeouts of those who wait.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// The pace at which a large request has to come while others wait for the memory. librdkafka gives up a request after
/// 60 s and Java's client after 30 s, so one that takes longer is not waited for at its other end either.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// What one connection may have waiting for replies.
pub(super) struct Held(Arc<Semaphore>);

impl Held {
    pub fn new() -> Self {
        Held(Arc::new(Semaphore::new(HELD_BYTES_MAX as usize)))
    }

    /// Whether a reply is owed, apart from the one to the request that is being read.
    pub fn owes_replies(&self, reading: Option<&Arriving>) -> bool {
        let own = reading.map_or(0, |arriving| arriving.held.num_permits());
        self.0.available_permits() + own < HELD_BYTES_MAX as usize
    }

    /// Waits for the place of a request of `len` bytes, of which `begins` is known.
    pub async fn place(&self, begins: &[u8], len: usize) -> OwnedSemaphorePermit {
        let holds = if api::is_produce(begins) { 1 } else { len };
        let holds = u32::try_from(holds).unwrap_or(u32::MAX).clamp(1, HELD_BYTES_MAX);
        let room = self.0.clone().acquire_many_owned(holds);
        let held = task::wait(|| "the peer to take earlier replies".into(), room).await;
        held.expect("the semaphore is never closed")
    }

    /// Waits for the place and the memory of a large request that is still to come.
    pub async fn begin(&self, begins: &[u8], len: usize, memory: &RequestMemory) -> Arriving {
        let held = self.place(begins, len).await;
        let memory = memory.take_to_read(len).await;
        Arriving { held, memory, len, since: clock::now() }
    }
}

/// What a large request holds while it is read.
pub(super) struct Arriving {
    pub held: OwnedSemaphorePermit,
    pub memory: OwnedSemaphorePermit,
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
            let (held, memory) = (Held::new(), RequestMemory::new(1 << 20));
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
            let (held, memory) = (Held::new(), RequestMemory::new(1 << 20));
            let earlier = held.place(&[0, 1], 100).await;
            let reading = held.begin(&[0, 1], 20_000, &memory).await;
            assert!(held.owes_replies(Some(&reading)));
            drop(earlier);
            assert!(!held.owes_replies(Some(&reading)));
        });
    }

    #[test]
    fn one_that_is_here_does_not_wait_for_those_that_are_arriving() {
        norn_env::testing::run(|| async {
            let (held, memory) = (Held::new(), RequestMemory::new(1 << 20));
            let _all_of_it = held.begin(&[0, 0], 100 << 20, &memory).await;
            let mut next = Box::pin(memory.take_to_read(20_000));
            assert!(futures::poll!(&mut next).is_pending());
            assert!(memory.is_wanted());
            drop(memory.take(100).await);
        });
    }
}
