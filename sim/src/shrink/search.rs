//! Runs candidates, each in a process of its own, on all cores, and keeps the smallest tape that still fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::Duration;

use super::strike::{shortened, Part};
use super::symptom::Symptom;
use super::{ddmin, ShrinkError};
use crate::report::{Finding, Report, Verdict};
use crate::sweep::child::Job;
use crate::sweep::progress::Progress;
use crate::sweep::{interrupt, pool};
use crate::tape::Tape;

/// A search, with what it has tried.
pub struct Search {
    /// How candidates are run, but for their tapes.
    job: Job,
    jobs: usize,
    limit: Option<Duration>,
    out: PathBuf,
    /// Where the tapes of candidates are.
    dir: PathBuf,
    runs: AtomicUsize,
    /// Whether a tape, by its text, shows the symptom.
    known: Mutex<BTreeMap<String, bool>>,
    progress: Mutex<Progress>,
}

impl Search {
    pub fn new(job: Job, jobs: usize, limit: Option<Duration>, out: PathBuf) -> Result<Self, ShrinkError> {
        let dir = std::env::temp_dir().join(format!("norn-sim-shrink-{}", std::process::id()));
        fs::create_dir_all(&dir)
            .map_err(|source| ShrinkError::Dir { path: dir.display().to_string(), source })?;
        let progress = Mutex::new(Progress::new());
        Ok(Self { job, jobs, limit, out, dir, runs: AtomicUsize::new(0), known: Mutex::default(), progress })
    }

    /// The smallest tape found that shows `symptom` as `tape` does.
    pub fn shrink(&mut self, tape: Tape, symptom: &Symptom) -> Result<Tape, ShrinkError> {
        let mut best = tape;
        best.save(&self.out)?;
        loop {
            let before = sizes(&best);
            for part in Part::ALL {
                best = self.without(part, best, symptom)?;
            }
            // What one part no longer needs another may have needed.
            if sizes(&best) == before || self.is_over() {
                break;
            }
        }
        let shorter = shortened(&best);
        if let Some(found) = self.first_failing(&shorter, symptom, "time") {
            best = shorter[found].clone();
            best.save(&self.out)?;
        }
        self.progress().clear();
        Ok(best)
    }

    /// The tape without all of a part that the symptom does not need.
    fn without(&self, part: Part, tape: Tape, symptom: &Symptom) -> Result<Tape, ShrinkError> {
        let mut best = tape.clone();
        let mut failed = Ok(());
        ddmin::minimise(part.count(&tape), |candidates| {
            let tapes: Vec<Tape> = candidates.iter().map(|kept| part.keep(&tape, kept)).collect();
            let what = format!("{} {} of {}", part.name(), part.count(&best), part.count(&tape));
            let found = self.first_failing(&tapes, symptom, &what)?;
            best = tapes[found].clone();
            failed = best.save(&self.out);
            Some(found)
        });
        failed?;
        Ok(best)
    }

    /// The first of these tapes that shows the symptom.
    fn first_failing(&self, tapes: &[Tape], symptom: &Symptom, what: &str) -> Option<usize> {
        pool::first(self.jobs, tapes.len(), |candidate| {
            let shows = self.shows(&tapes[candidate], symptom);
            let (runs, elapsed) = (self.runs(), self.elapsed_s());
            self.progress().show(|| format!("{what} left, {runs} runs, {elapsed:.0} s"));
            shows
        })
    }

    fn shows(&self, tape: &Tape, symptom: &Symptom) -> bool {
        let text = serde_json::to_string(tape).unwrap_or_default();
        let known = || self.known.lock().expect("no holder panics");
        if let Some(shows) = known().get(&text).copied() {
            return shows;
        }
        if self.is_over() {
            return false;
        }
        let shows = symptom.shows_in(&self.run(tape));
        // A run that was broken off says nothing.
        if interrupt::asked() {
            return false;
        }
        known().insert(text, shows);
        shows
    }

    /// Runs a tape.
    pub fn run(&self, tape: &Tape) -> Report {
        let path = self.dir.join(format!("{}.json", self.runs.fetch_add(1, Relaxed)));
        if let Err(error) = tape.save(&path) {
            return Report::bare(tape.seed, Verdict::Harness, Finding::new("harness", error.to_string()));
        }
        let report = self.of(tape, &path).run();
        // The directory goes with the search in any case.
        let _ = fs::remove_file(&path);
        report
    }

    fn of(&self, tape: &Tape, path: &Path) -> Job {
        let job = Job { seed: tape.seed, ..self.job.clone() };
        job.arg("--tape").arg(path.display().to_string())
    }

    /// The command that shows what is left again.
    pub fn again(&self, tape: &Tape, verdict: Verdict) -> String {
        self.of(tape, &self.out).again(verdict)
    }

    /// Whether no more tapes are tried.
    pub fn is_over(&self) -> bool {
        interrupt::asked() || self.limit.is_some_and(|limit| self.elapsed_s() >= limit.as_secs_f64())
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Relaxed)
    }

    pub fn elapsed_s(&self) -> f64 {
        self.progress().elapsed_s()
    }

    /// Where the smallest tape is.
    pub fn out(&self) -> &Path {
        &self.out
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().expect("no holder panics")
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        // What cannot be removed from the system's directory of temporary files the system removes.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn sizes(tape: &Tape) -> [usize; 3] {
    Part::ALL.map(|part| part.count(tape))
}
