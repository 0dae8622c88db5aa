//! Sweeps one mutant until the first seed that finds it.
//!
//! Found means: a listed checker or verdict fires, the build without the mutant passes the same seed, and, unless its
//! header says that it shows at boot, the mutant passes a seed without faults. A seed that fails without the mutant too
//! says nothing of it, and is passed over; one in which only what is not enough has fired does not end the hunt.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::patch::Mutant;
use crate::report::{Finding, Report, Verdict};
use crate::sweep::child::{Confirmed, Job};
use crate::sweep::twice;

/// Seeds without faults of which a mutant must pass one, beside the one that found it.
const CALM_SEEDS: u64 = 8;

/// How a hunt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Found {
        seed: u64,
        check: String,
    },
    /// No seed of the budget found it.
    Survived,
    /// It fails without faults, too: it proves nothing.
    Blunt {
        seed: u64,
        check: String,
    },
    /// Something fired that its header does not list.
    Unlisted {
        seed: u64,
        check: String,
    },
    /// It must show in every seed, and not in this one.
    Missed {
        seed: u64,
    },
}

/// A hunt and what it cost.
#[derive(Clone, Debug, Serialize)]
pub struct Hunt {
    pub mutant: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub seeds: u64,
    pub virtual_s: f64,
    pub cpu_s: f64,
    /// Seeds that fail without it, too.
    pub passed_over: Vec<u64>,
}

/// What hunts have in common.
pub struct Hunter {
    pub jobs: usize,
    pub first_seed: u64,
    /// Seeds to try instead of those that headers say.
    pub budget: Option<u64>,
    pub wall_limit: Duration,
    pub stall_limit: Duration,
    pub confirmed: Arc<Confirmed>,
}

impl Hunter {
    fn job(&self, exe: &Path, seed: u64, mutant: Option<&str>) -> Job {
        let mut job = Job::new(exe.to_owned(), seed, self.wall_limit, self.stall_limit);
        job.mutant = mutant.map(str::to_owned);
        job.confirmed = self.confirmed.clone();
        job
    }

    /// Hunts `mutant` in the build `exe`; `clean` is a build in which nothing is wrong.
    pub fn hunt(&self, mutant: &Mutant, exe: &Path, clean: &Path) -> Hunt {
        let seeds = self.first_seed..self.first_seed + self.budget.unwrap_or(mutant.budget);
        let mut hunt = Hunt {
            mutant: mutant.id.clone(),
            outcome: Outcome::Survived,
            seeds: 0,
            virtual_s: 0.0,
            cpu_s: 0.0,
            passed_over: vec![],
        };
        let mut next = seeds.start;
        while next < seeds.end {
            let ran = self.sweep(mutant, exe, next..seeds.end);
            hunt.virtual_s += ran.values().map(|report| report.virtual_s).sum::<f64>();
            hunt.cpu_s += ran.values().map(|report| report.cpu_s).sum::<f64>();
            let Some(report) = ran.values().find(|report| decides(mutant, report)) else {
                hunt.seeds += ran.len() as u64;
                if mutant.everywhere {
                    self.judge_all(mutant, exe, clean, &ran, &mut hunt);
                }
                return hunt;
            };
            hunt.seeds += report.seed - next + 1;
            if mutant.everywhere {
                hunt.outcome = Outcome::Missed { seed: report.seed };
                return hunt;
            }
            if self.passes(mutant, &self.job(clean, report.seed, None)) {
                hunt.outcome = self.judge(mutant, exe, report);
                return hunt;
            }
            hunt.passed_over.push(report.seed);
            next = report.seed + 1;
        }
        hunt
    }

