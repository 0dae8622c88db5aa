//! Sees that virtual time moves.
//!
//! A lock taken twice, a blocking receive or a loop without an await stop the simulation's thread, and with it every clock
//! in the world. An OS thread outside of it notices, takes the native stack of the stuck thread through a signal, and ends
//! the process as `hang`.

use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use norn_env::clock;

use super::panics::own_frames;
use crate::report::{Finding, Report, Verdict, REPORT_MARK};

/// Virtual time between two beats.
const BEAT: Duration = Duration::from_millis(500);
/// Wall time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The stack could not be taken within this: the thread is stuck where a signal does not help.
const STACK_MAX: Duration = Duration::from_secs(5);

static BEATS: AtomicU64 = AtomicU64::new(0);
static STOPPED: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Starts the watchdog over the calling thread, before a runtime exists on it. None without a limit.
pub fn start(seed: u64, limit: Option<Duration>) {
    let Some(limit) = limit else { return };
    SEED.store(seed, Relaxed);
    // SAFETY: the handler is a function of the right type; pthread_self takes nothing.
    let watched = unsafe {
        libc::signal(libc::SIGUSR1, on_signal as extern "C" fn(libc::c_int) as usize);
        libc::pthread_self()
    };
    let watch = move || {
        let (mut last, mut since) = (0, std::time::Instant::now());
        while !STOPPED.load(Relaxed) {
            std::thread::sleep(LOOK);
            let beats = BEATS.load(Relaxed);
            if beats != last {
                (last, since) = (beats, std::time::Instant::now());
            } else if since.elapsed() >= limit {
                // SAFETY: the thread lives as long as the process, which it has not ended.
                unsafe { libc::pthread_kill(watched, libc::SIGUSR1) };
                std::thread::sleep(STACK_MAX);
                bark("the stuck thread does not take signals");
            }
        }
    };
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
    watchdog.expect("the system has a thread for us");
}

/// Lets the process live on without beats.
pub fn stop() {
    STOPPED.store(true, Relaxed);
}

/// The task in the world that shows that its clock moves.
pub async fn beat() {
    loop {
        BEATS.fetch_add(1, Relaxed);
        clock::sleep(BEAT).await;
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    // Allocates, which a handler should not: a process that hangs here is ended by the watchdog, without a stack.
    let stack = Backtrace::force_capture().to_string();
    let own = own_frames(&stack);
    bark(if own.is_empty() { &stack } else { &own });
}

/// Ends the process with the verdict.
fn bark(stack: &str) -> ! {
    let top = stack.lines().next().unwrap_or_default();
    let finding = Finding::new("hang", format!("virtual time stands still in {top}\n{stack}"));
    let mut report = Report::bare(SEED.load(Relaxed), Verdict::Hang, finding);
    report.virtual_s = BEAT.as_secs_f64() * BEATS.load(Relaxed).saturating_sub(1) as f64;
    let json = serde_json::to_string(&report).unwrap_or_default();
    let out = format!("{REPORT_MARK}{json}\n{}\n", report.line());
    // SAFETY: writes bytes that live until it returns, then ends the process without running anything else.
    unsafe {
        libc::write(libc::STDOUT_FILENO, out.as_ptr().cast(), out.len());
        libc::_exit(i32::from(Verdict::Hang.code()))
    }
}
