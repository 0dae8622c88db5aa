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

/// The same for a test that lets a disk hang, which takes a simulated one: outside of a simulation it has nothing to do.
pub fn run_on_hanging_disk<F: Future<Output = ()>>(main: impl FnOnce(HangingDisk) -> F + Send + 'static) {
    #[cfg(madsim)]
    run(|| main(HangingDisk(())));
    #[cfg(not(madsim))]
    drop(main);
}

/// The disk under the running test.
pub struct HangingDisk(());

impl HangingDisk {
    /// Lets no operation on paths with this prefix end until [`HangingDisk::go_on`].
    pub fn hang(&self, prefix: &std::path::Path) {
        #[cfg(madsim)]
        {
            let until = crate::clock::now() + std::time::Duration::from_secs(86_400);
            let disk = crate::sim::disk::DiskCtl::current();
            disk.stall(crate::sim::node::current(), &prefix.display().to_string(), until);
        }
        #[cfg(not(madsim))]
        let _ = prefix;
    }

    /// Lets all operations end.
    pub fn go_on(&self) {
        #[cfg(madsim)]
        crate::sim::disk::DiskCtl::current().clear_stalls(crate::sim::node::current());
    }
}
