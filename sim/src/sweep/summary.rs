//! What many seeds say together, and whether they did enough to prove anything.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::Fault;
use crate::probes::KNOWN;
use crate::report::{Finding, Report, Verdict};

/// The median default seed acknowledges at least so many records.
const ACKED_MEDIAN_MIN: f64 = 2_000.0;
/// The median default seed has at least so many faults.
const FAULTS_MEDIAN_MIN: f64 = 5.0;
/// Medians of fewer seeds say nothing.
const SEEDS_FOR_MEDIANS: usize = 20;
/// Each kind of fault strikes in at least this part of the seeds, where there are enough to tell.
const FAULT_SEEDS_MIN: f64 = 0.01;
const SEEDS_FOR_FAULTS: usize = 500;
/// Each probe is met in a sweep of so many seeds.
const SEEDS_FOR_PROBES: usize = 1_000;

/// A kind of fault over a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FaultCount {
    pub applied: u64,
    /// In how many seeds.
    pub seeds: u64,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    pub verdict: Verdict,
    pub signature: String,
    pub seeds: Vec<u64>,
    /// What was found first in the first of them.
    pub finding: String,
    /// The command that shows that seed again.
    pub again: String,
}

/// What virtual time costs where nothing happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Idle {
    pub virtual_s: f64,
    pub cpu_s: f64,
    pub virtual_per_cpu: f64,
}

/// A sweep in figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub commit: String,
    pub seeds: usize,
    pub passed: usize,
    /// Seeds that were run twice and compared.
    pub twice: usize,
    /// Seeds whose addresses could not be kept from being random.
    pub aslr_forced: usize,
    pub failures: Vec<Group>,
    /// Why the sweep proves too little.
    pub harness: Vec<String>,
    pub acked_median: f64,
    pub fetched_median: f64,
    pub commits_median: f64,
    pub faults_median: f64,
    pub virtual_s: f64,
    pub cpu_s: f64,
    /// Over all seeds.
    pub virtual_per_cpu: f64,
    /// Of the median seed.
    pub virtual_per_cpu_median: f64,
    pub idle: Idle,
    pub wall_s: f64,
    pub faults: BTreeMap<String, FaultCount>,
    pub probes: BTreeMap<String, u64>,
}

impl Summary {
    /// Sums up `reports`. `default_seeds` says that the harness rules apply: nothing was left out of the worlds. `again` is
    /// the command that shows a failure again.
    pub fn of(reports: &[Report], default_seeds: bool, again: impl Fn(&Report) -> String) -> Self {
        let mut faults: BTreeMap<String, FaultCount> =
            Fault::KINDS.iter().map(|kind| ((*kind).to_owned(), FaultCount::default())).collect();
        let mut probes: BTreeMap<String, u64> = KNOWN.iter().map(|name| ((*name).to_owned(), 0)).collect();
        let mut groups: BTreeMap<String, Vec<&Report>> = BTreeMap::new();
        for report in reports {
            for (kind, applied) in &report.faults {
                let count = faults.entry(kind.clone()).or_default();
                count.applied += applied;
                count.seeds += 1;
            }
            for (probe, hits) in &report.probes {
                *probes.entry(probe.clone()).or_default() += hits;
            }
            if report.verdict != Verdict::Pass {
                groups.entry(report.signature()).or_default().push(report);
            }
        }
        let groups = groups.into_iter().filter_map(|(signature, reports)| group(signature, reports, &again));
        let mut failures: Vec<Group> = groups.collect();
        failures.sort_by_key(|group| std::cmp::Reverse(group.seeds.len()));
        // A seed that ended early did not do what a seed does.
        let whole = || reports.iter().filter(|report| report.virtual_s > 0.0 && !cut_short(report.verdict));
        let virtual_s: f64 = reports.iter().map(|report| report.virtual_s).sum();
        let cpu_s: f64 = reports.iter().map(|report| report.cpu_s).sum();
        let mut summary = Self {
            seeds: reports.len(),
            passed: reports.iter().filter(|report| report.verdict == Verdict::Pass).count(),
            aslr_forced: reports.iter().filter(|report| report.aslr).count(),
            failures,
            acked_median: median(whole().map(|report| report.acked_records as f64)),
            fetched_median: median(whole().map(|report| report.fetched_records as f64)),
            commits_median: median(whole().map(|report| report.commits as f64)),
            faults_median: median(whole().map(|report| report.faults.values().sum::<u64>() as f64)),
            virtual_s,
            cpu_s,
            virtual_per_cpu: virtual_s / cpu_s.max(1e-9),
            virtual_per_cpu_median: median(whole().map(|report| report.virtual_s / report.cpu_s.max(1e-9))),
            faults,
            probes,
            ..Self::default()
        };
        if default_seeds {
            summary.harness = summary.too_little();
        }
        summary
    }

