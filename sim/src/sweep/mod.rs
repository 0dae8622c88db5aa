//! Many seeds, each in a process of its own: progress, failures as they come, a summary and a verdict at the end.

mod build;
pub mod child;
pub mod interrupt;
mod junit;
pub mod pool;
pub mod progress;
pub mod summary;
pub mod twice;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use clap::Args;

use self::child::{Confirmed, Job};
use self::progress::Progress;
use self::summary::Summary;
use crate::report::{Report, Verdict, COMMIT};

/// What little the idle world draws, it draws from this.
const IDLE_SEED: u64 = 1;

/// What to sweep, and how.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Seeds to run, the second one excluded.
    #[arg(long, value_name = "A..B", value_parser = crate::cli::range)]
    pub seeds: Option<Range<u64>>,
    /// Start no more seeds after so many minutes.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// Processes at a time; as many as there are cores by default.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Write a line of JSON for each seed, and one for the summary.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Pass over seeds that the JSON file already has as passed by this very build, and add to it.
    #[arg(long, requires = "json")]
    pub resume: bool,
    /// Write JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Real time that a seed may take, in seconds.
    #[arg(long, default_value_t = 180)]
    pub wall_limit: u64,
    /// Real time for which virtual time may stand still, in seconds.
    #[arg(long, default_value_t = 20)]
    pub stall_limit: u64,
    /// Run one of so many seeds twice, and the first, with and without address randomisation, and compare. 0: none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub twice_one_in: u64,
    /// Leave all faults out of the worlds.
    #[arg(long)]
    pub no_faults: bool,
    /// Start no more seeds once one has failed.
    #[arg(long)]
    pub fail_fast: bool,
}

/// Why a sweep could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("this binary cannot find itself: {0}")]
    NoSelf(io::Error),
    #[error("say which seeds: --seeds A..B, or --minutes M")]
    NoSeeds,
}