    /// Runs seeds until the first that decides.
    fn sweep(&self, mutant: &Mutant, exe: &Path, seeds: Range<u64>) -> BTreeMap<u64, Report> {
        let next = AtomicU64::new(seeds.start);
        let decided = AtomicBool::new(false);
        let ran: Mutex<BTreeMap<u64, Report>> = Mutex::default();
        std::thread::scope(|threads| {
            for _ in 0..self.jobs {
                threads.spawn(|| {
                    while !decided.load(Relaxed) {
                        let seed = next.fetch_add(1, Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        let job = self.job(exe, seed, Some(&mutant.id));
                        let report = run(mutant, &job);
                        if decides(mutant, &report) {
                            decided.store(true, Relaxed);
                        }
                        ran.lock().expect("no holder panics").insert(seed, report);
                    }
                });
            }
        });
        ran.into_inner().expect("no holder panics")
    }

    fn passes(&self, mutant: &Mutant, job: &Job) -> bool {
        run(mutant, job).verdict == Verdict::Pass
    }

    /// Judges a mutant that failed in every seed: in each the listed check must be what fired, and the build without it
    /// must pass.
    fn judge_all(
        &self,
        mutant: &Mutant,
        exe: &Path,
        clean: &Path,
        ran: &BTreeMap<u64, Report>,
        hunt: &mut Hunt,
    ) {
        let is_clean = |seed: u64| self.passes(mutant, &self.job(clean, seed, None));
        let telling;
        (telling, hunt.passed_over) = most_telling(mutant, ran, is_clean);
        if let Some(report) = telling {
            hunt.outcome = self.judge(mutant, exe, report);
        }
    }

    fn judge(&self, mutant: &Mutant, exe: &Path, failed: &Report) -> Outcome {
        let seed = failed.seed;
        let Some(check) = check(mutant, failed) else {
            return Outcome::Unlisted { seed, check: failed.signature() };
        };
        // One run: that two differ is no less so without faults, but the broker must work.
        let passes = |seed| {
            let job = self.job(exe, seed, Some(&mutant.id)).arg("--no-faults");
            job.run_confirmed().verdict == Verdict::Pass
        };
        // The seed that found it first: what that does without faults is the closest.
        let mut calm = std::iter::once(seed).chain(self.first_seed..self.first_seed + CALM_SEEDS);
        match mutant.at_boot || calm.any(passes) {
            true => Outcome::Found { seed, check },
            false => Outcome::Blunt { seed, check },
        }
    }

    /// The command that shows what `check` found again.
    pub fn again(&self, exe: &Path, mutant: &str, check: &str, seed: u64) -> String {
        let verdict = match check == Verdict::Nondeterminism.name() {
            true => Verdict::Nondeterminism,
            false => Verdict::Correctness,
        };
        self.job(exe, seed, Some(mutant)).again(verdict)
    }
}

/// Whether a seed ends a hunt: one that fails, by more than what is not enough; or that passes where all must fail.
fn decides(mutant: &Mutant, report: &Report) -> bool {
    let not_enough = |finding: &Finding| mutant.also.contains(&finding.checker);
    match report.verdict {
        Verdict::Pass => mutant.everywhere,
        _ => !mutant.everywhere && !report.findings.iter().all(not_enough),
    }
}

/// Of seeds that all failed: one in which nothing fired that the header lists, or the last one. And the seeds that fail
/// without the mutant, too.
fn most_telling<'a>(
    mutant: &Mutant,
    ran: &'a BTreeMap<u64, Report>,
    is_clean: impl Fn(u64) -> bool,
) -> (Option<&'a Report>, Vec<u64>) {
    let (telling, passed_over): (Vec<u64>, Vec<u64>) = ran.keys().partition(|seed| is_clean(**seed));
    let unlisted = telling.iter().find(|seed| check(mutant, &ran[seed]).is_none());
    (unlisted.or(telling.last()).map(|seed| &ran[seed]), passed_over)
}

/// Runs a seed in the way in which the mutant shows: two traces only side by side.
fn run(mutant: &Mutant, job: &Job) -> Report {
    match mutant.lists(Verdict::Nondeterminism.name()) {
        true => twice::run(job),
        false => job.run_confirmed(),
    }
}

