//! A broken invariant ends the process, as it ends the world in simulation.

use std::time::Duration;

use super::logging;

/// How long the telling of a panic may take, where nobody may read it.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

/// From here on a panic of any thread is told on standard error, and then the process aborts: whatever it would do next
/// rests on something that does not hold. Supervision is about tasks that return.
pub fn abort() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _impatient = std::thread::Builder::new().spawn(|| {
            std::thread::sleep(TELL_PATIENCE);
            std::process::abort();
        });
        // What led to it comes first.
        logging::flush();
        tell(panic);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const CHILD: &str = "NORN_TEST_PANICKING_CHILD";

    #[test]
    fn a_panic_ends_the_process_even_where_nobody_joins_its_thread() {
        if std::env::var_os(CHILD).is_some() {
            super::abort();
            let _ = std::thread::spawn(|| panic!("an invariant does not hold")).join();
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "serve::panics::tests::a_panic_ends_the_process_even_where_nobody_joins_its_thread";
        let child =
            Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert_eq!(child.status.signal(), Some(6), "not SIGABRT: {child:?}");
        assert!(String::from_utf8_lossy(&child.stderr).contains("an invariant does not hold"), "{child:?}");
    }
}
