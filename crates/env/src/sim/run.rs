//! Running a world from a plain test.

use std::future::Future;
use std::time::Duration;

use madsim::runtime::Runtime;

use super::world::{install, Options};

/// Virtual time after which a world is taken for one that never ends.
const TIME_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Runs `main` on the main node of a new world, on a thread of its own: madsim can only seed the hash maps
/// of a thread that has made none. A panic in the world is a panic here.
pub fn simulate<T: Send + 'static, F: Future<Output = T>>(
    seed: u64,
    options: Options,
    main: impl FnOnce() -> F + Send + 'static,
) -> T {
    let world = std::thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        let mut rt = Runtime::with_seed_and_config(seed, madsim::Config::default());
        rt.set_time_limit(TIME_LIMIT);
        install(&rt, seed, options);
        rt.block_on(async { main().await })
    });
    match world.expect("the system has a thread for us").join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
