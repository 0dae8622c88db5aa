//! The line that tells how far something is: written over itself on a terminal, now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(200);
const EVERY_IN_LOGS: Duration = Duration::from_secs(30);

/// The line.
pub struct Progress {
    began: Instant,
    terminal: bool,
    shown: Instant,
    line_open: bool,
}

impl Progress {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { began: now, terminal: io::stderr().is_terminal(), shown: now, line_open: false }
    }

    /// Seconds since the beginning.
    pub fn elapsed_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Shows the line, if the last one is old enough.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let every = if self.terminal { EVERY } else { EVERY_IN_LOGS };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        self.line_open = self.terminal;
        match self.terminal {
            true => eprint!("\r\x1b[K{}", line()),
            false => eprintln!("{}", line()),
        }
    }

    /// Makes room for other output.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.line_open) {
            eprint!("\r\x1b[K");
        }
    }
}
