//! SIGTERM and SIGINT: the first asks the broker to leave cleanly, the second ends the process at once.

use std::io;

use norn_env::task::ShutdownTrigger;
use tokio::signal::unix::{signal, Signal, SignalKind};

use super::logging;

/// Both signals, caught from here on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the operating system's default, which ends the process.
    pub fn catch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The number of the next one (128 + it is the exit status that shells expect).
    async fn next(&mut self) -> i32 {
        norn_env::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// Passes the first signal on to `trigger`; on the second, does not return.
    pub async fn watch(mut self, trigger: ShutdownTrigger) {
        let first = self.next().await;
        tracing::info!(signal = first, "shutting down; a second signal ends the process at once");
        trigger.signal();
        let second = self.next().await;
        tracing::warn!(signal = second, "ending at once");
        logging::flush();
        std::process::exit(128 + second);
    }
}
