//! SIGTERM and SIGINT: the first asks the broker to leave cleanly, one that comes a moment later ends the process at once.

use std::future::Future;
use std::io;

use norn_env::clock::{self, Duration};
use norn_env::task::ShutdownTrigger;
use tokio::signal::unix::{signal, Signal, SignalKind};

use super::logging;

/// A signal that follows the first one sooner is the same wish: `timeout` signals its child and then the whole process group,
/// a terminal and a supervisor may both send one.
const REPEAT: Duration = Duration::from_secs(1);

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

    /// Passes the first signal on to `trigger`; on one that comes [`REPEAT`] later, does not return.
    pub async fn watch(self, trigger: ShutdownTrigger) {
        let second = watch(self, trigger, REPEAT).await;
        tracing::warn!(signal = second, "ending at once");
        logging::flush();
        std::process::exit(128 + second);
    }
}

/// Where signals come from.
trait Source: Send {
    /// The number of the next one (128 + it is the exit status that shells expect).
    fn next(&mut self) -> impl Future<Output = i32> + Send;
}

impl Source for Signals {
    async fn next(&mut self) -> i32 {
        norn_env::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// Passes the first signal on to `trigger`; gives the first one that comes `repeat` after it or later.
async fn watch(mut source: impl Source, trigger: ShutdownTrigger, repeat: Duration) -> i32 {
    let first = source.next().await;
    tracing::info!(
        signal = first,
        "shutting down; another signal, {repeat:?} from now or later, ends the process at once"
    );
    let from = clock::now() + repeat;
    trigger.signal();
    loop {
        let another = source.next().await;
        if clock::now() >= from {
            return another;
        }
        tracing::info!(
            signal = another,
            "shutting down already; a signal so soon after the first changes nothing"
        );
    }
}

#[cfg(test)]
mod tests {
    use norn_env::task;
    use tokio::sync::mpsc;

    use super::*;

    struct Sent(mpsc::Receiver<i32>);

    impl Source for Sent {
        async fn next(&mut self) -> i32 {
            self.0.recv().await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_second_signal_counts_only_a_moment_after_the_first() {
        const SHORT: Duration = Duration::from_millis(200);
        let (send, signals) = mpsc::channel(8);
        let (trigger, mut shutdown) = task::shutdown();
        let watching = task::spawn("signals", watch(Sent(signals), trigger, SHORT));
        for signal in [15, 16, 17] {
            send.send(signal).await.unwrap();
        }
        shutdown.signaled().await;
        clock::sleep(SHORT).await;
        assert!(!watching.is_finished(), "those came with the first");
        send.send(18).await.unwrap();
        assert_eq!(watching.await.unwrap(), 18);
    }
}
