//! Running one test against both back ends.

use std::future::Future;

/// Runs `main` on the runtime of this build: tokio's with two threads, or a small world.
pub(crate) fn run<T: Send + 'static, F: Future<Output = T>>(main: impl FnOnce() -> F + Send + 'static) -> T {
    #[cfg(madsim)]
    return crate::sim::simulate(1, crate::sim::Options::default(), main);
    #[cfg(not(madsim))]
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap().block_on(main())
    }
}