/// The listed check that fired: a checker, or the verdict itself. A panic never passes for what it may have caused.
fn check(mutant: &Mutant, report: &Report) -> Option<String> {
    let crashed = report.verdict == Verdict::Crash && !mutant.lists("no-panic");
    let checkers = report.findings.iter().map(|finding| finding.checker.as_str());
    let mut fired = std::iter::once(report.verdict.name()).chain(checkers);
    fired.find(|name| !crashed && mutant.lists(name)).map(str::to_owned)
}

/// Which build each mutant is in.
pub struct Builds {
    pub together: PathBuf,
    pub alone: BTreeMap<String, PathBuf>,
}

impl Builds {
    /// The build with this mutant in it.
    pub fn of(&self, mutant: &str) -> &Path {
        self.alone.get(mutant).unwrap_or(&self.together)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(fires: &[&str]) -> Mutant {
        Mutant {
            id: "m".to_owned(),
            symptom: "s".to_owned(),
            fires: fires.iter().map(|name| (*name).to_owned()).collect(),
            also: vec!["hw-monotonic".to_owned()],
            at_boot: false,
            everywhere: false,
            quick: false,
            budget: 1,
            own_build: false,
            path: "m.patch".into(),
        }
    }

    #[test]
    fn a_mutant_that_shows_in_every_seed_is_judged_in_each() {
        let failed = |seed, checker: &str| {
            (seed, Report::bare(seed, Verdict::Correctness, Finding::new(checker, "x")))
        };
        let ran = BTreeMap::from([failed(1, "order"), failed(2, "acked-durable"), failed(3, "order")]);
        let told = |clean: &[u64]| {
            let (report, passed_over) = most_telling(&mutant(&["order"]), &ran, |seed| clean.contains(&seed));
            (report.map(|report| report.seed), passed_over)
        };
        assert_eq!(told(&[1, 2, 3]), (Some(2), vec![]));
        assert_eq!(told(&[1, 3]), (Some(3), vec![2]));
        assert_eq!(told(&[]), (None, vec![1, 2, 3]));
    }

    #[test]
    fn a_seed_in_which_nothing_fired_that_is_enough_does_not_end_the_hunt() {
        let failed = |checkers: &[&str]| {
            let mut report = Report::bare(1, Verdict::Correctness, Finding::new(checkers[0], "x"));
            report.findings.extend(checkers[1..].iter().map(|checker| Finding::new(checker, "x")));
            decides(&mutant(&["acked-durable"]), &report)
        };
        assert!(!failed(&["hw-monotonic"]));
        assert!(failed(&["hw-monotonic", "acked-durable"]));
        assert!(failed(&["hw-monotonic", "order"]));
        assert!(!decides(
            &mutant(&["order"]),
            &Report { findings: vec![], ..Report::bare(1, Verdict::Pass, Finding::new("", "")) }
        ));
    }

    #[test]
    fn only_listed_checks_count_and_a_panic_only_where_listed() {
        let lost = Report::bare(1, Verdict::Correctness, Finding::new("acked-durable", "x"));
        assert_eq!(check(&mutant(&["acked-durable"]), &lost).as_deref(), Some("acked-durable"));
        assert_eq!(check(&mutant(&["order"]), &lost), None);
        let mut crashed = Report::bare(1, Verdict::Crash, Finding::new("no-panic", "x"));
        crashed.findings.push(Finding::new("order", "x"));
        assert_eq!(check(&mutant(&["order"]), &crashed), None);
        assert_eq!(check(&mutant(&["no-panic"]), &crashed).as_deref(), Some("no-panic"));
        let hang = Report::bare(1, Verdict::Hang, Finding::new("hang", "x"));
        assert_eq!(check(&mutant(&["hang"]), &hang).as_deref(), Some("hang"));
    }
}
