//! One seed in a process of its own, with nothing of this one's environment, addresses or leftovers.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::interrupt;
use crate::report::{Finding, Report, Verdict, COMMIT, REPORT_MARK};
use crate::run::{seconds, ASK_PERSONA};

/// Tells a build with mutants which of them is on.
pub const MUTANT_VAR: &str = "NORN_MUTANT";

/// Wall time between two looks at a running child.
const LOOK: Duration = Duration::from_millis(2);
/// Of what a child says beside its report, this much of the end is kept.
const TAIL_MAX: usize = 4 << 10;

/// How to run a seed.
#[derive(Clone, Debug)]
pub struct Job {
    /// The binary: this one, or one with mutants in it.
    pub exe: PathBuf,
    pub seed: u64,
    /// Whether addresses are randomised.
    pub aslr: bool,
    /// Real time that the child may take.
    pub wall_limit: Duration,
    /// Real time for which virtual time may stand still.
    pub stall_limit: Duration,
    /// The one that this process was started with, if it is not said otherwise.
    pub mutant: Option<String>,
    /// More arguments of `norn-sim run`.
    pub args: Vec<String>,
    /// Hangs that need no more confirmation.
    pub confirmed: Arc<Confirmed>,
}

/// The hangs that were seen twice, by mutant and signature: what one of them costs, many need not cost again.
#[derive(Debug, Default)]
pub struct Confirmed(Mutex<BTreeSet<(Option<String>, String)>>);

impl Confirmed {
    fn set(&self) -> MutexGuard<'_, BTreeSet<(Option<String>, String)>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Job {
    /// A plain run of `seed` by this binary.
    pub fn new(exe: PathBuf, seed: u64, wall_limit: Duration, stall_limit: Duration) -> Self {
        let mutant = std::env::var(MUTANT_VAR).ok();
        let confirmed = Arc::default();
        Self { exe, seed, aslr: false, wall_limit, stall_limit, mutant, args: vec![], confirmed }
    }

    /// The same with another argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The same with or without randomised addresses.
    pub fn aslr(mut self, aslr: bool) -> Self {
        self.aslr = aslr;
        self
    }

    /// The command that shows again what came of the seed, with the commit that it is true of. Two traces show only side
    /// by side.
    pub fn again(&self, verdict: Verdict) -> String {
        let mutant = self.mutant.as_ref().map_or(String::new(), |mutant| format!("{MUTANT_VAR}={mutant} "));
        let (exe, seed) = (self.exe.display(), self.seed);
        let how = match verdict {
            Verdict::Nondeterminism => format!("sweep --seeds {seed}..{} --twice-one-in 1", seed + 1),
            _ => format!("replay --seed {seed}"),
        };
        let args: String = self.args.iter().map(|arg| format!(" {arg}")).collect();
        format!("{mutant}{exe} {how}{args}  # commit {COMMIT}")
    }

    /// Runs the seed; a hang is confirmed by one more run at four times the limits, since wall time lies on loaded
    /// machines. One run is enough for a hang that was confirmed before.
    pub fn run_confirmed(&self) -> Report {
        let report = self.run();
        let hang = |report: &Report| (self.mutant.clone(), report.signature());
        if report.verdict != Verdict::Hang || self.confirmed.set().contains(&hang(&report)) {
            return report;
        }
        let limits = (self.wall_limit * 4, self.stall_limit * 4);
        let report = Self { wall_limit: limits.0, stall_limit: limits.1, ..self.clone() }.run();
        if report.verdict == Verdict::Hang && !interrupt::asked() {
            self.confirmed.set().insert(hang(&report));
        }
        report
    }

    /// Runs the seed to its end, or to the wall limit.
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => {
                let detail = format!("cannot start {}: {error}", self.exe.display());
                return Report::bare(self.seed, Verdict::Harness, Finding::new("harness", detail));
            }
        };
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let (status, cpu_s) = wait(&mut child, began + self.wall_limit);
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        let found = stdout.lines().rev().find_map(|line| line.strip_prefix(REPORT_MARK));
        let mut report = match (found.and_then(|json| serde_json::from_str(json).ok()), status) {
            (Some(report), Some(_)) => report,
            (_, None) => {
                let detail = format!("the process did not end within {:?} of real time", self.wall_limit);
                Report::bare(self.seed, Verdict::Hang, Finding::new("hang", detail))
            }
            (None, Some(status)) => died(self.seed, status, &tail(&stderr)),
        };
        report.wall_s = began.elapsed().as_secs_f64();
        // Of a child that was killed nobody else knows.
        report.cpu_s = cpu_s;
        report
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.exe);
        command.args(["run", "--report", "--seed", &self.seed.to_string()]);
        command.args(["--stall-limit", &self.stall_limit.as_secs().max(1).to_string()]).args(&self.args);
        command.env_clear();
        if let Some(mutant) = &self.mutant {
            command.env(MUTANT_VAR, mutant);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let aslr = self.aslr;
        // SAFETY: the closure calls system calls only and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                // Nothing outlives the sweep.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // Where the system forbids this the report says so (`aslr`), and the seed runs all the same.
                let persona = libc::personality(ASK_PERSONA);
                let fixed = persona | libc::ADDR_NO_RANDOMIZE;
                let random = persona & !libc::ADDR_NO_RANDOMIZE;
                libc::personality(if aslr { random } else { fixed } as libc::c_ulong);
                Ok(())
            });
        }
        command
    }
}

