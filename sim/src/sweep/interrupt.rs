//! Ctrl-C as a request: what was reached so far is kept.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on the first SIGINT or SIGTERM is a request to come to an end; the second ends the process.
pub fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler is a function of the right type that only does what a handler may.
        unsafe { libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as usize) };
    }
}

/// Whether somebody has asked for the end.
pub fn asked() -> bool {
    ASKED.load(Relaxed)
}

extern "C" fn on_signal(signal: libc::c_int) {
    ASKED.store(true, Relaxed);
    // SAFETY: takes no pointer.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
