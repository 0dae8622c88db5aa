//! Tasks: named, supervised, and gone with their handle; shutdown; what a task waits for.
//!
//! Supervision is about tasks that return. A task that panics ends the process (`panic = "abort"`), as it
//! ends the world in simulation.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use crate::wait_report::What;

/// The task was aborted before it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task stopped before it returned")]
pub struct Stopped;

/// A running task. Dropping it aborts the task.
#[must_use = "dropping the handle aborts the task"]
pub struct Handle<T> {
    name: Cow<'static, str>,
    join: tokio::task::JoinHandle<T>,
}

/// Starts a task on the runtime.
#[track_caller]
pub fn spawn<T: Send + 'static>(
    name: impl Into<Cow<'static, str>>,
    f: impl Future<Output = T> + Send + 'static,
) -> Handle<T> {
    let name = name.into();
    #[cfg(madsim)]
    let f = crate::sim::supervise::Supervised::new(name.clone().into_owned(), f);
    Handle { name, join: tokio::spawn(f) }
}

impl<T> Handle<T> {
    /// The name that it was spawned with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops the task at its next await; the handle then yields [`Stopped`].
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Whether it has returned or was stopped.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.join).poll(cx));
        #[cfg(not(madsim))]
        let result = result.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => cancelled,
        });
        Poll::Ready(result.map_err(|_| Stopped))
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.join.abort();
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A handle that says its name when it ends.
struct Member<T>(Handle<T>);

impl<T> Future for Member<T> {
    type Output = (String, Result<T, Stopped>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready((self.0.name.clone().into_owned(), result))
    }
}

/// A set of tasks with one owner. Dropping it aborts them all.
pub struct Tasks<T>(FuturesUnordered<Member<T>>);

impl<T: Send + 'static> Tasks<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    /// Starts a task as a member.
    #[track_caller]
    pub fn spawn(&mut self, name: impl Into<Cow<'static, str>>, f: impl Future<Output = T> + Send + 'static) {
        self.0.push(Member(spawn(name, f)));
    }

    /// Takes a running task in as a member.
    pub fn add(&mut self, handle: Handle<T>) {
        self.0.push(Member(handle));
    }

    /// The name and the result of a member that ended; none if there is no member. Loses nothing when
    /// dropped while it waits.
    pub async fn join_next(&mut self) -> Option<(String, Result<T, Stopped>)> {
        self.0.next().await
    }

    /// The number of members whose end was not yet taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Stops all members. Each is still joined, as [`Stopped`] or with what it had returned.
    pub fn abort_all(&mut self) {
        self.0.iter().for_each(|member| member.0.abort());
    }
}

impl<T: Send + 'static> Default for Tasks<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Tasks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|member| &member.0.name)).finish()
    }
}

/// Awaits `f` and, while it is pending, says in the wait-for report what the current task waits for. `what`
/// is called at most once, and only if `f` does not end at once; never in production.
pub fn wait<F: Future>(what: impl FnOnce() -> String, f: F) -> impl Future<Output = F::Output> {
    wait_for(|| What::Text(what()), f)
}

/// [`wait`] for what need not be put into words yet.
pub(crate) async fn wait_for<F: Future>(what: impl FnOnce() -> What, f: F) -> F::Output {
    #[cfg(madsim)]
    return crate::sim::waits::wait(what, f).await;
    #[cfg(not(madsim))]
    {
        drop(what);
        f.await
    }
}

/// Tells tasks that they should come to their end. Dropping it tells them too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl ShutdownTrigger {
    /// Tells all, once and for ever.
    pub fn signal(&self) {
        self.0.send_replace(true);
    }

    /// Another ear for the signal.
    pub fn subscribe(&self) -> Shutdown {
        Shutdown(self.0.subscribe())
    }
}

/// Hears the signal of a [`ShutdownTrigger`].
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits for the signal; at once if it has been given.
    pub async fn signaled(&mut self) {
        // An error says that the trigger is gone, which is a signal too.
        let _ = self.0.wait_for(|signaled| *signaled).await;
    }

    /// Whether the signal has been given.
    pub fn is_signaled(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// A signal and its first ear.
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

/// How many threads run the tasks of a node. Disks have threads of their own and most work is the kernel's, so half the
/// cores keep up with the network. A thread more wakes the others for nothing: on two cores it cost a fifth of the CPU and
/// a third of the memory.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2)
}

