//! The worker threads of one disk.
//!
//! A [`Pool`] has a lane for each kind of work, each lane a queue and a few threads of its own, so that a
//! write does not wait behind a sync nor a read behind a truncation. Threads start when there is work for
//! them and end after a while without; the first lane to stall stalls nobody else. Queues need no bound:
//! each job belongs to a task that waits for it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(30);

/// The kinds of work that do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Writes: copies into the page cache, normally short.
    Write,
    /// Reads that missed the page cache.
    Read,
    /// fdatasync and directory syncs.
    Sync,
    /// Directory operations, truncations and allocations.
    Meta,
}

impl Lane {
    const ALL: [Lane; 4] = [Lane::Write, Lane::Read, Lane::Sync, Lane::Meta];

    /// Most threads of this lane. Syncs and reads profit from the depth of a device's queue, and one that stalls is
    /// not to hold up the rest; the others only need a second thread for the case that the first one waits for the
    /// device.
    const fn threads_max(self) -> usize {
        match self {
            Lane::Write => 4,
            Lane::Read => 8,
            Lane::Sync => 8,
            Lane::Meta => 2,
        }
    }

    const fn letter(self) -> char {
        match self {
            Lane::Write => 'w',
            Lane::Read => 'r',
            Lane::Sync => 's',
            Lane::Meta => 'm',
        }
    }
}

/// The threads and queues of one disk. Dropping it lets the threads finish what is queued and end.
pub(super) struct Pool {
    lanes: [Arc<Queue>; 4],
}

type Job = Box<dyn FnOnce() + Send>;

struct Queue {
    lane: Lane,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Whether a thread has been called for the jobs in the queue and has not come yet.
    called: bool,
    closed: bool,
}

impl Pool {
    pub(super) fn new() -> Pool {
        Pool {
            lanes: Lane::ALL.map(|lane| {
                Arc::new(Queue { lane, state: Mutex::new(State::default()), work: Condvar::new() })
            }),
        }
    }

    /// Runs `op` on a thread of the lane. It runs to its end even if the returned future is dropped, but is
    /// not begun before that future is first polled.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        op: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _caller_left = done.send(op());
        });
        Queue::push(&self.lanes[lane as usize], job)?;
        answer(result).await
    }

    /// As [`Pool::run`], and goes on with `then` on the same thread if `op` succeeded. Gives the outcome of
    /// `then`, which runs whether anybody waits for it or not.
    pub(super) async fn run_then(
        &self,
        lane: Lane,
        op: impl FnOnce() -> io::Result<()> + Send + 'static,
        then: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<impl Future<Output = io::Result<()>>> {
        let (done, result) = oneshot::channel();
        let (all_done, last_result) = oneshot::channel();
        let job: Job = Box::new(move || {
            let first = op();
            let go_on = first.is_ok();
            let _caller_left = done.send(first);
            if go_on {
                let _caller_left = all_done.send(then());
            }
        });
        Queue::push(&self.lanes[lane as usize], job)?;
        answer(result).await?;
        Ok(answer(last_result))
    }
}

async fn answer<T>(result: oneshot::Receiver<io::Result<T>>) -> io::Result<T> {
    result.await.unwrap_or_else(|_| Err(io::Error::other("disk worker ended without an answer")))
}