/// Runs the sweep, prints what came of it, and returns the verdict.
pub fn run(args: &SweepArgs) -> Result<Verdict, SweepError> {
    let began = Instant::now();
    let exe = std::env::current_exe().map_err(SweepError::NoSelf)?;
    let seeds = match (&args.seeds, args.minutes) {
        (Some(seeds), _) => seeds.clone(),
        (None, Some(_)) => 1..u64::MAX,
        (None, None) => return Err(SweepError::NoSeeds),
    };
    let build = build(args, &exe)?;
    let again = |report: &Report| job(args, &exe, report.seed).again(report.verdict);
    let (mut done, mut json) = (vec![], None);
    if let Some(path) = &args.json {
        if args.resume {
            done = resume(path, &seeds, &build);
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(args.resume).truncate(!args.resume);
        json = Some((path, options.open(path).map_err(|source| file_error(path, source))?));
    }
    let skip: BTreeSet<u64> = done.iter().map(|report| report.seed).collect();
    let until = args.minutes.map(|minutes| began + Duration::from_secs(minutes * 60));
    let mut twice = 0;
    let total = args.minutes.is_none().then(|| seeds.end - seeds.start);
    let mut progress = Progress::new();
    each_seed(args, &exe, seeds, &skip, until, |mut report, was_twice| {
        twice += usize::from(was_twice);
        report.build.clone_from(&build);
        if let Some((path, file)) = &mut json {
            let line = serde_json::to_string(&report).unwrap_or_default();
            writeln!(file, "{line}").map_err(|source| file_error(path, source))?;
        }
        if report.verdict != Verdict::Pass {
            progress.clear();
            println!("{}\n  {}\n  {}", report.line(), report.first_finding(), again(&report));
        }
        done.push(report);
        let elapsed = progress.elapsed_s();
        progress.show(|| line(&done, total, elapsed));
        Ok(())
    })?;
    progress.clear();
    done.sort_by_key(|report| report.seed);
    let (idle, idle_again) = idle_world(args, &exe);
    let mut summary = Summary::of(&done, !args.no_faults, again);
    summary.add_idle(&idle, &idle_again);
    (summary.commit, summary.twice, summary.wall_s) =
        (COMMIT.to_owned(), twice, began.elapsed().as_secs_f64());
    if let Some((path, file)) = &mut json {
        let line = serde_json::json!({ "summary": summary, "verdict": summary.verdict() });
        writeln!(file, "{line}").map_err(|source| file_error(path, source))?;
    }
    if let Some(path) = &args.junit {
        junit::write(path, &done, (&idle, &idle_again), &summary, again)
            .map_err(|source| file_error(path, source))?;
    }
    summary.print();
    Ok(summary.verdict())
}

/// Runs the seeds on as many threads as there are jobs and hands each report to `take`, in the order of their ends.
fn each_seed(
    args: &SweepArgs,
    exe: &Path,
    seeds: Range<u64>,
    skip: &BTreeSet<u64>,
    until: Option<Instant>,
    mut take: impl FnMut(Report, bool) -> Result<(), SweepError>,
) -> Result<(), SweepError> {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let confirmed: Arc<Confirmed> = Arc::default();
    let first = seeds.clone().find(|seed| !skip.contains(seed));
    let (sender, receiver) = mpsc::sync_channel(0);
    std::thread::scope(|threads| {
        for _ in 0..jobs(args.jobs) {
            let (next, failed, seeds, sender) = (&next, &failed, &seeds, sender.clone());
            let confirmed = confirmed.clone();
            threads.spawn(move || {
                let goes_on = || !(args.fail_fast && failed.load(Relaxed));
                while goes_on() && until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if skip.contains(&seed) {
                        continue;
                    }
                    let job = Job { confirmed: confirmed.clone(), ..job(args, exe, seed) };
                    let is_twice = is_twice(args, seed, first);
                    let report = if is_twice { twice::run(&job) } else { job.run_confirmed() };
                    failed.fetch_or(report.verdict != Verdict::Pass, Relaxed);
                    if sender.send((report, is_twice)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        while let Ok((report, is_twice)) = receiver.recv() {
            // Dropping the receiver stops the threads after their current seed.
            take(report, is_twice)?;
        }
        Ok(())
    })
}

/// Whether a seed is run twice: one of so many, and in any case the first of the sweep, so that none compares nothing.
fn is_twice(args: &SweepArgs, seed: u64, first: Option<u64>) -> bool {
    args.twice_one_in > 0 && (first == Some(seed) || seed.is_multiple_of(args.twice_one_in))
}

/// The run of one seed.
fn job(args: &SweepArgs, exe: &Path, seed: u64) -> Job {
    let secs = Duration::from_secs;
    let job = Job::new(exe.to_owned(), seed, secs(args.wall_limit), secs(args.stall_limit));
    if args.no_faults {
        job.arg("--no-faults")
    } else {
        job
    }
}

/// Runs the idle world, when no other process of the sweep is left to disturb it. With the report comes the command that
/// shows it again.
fn idle_world(args: &SweepArgs, exe: &Path) -> (Report, String) {
    let secs = Duration::from_secs;
    let job = Job::new(exe.to_owned(), IDLE_SEED, secs(args.wall_limit), secs(args.stall_limit));
    let job = job.arg("--idle");
    let report = job.run_confirmed();
    let again = job.again(report.verdict);
    (report, again)
}

/// How many processes to run at a time.
pub fn jobs(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

fn file_error(path: &Path, source: io::Error) -> SweepError {
    SweepError::File { path: path.display().to_string(), source }
}

/// Which build runs the seeds, and whether it leaves something out.
fn build(args: &SweepArgs, exe: &Path) -> Result<String, SweepError> {
    let id = build::id(exe).map_err(|source| file_error(exe, source))?;
    Ok(if args.no_faults { format!("{id} no-faults") } else { id })
}

/// The seeds that need not be run again.
fn resume(path: &Path, seeds: &Range<u64>, build: &str) -> Vec<Report> {
    let (done, aside) = resumed(path, seeds, build);
    println!("{} seeds are done; {aside} results of other seeds or builds are left aside", done.len());
    done
}

/// The passed seeds of an earlier sweep's file, and the number of results that are not of these seeds or not of this
/// build; lines of another kind are passed over.
fn resumed(path: &Path, seeds: &Range<u64>, build: &str) -> (Vec<Report>, usize) {
    let Ok(file) = File::open(path) else { return (vec![], 0) };
    let reports = BufReader::new(file).lines().map_while(Result::ok);
    let reports = reports.filter_map(|line| serde_json::from_str::<Report>(&line).ok());
    let ours = |report: &Report| seeds.contains(&report.seed) && report.build == build;
    let (ours, others): (Vec<Report>, Vec<Report>) = reports.partition(ours);
    (ours.into_iter().filter(|report| report.verdict == Verdict::Pass).collect(), others.len())
}

/// How far a sweep is.
fn line(done: &[Report], total: Option<u64>, elapsed: f64) -> String {
    let failed = done.iter().filter(|report| report.verdict != Verdict::Pass).count();
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    let rate = done.len() as f64 / elapsed.max(1e-9);
    format!("{}{of} seeds, {failed} failed, {rate:.1} seeds/s, {elapsed:.0} s", done.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn a_sweep_resumes_its_own_seeds_of_its_own_build() {
        let passed = |seed, build: &str| {
            let bare = Report::bare(seed, Verdict::Pass, Finding::new("", ""));
            serde_json::to_string(&Report { build: build.to_owned(), ..bare }).unwrap_or_default()
        };
        let failed = Report::bare(3, Verdict::Crash, Finding::new("no-panic", "x"));
        let lines = [
            passed(1, "this"),
            passed(2, "another of the same commit"),
            passed(9, "this"),
            serde_json::to_string(&failed).unwrap_or_default(),
            "{}".to_owned(),
        ];
        let path = std::env::temp_dir().join(format!("norn-sim-resume-{}.json", std::process::id()));
        std::fs::write(&path, lines.join("\n")).expect("there is room for a few lines");
        let (done, aside) = resumed(&path, &(1..5), "this");
        std::fs::remove_file(&path).expect("it was just written");
        assert_eq!(done.iter().map(|report| report.seed).collect::<Vec<_>>(), [1]);
        assert_eq!(aside, 3);
    }

    #[test]
    fn every_sweep_runs_a_seed_twice_unless_it_is_told_not_to() {
        let args = |one_in| SweepArgs {
            seeds: None,
            minutes: None,
            jobs: None,
            json: None,
            resume: false,
            junit: None,
            wall_limit: 1,
            stall_limit: 1,
            twice_one_in: one_in,
            no_faults: false,
            fail_fast: false,
        };
        let twice = |one_in, seeds: Range<u64>| {
            let first = Some(seeds.start);
            seeds.filter(|seed| is_twice(&args(one_in), *seed, first)).collect::<Vec<_>>()
        };
        assert_eq!(twice(20, 1..41), [1, 20, 40]);
        assert_eq!(twice(20, 21..30), [21]);
        assert!(twice(0, 1..41).is_empty());
    }
}