/// Runs `f` where it may take long: on a thread for blocking work in production, in place in simulation
/// (where it takes no virtual time). Once begun it runs to its end, even if nobody awaits it any more.
pub async fn blocking<T: Send + 'static>(name: &'static str, f: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(madsim)]
    {
        wait(|| format!("blocking: {name}"), tokio::task::yield_now()).await;
        f()
    }
    #[cfg(not(madsim))]
    match wait(|| format!("blocking: {name}"), tokio::task::spawn_blocking(f)).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down and takes this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::sleep;
    use crate::testing::run;

    async fn for_ever(alive: Arc<()>) -> u32 {
        std::future::pending::<()>().await;
        drop(alive);
        0
    }

    async fn until_only_we_hold(alive: &Arc<()>) {
        while Arc::strong_count(alive) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_task_returns_through_its_handle() {
        run(|| async {
            let handle = spawn("seven", async { 7 });
            assert_eq!(handle.name(), "seven");
            assert_eq!(handle.await, Ok(7));
        });
    }

    #[test]
    fn a_task_is_gone_with_its_handle() {
        run(|| async {
            let alive = Arc::new(());
            let handle = spawn("for ever", for_ever(alive.clone()));
            sleep(Duration::from_millis(1)).await;
            assert!(!handle.is_finished());
            drop(handle);
            until_only_we_hold(&alive).await;
        });
    }

    #[test]
    fn an_aborted_task_is_stopped() {
        run(|| async {
            let handle = spawn("for ever", for_ever(Arc::new(())));
            handle.abort();
            assert_eq!(handle.await, Err(Stopped));
        });
    }

    #[test]
    fn a_set_joins_its_members_by_name_as_they_end() {
        run(|| async {
            let mut tasks = Tasks::new();
            assert!(tasks.is_empty());
            tasks.spawn("late", async { (sleep(Duration::from_millis(50)).await, 1).1 });
            tasks.spawn(format!("early-{}", 1), async { 2 });
            assert_eq!(tasks.len(), 2);
            assert_eq!(tasks.join_next().await, Some(("early-1".to_owned(), Ok(2))));
            assert_eq!(tasks.join_next().await, Some(("late".to_owned(), Ok(1))));
            assert_eq!(tasks.join_next().await, None);
        });
    }

    #[test]
    fn aborting_a_set_stops_its_members_and_dropping_it_too() {
        run(|| async {
            let alive = Arc::new(());
            let mut tasks = Tasks::new();
            tasks.spawn("one", for_ever(alive.clone()));
            tasks.abort_all();
            assert_eq!(tasks.join_next().await, Some(("one".to_owned(), Err(Stopped))));
            tasks.spawn("two", for_ever(alive.clone()));
            assert!(format!("{tasks:?}").contains("two"));
            drop(tasks);
            until_only_we_hold(&alive).await;
        });
    }

    #[test]
    fn all_hear_the_signal_to_shut_down() {
        run(|| async {
            let (trigger, shutdown) = shutdown();
            assert!(!shutdown.is_signaled());
            let mut early = shutdown.clone();
            let waiting = spawn("waiting", async move { early.signaled().await });
            sleep(Duration::from_millis(1)).await;
            trigger.signal();
            waiting.await.unwrap();
            assert!(shutdown.is_signaled());
            shutdown.clone().signaled().await;
            trigger.subscribe().signaled().await;
        });
    }

    #[test]
    fn a_trigger_that_is_gone_is_a_signal() {
        run(|| async {
            let (trigger, mut shutdown) = shutdown();
            drop(trigger);
            assert!(shutdown.is_signaled());
            shutdown.signaled().await;
        });
    }

    #[test]
    fn blocking_work_gives_its_result() {
        run(|| async {
            assert_eq!(blocking("sum", || (1..=10).sum::<u32>()).await, 55);
        });
    }
}