impl Drop for Pool {
    fn drop(&mut self) {
        for queue in &self.lanes {
            queue.lock().closed = true;
            queue.work.notify_all();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Queue>, job: Job) -> io::Result<()> {
        let mut state = self.lock();
        state.jobs.push_back(job);
        self.call(state)
    }

    /// Sees to it that a thread comes for the jobs in the queue. At most one is called at a time: it takes
    /// several jobs, or calls the next one if there are more than it can take at once.
    fn call(self: &Arc<Queue>, mut state: MutexGuard<'_, State>) -> io::Result<()> {
        if state.jobs.is_empty() || state.called {
            return Ok(());
        }
        if state.idle > 0 {
            state.called = true;
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        if state.threads == self.lane.threads_max() {
            return Ok(());
        }
        state.called = true;
        state.threads += 1;
        let name = format!("norn-disk-{}{}", self.lane.letter(), state.threads);
        let alone = state.threads == 1;
        drop(state);
        let queue = self.clone();
        let started = std::thread::Builder::new().name(name).spawn(move || queue.work());
        match started {
            Ok(_) => Ok(()),
            Err(error) => {
                let mut state = self.lock();
                state.called = false;
                state.threads -= 1;
                // The other threads of this lane will come to it.
                if !alone {
                    return Ok(());
                }
                state.jobs.clear();
                Err(error)
            }
        }
    }

    /// The life of a thread.
    fn work(self: Arc<Queue>) {
        let mut state = self.lock();
        state.called = false;
        loop {
            while let Some(job) = state.jobs.pop_front() {
                // The first of several jobs may wait for the device, so the rest has a right to a thread.
                let _could_not_start = self.call(state);
                job();
                state = self.lock();
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (woken, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            state.called = false;
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc;

    use futures::future::join_all;
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_lane_that_stalls_does_not_stall_another() {
        let pool = Pool::new();
        let (release, stalled) = mpsc::channel::<()>();
        let stalled = Arc::new(Mutex::new(stalled));
        let mut syncs: Vec<_> = (0..2 * Lane::Sync.threads_max())
            .map(|_| {
                let stalled = stalled.clone();
                Box::pin(
                    pool.run(Lane::Sync, move || stalled.lock().unwrap().recv().map_err(io::Error::other)),
                )
            })
            .collect();
        for sync in &mut syncs {
            assert!(sync.now_or_never().is_none());
        }
        for lane in [Lane::Write, Lane::Read, Lane::Meta] {
            assert_eq!(pool.run(lane, || Ok(1)).await.unwrap(), 1);
        }
        drop(release);
        assert!(join_all(syncs).await.into_iter().all(|sync| sync.is_err()));
    }

    #[tokio::test]
    async fn a_burst_is_done_by_few_threads() {
        let pool = Pool::new();
        let jobs =
            (0..1000).map(|_| pool.run(Lane::Write, || Ok(std::thread::current().name().map(str::to_owned))));
        let threads: BTreeSet<_> =
            join_all(jobs).await.into_iter().map(|name| name.unwrap().unwrap()).collect();
        assert!(threads.len() <= Lane::Write.threads_max(), "{threads:?}");
        assert!(threads.iter().all(|name| name.starts_with("norn-disk-w")), "{threads:?}");
    }

    #[tokio::test]
    async fn one_stalled_job_does_not_hold_the_rest_of_its_burst() {
        let pool = Pool::new();
        let (release, stalled) = mpsc::channel::<()>();
        let mut stuck = Box::pin(pool.run(Lane::Write, move || Ok(stalled.recv().is_err())));
        assert!((&mut stuck).now_or_never().is_none());
        let others = join_all((0..100).map(|i| pool.run(Lane::Write, move || Ok(i)))).await;
        assert_eq!(others.len(), 100);
        drop(release);
        assert!(stuck.await.unwrap());
    }

    #[tokio::test]
    async fn what_follows_a_job_is_told_apart_and_left_out_after_a_failure() {
        let pool = Pool::new();
        let (release, held) = mpsc::channel::<()>();
        let then = move || held.recv().map_err(io::Error::other);
        let last = pool.run_then(Lane::Write, || Ok(()), then).await.unwrap();
        drop(release);
        assert!(last.await.is_err());

        let (ran, runs) = mpsc::channel::<()>();
        let then = move || ran.send(()).map_err(io::Error::other);
        let failed = pool.run_then(Lane::Write, || Err(io::ErrorKind::StorageFull.into()), then).await;
        assert_eq!(failed.err().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(runs.recv().is_err());
    }

    #[tokio::test]
    async fn an_ended_thread_is_replaced_and_a_dropped_pool_finishes_its_jobs() {
        let (done, results) = mpsc::channel();
        let pool = Pool::new();
        for i in 0..50 {
            let done = done.clone();
            let _begun =
                Box::pin(pool.run(Lane::Meta, move || done.send(i).map_err(io::Error::other))).now_or_never();
        }
        drop((pool, done));
        assert_eq!(results.iter().collect::<BTreeSet<_>>().len(), 50);
    }
}
