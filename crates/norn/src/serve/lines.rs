//! Log lines on their way to standard error.
//!
//! Whoever logs puts its line into a bounded queue and goes on; one thread writes. A reader that stalls, a pipe that is
//! closed or a disk that is full costs lines, never the broker's time or its life. What is lost is counted, and told once
//! lines can be written again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait for a slow reader; lines beyond are lost. Minutes of warnings, and nothing beside a broker's memory.
const QUEUED_BYTES_MAX: usize = 4 << 20;

/// Pause before another try on a terminal or pipe that somebody has made non-blocking.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The queue between all who log and the thread that writes.
pub(super) struct Lines {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
}

struct State {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is busy with a line that it took.
    writing: bool,
    /// Lines lost since it was last told.
    lost: u64,
}

impl Lines {
    pub const fn new() -> Lines {
        let state = State { queue: VecDeque::new(), bytes: 0, writing: false, lost: 0 };
        Lines { state: Mutex::new(state), work: Condvar::new(), idle: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line, or loses it. Never waits for the one who reads.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes + line.len() > QUEUED_BYTES_MAX {
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.queue.push_back(line.to_vec());
        drop(state);
        self.work.notify_one();
    }

    /// Waits until all that was queued is written or lost, but no longer than this.
    pub fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.queue.is_empty();
        let _done_or_not = self.idle.wait_timeout_while(self.lock(), patience, busy);
    }

    /// The life of the thread that writes: never ends. `tell` queues a line about lost ones.
    pub fn write_to(&self, out: &mut impl Write, tell: impl Fn(u64)) -> ! {
        let mut torn = false;
        loop {
            let line = self.next();
            let written = write_line(out, &line, &mut torn);
            let mut state = self.lock();
            if !written {
                state.lost += 1;
                continue;
            }
            // Not while there is hardly room for more, where this line would be lost in its turn.
            if state.lost > 0 && state.bytes <= QUEUED_BYTES_MAX / 2 {
                let lost = std::mem::take(&mut state.lost);
                drop(state);
                tell(lost);
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if let Some(line) = state.queue.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            self.idle.notify_all();
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes one line; false if it is lost. `torn`: the last one was lost half-way, and its rest must not look like a line.
fn write_line(out: &mut impl Write, line: &[u8], torn: &mut bool) -> bool {
    if *torn {
        if write_some(out, b"\n") == 0 {
            return false;
        }
        *torn = false;
    }
    let written = write_some(out, line);
    *torn = (1..line.len()).contains(&written);
    written == line.len()
}

/// Writes until an error; gives the bytes that were written.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(FULL_PAUSE),
            Err(_) => break,
        }
    }
    written
}

/// What a line that is being logged is written to.
pub(super) struct Queued(&'static Lines);

impl Write for Queued {
    /// A whole line: `tracing_subscriber` formats one before it writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for &'static Lines {
    type Writer = Queued;

    fn make_writer(&self) -> Queued {
        Queued(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A file as a test wants it: takes `room` bytes, then fails; while `stalled` it does not answer.
    #[derive(Clone, Default)]
    struct Fake(Arc<(Mutex<FakeState>, Condvar)>);

    #[derive(Default)]
    struct FakeState {
        content: Vec<u8>,
        room: usize,
        stalled: bool,
    }

    impl Fake {
        fn set(&self, room: usize, stalled: bool) {
            let mut state = self.0 .0.lock().unwrap();
            (state.room, state.stalled) = (room, stalled);
            self.0 .1.notify_all();
        }

        fn content(&self) -> String {
            String::from_utf8(self.0 .0.lock().unwrap().content.clone()).unwrap()
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0 .1.wait_while(self.0 .0.lock().unwrap(), |state| state.stalled).unwrap();
            let taken = bytes.len().min(state.room);
            state.room -= taken;
            state.content.extend_from_slice(&bytes[..taken]);
            match taken {
                0 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(taken),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines that are written to a file, by a thread that ends with the tests.
    fn lines(file: &Fake) -> &'static Lines {
        let lines: &'static Lines = Box::leak(Box::new(Lines::new()));
        let mut out = file.clone();
        std::thread::spawn(move || {
            lines.write_to(&mut out, |lost| lines.push(format!("lost {lost}\n").as_bytes()))
        });
        lines
    }

    #[test]
    fn what_was_logged_is_written_once_the_flush_returns() {
        let file = Fake::default();
        file.set(usize::MAX, false);
        let lines = lines(&file);
        let logged: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        logged.split_inclusive('\n').for_each(|line| lines.push(line.as_bytes()));
        lines.flush(PATIENCE);
        assert_eq!(file.content(), logged);
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_lost_and_told_when_there_is_room_again() {
        let file = Fake::default();
        file.set(6, false);
        let lines = lines(&file);
        for line in ["one\n", "torn\n", "gone\n"] {
            lines.push(line.as_bytes());
        }
        lines.flush(PATIENCE);
        assert_eq!(file.content(), "one\nto");
        file.set(usize::MAX, false);
        lines.push(b"two\n");
        lines.flush(PATIENCE);
        assert_eq!(file.content(), "one\nto\ntwo\nlost 2\n");
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_and_costs_the_lines_beyond_the_bound() {
        let file = Fake::default();
        file.set(usize::MAX, true);
        let lines = lines(&file);
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..3 * QUEUED_BYTES_MAX / line.len() {
            lines.push(&line);
        }
        assert!(lines.lock().bytes <= QUEUED_BYTES_MAX);
        let before = Instant::now();
        lines.flush(Duration::from_millis(20));
        assert!(before.elapsed() < PATIENCE, "the flush has no end");
        file.set(usize::MAX, false);
        lines.flush(PATIENCE);
        let content = file.content();
        let told = content.lines().filter_map(|line| line.strip_prefix("lost ")?.parse::<usize>().ok());
        let (whole, told) = (content.lines().filter(|line| line.len() == 1023).count(), told.sum::<usize>());
        assert_eq!(whole + told, 3 * QUEUED_BYTES_MAX / line.len());
        assert!(told > 0 && whole >= QUEUED_BYTES_MAX / line.len());
    }
}
