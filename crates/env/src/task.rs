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
    pub fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        f: impl Future<Output = T> + Send + 'static,
    ) {
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
pub async fn wait<F: Future>(what: impl FnOnce() -> String, f: F) -> F::Output {
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
