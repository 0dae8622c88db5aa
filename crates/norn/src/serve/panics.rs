//! A broken invariant ends the process, as it ends the world in simulation.

use std::time::Duration;

use super::logging;

/// How long the telling of a panic may take, where nobody may read it.
const TELL_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 5000 });

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
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    const CHILD: &str = "NORN_TEST_PANICKING_CHILD";

    /// This binary, told to run one test as its child.
    fn child(name: &str) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = format!("serve::panics::tests::{name}");
        child.args(["--exact", &name, "--nocapture"]).env(CHILD, "1");
        child
    }

    #[test]
    fn a_panic_ends_the_process_even_where_nobody_reads_of_it() {
        if std::env::var_os(CHILD).is_some() {
            super::abort();
            // More than a pipe holds: whatever else is written waits for ever.
            std::thread::spawn(|| std::io::stderr().write_all(&[b'.'; 1 << 20]));
            std::thread::sleep(Duration::from_millis(100));
            panic!("an invariant does not hold");
        }
        let name = "a_panic_ends_the_process_even_where_nobody_reads_of_it";
        let mut child = child(name).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(6), "not SIGABRT");
    }

    #[test]
    fn a_panic_ends_the_process_even_where_nobody_joins_its_thread() {
        if std::env::var_os(CHILD).is_some() {
            super::abort();
            let _ = std::thread::spawn(|| panic!("an invariant does not hold")).join();
            return;
        }
        let child = child("a_panic_ends_the_process_even_where_nobody_joins_its_thread").output().unwrap();
        assert_eq!(child.status.signal(), Some(6), "not SIGABRT: {child:?}");
        assert!(String::from_utf8_lossy(&child.stderr).contains("an invariant does not hold"), "{child:?}");
    }
}