    /// Adds the run of the idle world, which may fail as a seed may. `again` is the command that shows it again.
    pub fn add_idle(&mut self, report: &Report, again: &str) {
        let Report { virtual_s, cpu_s, .. } = *report;
        self.idle = Idle { virtual_s, cpu_s, virtual_per_cpu: virtual_s / cpu_s.max(1e-9) };
        if report.verdict != Verdict::Pass {
            self.failures.push(Group {
                verdict: report.verdict,
                signature: format!("idle world: {}", report.signature()),
                seeds: vec![report.seed],
                finding: report.first_finding(),
                again: again.to_owned(),
            });
        }
    }

    /// What a sweep must have done to prove anything, and this one has not.
    fn too_little(&self) -> Vec<String> {
        let mut missing = vec![];
        if self.seeds >= SEEDS_FOR_MEDIANS {
            if self.acked_median < ACKED_MEDIAN_MIN {
                missing.push(format!(
                    "the median seed acknowledges {} records, not {ACKED_MEDIAN_MIN}",
                    self.acked_median
                ));
            }
            if self.faults_median < FAULTS_MEDIAN_MIN {
                missing.push(format!(
                    "the median seed has {} faults, not {FAULTS_MEDIAN_MIN}",
                    self.faults_median
                ));
            }
        }
        if self.seeds >= SEEDS_FOR_FAULTS {
            let rare = |count: &FaultCount| (count.seeds as f64) < FAULT_SEEDS_MIN * self.seeds as f64;
            for (kind, count) in self.faults.iter().filter(|(_, count)| rare(count)) {
                missing.push(format!("{kind} was applied in {} of {} seeds only", count.seeds, self.seeds));
            }
        }
        if self.seeds >= SEEDS_FOR_PROBES {
            let unmet = self.probes.iter().filter(|(_, hits)| **hits == 0);
            missing.extend(unmet.map(|(name, _)| format!("the probe {name:?} was never met")));
        }
        missing
    }

    /// The verdict on the sweep: that of its gravest failure.
    pub fn verdict(&self) -> Verdict {
        let gravest = self.failures.iter().map(|group| group.verdict).min();
        match gravest {
            Some(verdict) => verdict,
            None if self.harness.is_empty() => Verdict::Pass,
            None => Verdict::Harness,
        }
    }

    /// The harness rules as findings.
    pub fn findings(&self) -> Vec<Finding> {
        self.harness.iter().map(|detail| Finding::new("harness", detail.clone())).collect()
    }

    /// For people. The last line is the verdict.
    pub fn print(&self) {
        println!("\n{} seeds, {} passed, {} run twice", self.seeds, self.passed, self.twice);
        if self.aslr_forced > 0 {
            println!("address randomisation could not be switched off in {} runs", self.aslr_forced);
        }
        let Self { acked_median, fetched_median, commits_median, faults_median, .. } = self;
        println!("median seed: {acked_median} records acknowledged, {fetched_median} fetched, {commits_median} offset commits, {faults_median} faults");
        println!(
            "loaded: {:.0} virtual s in {:.0} CPU s: {:.0} virtual s per CPU s (median seed {:.0})",
            self.virtual_s, self.cpu_s, self.virtual_per_cpu, self.virtual_per_cpu_median
        );
        let Idle { virtual_s, cpu_s, virtual_per_cpu } = self.idle;
        println!(
            "idle: {virtual_s:.0} virtual s in {cpu_s:.2} CPU s: {virtual_per_cpu:.0} virtual s per CPU s"
        );
        println!("{:.0} s of real time", self.wall_s);
        let faults =
            self.faults.iter().map(|(kind, count)| format!("{kind} {} in {}", count.applied, count.seeds));
        println!("faults (applied, in how many seeds): {}", faults.collect::<Vec<_>>().join(", "));
        println!("probes:");
        for (name, hits) in &self.probes {
            println!("  {hits:>9}  {name}");
        }
        for finding in self.findings() {
            println!("harness: {}", finding.detail);
        }
        if !self.failures.is_empty() {
            println!("failures:");
        }
        for Group { signature, seeds, finding, again, .. } in &self.failures {
            println!("  {} seeds ({}): {signature}", seeds.len(), first_few(seeds));
            println!("    {finding}");
            println!("    again: {again}");
        }
        println!("sweep verdict={}", self.verdict());
    }
}