/// Reads all of a pipe on a thread of its own, so that a full one never stops the child.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = vec![];
        if let Some(mut pipe) = pipe {
            // What was read before an error is all there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the child; kills it at the deadline, or when somebody asks for the end, and says so with `None`. With it comes the CPU time that it took.
fn wait(child: &mut Child, deadline: Instant) -> (Option<ExitStatus>, f64) {
    loop {
        match reap(child, libc::WNOHANG) {
            Some((status, cpu_s)) => return (Some(status), cpu_s),
            None if Instant::now() < deadline && !interrupt::asked() => std::thread::sleep(LOOK),
            None => {
                let _ = child.kill();
                return (None, reap(child, 0).map_or(0.0, |(_, cpu_s)| cpu_s));
            }
        }
    }
}

/// The end of the child and the CPU time that it took; none as long as it runs.
fn reap(child: &Child, options: libc::c_int) -> Option<(ExitStatus, f64)> {
    let (mut status, pid) = (0, child.id() as libc::pid_t);
    // SAFETY: wait4 fills what it is given; zeros are a `rusage`.
    let (reaped, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &mut status, options, &mut usage), usage)
    };
    (reaped == pid).then(|| (ExitStatus::from_raw(status), seconds(&usage)))
}

/// A child that ended without a report.
fn died(seed: u64, status: ExitStatus, stderr: &str) -> Report {
    let how = match status.signal() {
        Some(signal) => format!("the process died of signal {signal}"),
        None => format!("the process ended with {status} and no report"),
    };
    Report::bare(seed, Verdict::Crash, Finding::new("no-panic", format!("{how}\n{stderr}")))
}

fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(TAIL_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let limit = Duration::from_secs(1);
        Job { mutant: None, ..Job::new("norn-sim".into(), 7, limit, limit) }
    }

    #[test]
    fn a_child_that_is_killed_is_accounted_for() {
        let mut busy =
            Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("there is a shell");
        let (status, cpu_s) = wait(&mut busy, Instant::now() + Duration::from_millis(300));
        assert_eq!(status, None);
        assert!(cpu_s > 0.0, "{cpu_s}");
    }

    #[test]
    fn one_hang_is_confirmed_once() {
        let dir = std::env::temp_dir().join(format!("norn-sim-confirm-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("there is room for a directory");
        let (exe, runs) = (dir.join("hangs"), dir.join("runs"));
        let hang = Report::bare(7, Verdict::Hang, Finding::new("hang", "virtual time stands still in x"));
        let json = serde_json::to_string(&hang).expect("a report is JSON");
        let script = format!("#!/bin/sh\necho run >> {}\necho '{REPORT_MARK}{json}'\n", runs.display());
        std::fs::write(&exe, script).expect("there is room for a script");
        let mut mode = std::fs::metadata(&exe).expect("it was just written").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&exe, mode).expect("it is ours");
        let limit = Duration::from_secs(10);
        let job = Job { mutant: None, ..Job::new(exe, 7, limit, limit) };
        for expected in [2, 3, 4] {
            assert_eq!(job.clone().run_confirmed().verdict, Verdict::Hang);
            let count = std::fs::read_to_string(&runs).map_or(0, |runs| runs.lines().count());
            assert_eq!(count, expected);
        }
        std::fs::remove_dir_all(&dir).expect("it was just written");
    }

    #[test]
    fn a_failure_is_shown_again_by_what_showed_it() {
        let at = |command: &str| format!("{command}  # commit {COMMIT}");
        assert_eq!(job().again(Verdict::Hang), at("norn-sim replay --seed 7"));
        let calm = job().arg("--no-faults").again(Verdict::Crash);
        assert_eq!(calm, at("norn-sim replay --seed 7 --no-faults"));
        let mutant = Job { mutant: Some("canary".to_owned()), ..job() };
        assert_eq!(
            mutant.arg("--no-faults").again(Verdict::Nondeterminism),
            at("NORN_MUTANT=canary norn-sim sweep --seeds 7..8 --twice-one-in 1 --no-faults")
        );
    }
}
