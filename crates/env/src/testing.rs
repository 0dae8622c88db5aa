//! Running one test against both back ends, for the tests of any crate.

use std::future::Future;

/// Runs `main` on the runtime of this build: tokio's with two threads, or the world of seed 1. Tests that are
/// to hold in both builds use this instead of `#[tokio::test]`, which in a simulation has no world.
pub fn run<T: Send + 'static, F: Future<Output = T>>(main: impl FnOnce() -> F + Send + 'static) -> T {
    #[cfg(madsim)]
    return crate::sim::simulate(1, crate::sim::Options::default(), main);
    #[cfg(not(madsim))]
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("the system has threads for us").block_on(main())
    }
}

/// The same for a test that breaks the real disk from outside the process. In a simulation it has nothing to do: disks
/// are broken through `DiskCtl` there.
pub fn run_on_real_disk<F: Future<Output = ()>>(main: impl FnOnce() -> F + Send + 'static) {
    #[cfg(not(madsim))]
    run(main);
    #[cfg(madsim)]
    drop(main);
}