/// Failures of one signature.
fn group(signature: String, mut reports: Vec<&Report>, again: impl Fn(&Report) -> String) -> Option<Group> {
    reports.sort_by_key(|report| report.seed);
    let first = reports.first()?;
    Some(Group {
        verdict: first.verdict,
        signature,
        seeds: reports.iter().map(|report| report.seed).collect(),
        finding: first.first_finding(),
        again: again(first),
    })
}

/// Whether a seed with this verdict ended before its time.
fn cut_short(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Hang | Verdict::Crash | Verdict::Harness)
}

fn first_few(seeds: &[u64]) -> String {
    let shown: Vec<String> = seeds.iter().take(5).map(u64::to_string).collect();
    format!("{}{}", shown.join(", "), if seeds.len() > shown.len() { ", …" } else { "" })
}

/// The median; 0 of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(report: &Report) -> String {
        format!("replay --seed {}", report.seed)
    }

    fn passed(seed: u64, acked: u64) -> Report {
        let mut report = Report::bare(seed, Verdict::Pass, Finding::new("", ""));
        report.findings.clear();
        report.acked_records = acked;
        report.virtual_s = 80.0;
        report.cpu_s = 0.5;
        report.faults = Fault::KINDS.iter().map(|kind| ((*kind).to_owned(), 1)).collect();
        report
    }

    #[test]
    fn a_sweep_that_does_too_little_fails_as_harness() {
        let idle: Vec<Report> = (0..100).map(|seed| passed(seed, 10)).collect();
        assert_eq!(Summary::of(&idle, true, again).verdict(), Verdict::Harness);
        assert_eq!(Summary::of(&idle, false, again).verdict(), Verdict::Pass);
        let busy: Vec<Report> = (0..100).map(|seed| passed(seed, 5_000)).collect();
        assert_eq!(Summary::of(&busy, true, again).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_fault_kind_that_hardly_strikes_fails_a_large_sweep() {
        let mut reports: Vec<Report> = (0..600).map(|seed| passed(seed, 5_000)).collect();
        reports.iter_mut().skip(3).for_each(|report| _ = report.faults.remove("bit-flip"));
        let summary = Summary::of(&reports, true, again);
        assert_eq!(summary.harness, ["bit-flip was applied in 3 of 600 seeds only"]);
    }

    #[test]
    fn a_probe_that_is_never_met_fails_a_sweep_of_a_thousand() {
        let reports: Vec<Report> = (0..1_000).map(|seed| passed(seed, 5_000)).collect();
        assert_eq!(Summary::of(&reports, true, again).harness.len(), KNOWN.len());
    }

    #[test]
    fn an_idle_world_is_timed_and_judged() {
        let mut idle = passed(1, 0);
        let mut summary = Summary::of(&[], false, again);
        summary.add_idle(&idle, "run --idle");
        assert_eq!(summary.idle, Idle { virtual_s: 80.0, cpu_s: 0.5, virtual_per_cpu: 160.0 });
        assert_eq!(summary.verdict(), Verdict::Pass);
        idle.verdict = Verdict::Liveness;
        summary.add_idle(&idle, "run --idle");
        assert_eq!(summary.verdict(), Verdict::Liveness);
    }

    #[test]
    fn failures_are_grouped_by_signature_and_the_gravest_is_the_verdict() {
        let mut reports: Vec<Report> = (0..10).map(|seed| passed(seed, 5_000)).collect();
        for (seed, verdict) in [(10, Verdict::Liveness), (11, Verdict::Correctness), (12, Verdict::Liveness)]
        {
            reports.push(Report::bare(seed, verdict, Finding::new("x", format!("at {seed}"))));
        }
        let summary = Summary::of(&reports, true, again);
        assert_eq!(summary.failures.len(), 2);
        assert_eq!(summary.failures[0].seeds, [10, 12]);
        assert_eq!(summary.failures[0].finding, "x: at 10");
        assert_eq!(summary.failures[0].again, "replay --seed 10");
        assert_eq!(summary.verdict(), Verdict::Correctness);
    }
}
