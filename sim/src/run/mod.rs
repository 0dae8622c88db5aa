//! One seed in this process: builds the runtime, runs the world, says the verdict.

mod errors;
mod logs;
mod panics;
pub mod waits;
mod watchdog;

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use madsim::runtime::Runtime;
use norn_env::sim::{self, trace, Options};

use self::logs::Logged;
use crate::faults::director::Harm;
use crate::names::named;
use crate::replay::history::Place;
use crate::report::{Finding, Report, Verdict};
use crate::tape::Tape;
use crate::world::{self, ConfigRefused, Outcome};

/// Virtual time that no world reaches: its phases are bounded, this catches a simulator that forgot one.
const VIRTUAL_MAX: Duration = Duration::from_secs(3600);

/// The argument of `personality` that only asks.
pub const ASK_PERSONA: libc::c_ulong = 0xffff_ffff;

/// The names of threads that worlds run on start with this.
const THREAD: &str = "seed ";

/// Logged errors that a report shows.
const ERRORS_TOLD_MAX: usize = 20;

/// How a run differs from the plain one.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Ends the process as `hang` when virtual time stands still for so long.
    pub stall_limit: Option<Duration>,
    /// Ends the world at this virtual time, without a verdict of the checkers.
    pub until: Option<Duration>,
    /// Prints the log lines that this filter (of `tracing`) lets through.
    pub trace: Option<String>,
    /// Puts the chain of hashes into the report.
    pub chain: bool,
    /// Records these events of the trace.
    pub capture: Range<u64>,
    /// Tells what clients saw of this place.
    pub history: Option<Place>,
}

/// Runs `tape` and reports. Never panics: that is a verdict.
pub fn run(tape: Tape, how: How) -> Report {
    let began = Instant::now();
    let seed = tape.seed;
    panics::record();
    // On this thread: the filter of a replay makes hash maps, which would give those of the world other seeds.
    logs::install(how.trace.as_deref());
    // A fresh thread: madsim can seed the hash maps only of a thread that has made none.
    let simulation =
        std::thread::Builder::new().name(format!("{THREAD}{seed}")).spawn(move || simulate(tape, how));
    let report = simulation.expect("the system has a thread for us").join();
    let mut report = report.unwrap_or_else(|_| {
        Report::bare(
            seed,
            Verdict::Crash,
            Finding::new("no-panic", "the simulator panicked outside of the world"),
        )
    });
    report.wall_s = began.elapsed().as_secs_f64();
    report.cpu_s = cpu_s();
    report.aslr = aslr();
    report
}

fn simulate(tape: Tape, how: How) -> Report {
    let seed = tape.seed;
    watchdog::start(seed, how.stall_limit);
    let mut rt = Runtime::with_seed_and_config(seed, madsim::Config::default());
    rt.set_time_limit(VIRTUAL_MAX);
    let options =
        Options { net: tape.world.net.clone(), buggify: tape.world.buggify, capture: how.capture.clone() };
    sim::install(&rt, seed, options);
    let shared: Arc<Mutex<Option<Arc<sim::World>>>> = Arc::default();
    let keep = shared.clone();
    let chain = how.chain;
    let lived = std::panic::catch_unwind(AssertUnwindSafe(|| {
        rt.block_on(async move {
            *keep.lock().expect("no holder panics") = Some(sim::world());
            let beat = norn_env::task::spawn("watchdog's beat", watchdog::beat());
            let outcome = sim::supervised("world", world::execute(tape, how.until, how.history)).await;
            drop(beat);
            let chain = if chain { trace::chain() } else { vec![] };
            let captured =
                trace::captured().into_iter().map(|(index, at, event)| format!("#{index} {at:?} {event:?}"));
            (outcome, sim::probes(), chain, captured.collect())
        })
    }));
    let world = shared.lock().expect("no holder panics").take();
    let mut harm = Harm::default();
    let mut report = match lived {
        Ok((outcome, probes, chain, captured)) => {
            harm = outcome.as_ref().map(|outcome| outcome.harm.clone()).unwrap_or_default();
            let mut report = judged(seed, outcome);
            report.probes = probes.into_iter().map(|(name, hits)| (name.to_owned(), hits)).collect();
            report.chain = chain;
            report.captured = captured;
            report
        }
        Err(_) => {
            let (verdict, finding) = panics::last();
            Report::bare(seed, verdict, finding)
        }
    };
    let errors = logs::taken();
    judge_errors(&mut report, &errors, &harm);
    report.errors = errors.into_iter().map(|error| error.line).take(ERRORS_TOLD_MAX).collect();
    if let Some(world) = world {
        let hash = world.trace().hash();
        report.hash = format!("{:016x}", hash.hash);
        report.events = hash.events;
        report.virtual_s = world.elapsed().as_secs_f64();
    }
    // Dropping the runtime runs the destructors of the whole world, which proves nothing and may panic after a panic.
    std::mem::forget(rt);
    watchdog::stop();
    report
}

fn judged(seed: u64, outcome: Result<Outcome, ConfigRefused>) -> Report {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(refused) => {
            return Report::bare(seed, Verdict::Harness, Finding::new("harness", refused.to_string()))
        }
    };
    let verdict = match outcome.findings.iter().map(|finding| finding.checker.as_str()).next() {
        None if !outcome.judged => Verdict::NotJudged,
        None => Verdict::Pass,
        Some("liveness") => Verdict::Liveness,
        Some(_) => Verdict::Correctness,
    };
    let mut report = Report::bare(seed, verdict, Finding::new("", ""));
    let with_names = |finding: Finding| Finding { detail: named(&finding.detail), ..finding };
    report.findings = outcome.findings.into_iter().map(with_names).collect();
    report.faults = outcome.harm.counts();
    report.acked_records = outcome.stats.acked_records;
    report.acks = outcome.stats.acks;
    report.fetched_records = outcome.stats.fetched_records;
    report.commits = outcome.stats.commits;
    report.waits = outcome.waits;
    report.history = outcome.history;
    report
}

/// An error that is logged where no fault explains it is a finding, whatever clients saw of it.
fn judge_errors(report: &mut Report, errors: &[Logged], harm: &Harm) {
    let judged = matches!(report.verdict, Verdict::Pass | Verdict::Correctness | Verdict::Liveness);
    let Some(error) = errors::unexplained(errors, harm).filter(|_| judged) else { return };
    let detail = format!("an error was logged that no fault explains: {}", error.line);
    report.findings.push(Finding::new("no-error-log-unexplained", detail));
    if report.verdict == Verdict::Pass {
        report.verdict = Verdict::Correctness;
    }
}

/// CPU time of this process so far, in seconds.
fn cpu_s() -> f64 {
    // SAFETY: getrusage fills the struct that it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    seconds(&usage)
}

/// The CPU time in what a process used.
pub fn seconds(usage: &libc::rusage) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Whether the addresses of this process are random.
fn aslr() -> bool {
    // SAFETY: this argument only asks.
    let persona = unsafe { libc::personality(ASK_PERSONA) };
    persona & libc::ADDR_NO_RANDOMIZE == 0
}

#[cfg(test)]
mod isolation;
#[cfg(test)]
mod tests;
