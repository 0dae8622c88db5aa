//! What came of one seed: the verdict, as exit code and as JSON, and the figures beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::check::AckTimes;
use crate::signature::masked;

/// The commit that this binary was built from; `unknown` where git did not say.
pub const COMMIT: &str = env!("NORN_COMMIT");

/// Marks the line of a child's output that holds its report.
pub const REPORT_MARK: &str = "report=";

/// Lines of a finding that a sweep shows; stacks have many.
const FINDING_LINES_MAX: usize = 12;

/// The kinds of verdict. Their numbers are exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    /// A checker saw a promise broken.
    Correctness,
    /// Something did not end within its bound of virtual time.
    Liveness,
    /// Virtual time stood still.
    Hang,
    /// A panic, or the death of the process.
    Crash,
    /// One seed, two traces.
    Nondeterminism,
    /// The simulator itself could not do its work, or did too little of it to prove anything.
    Harness,
    /// The run was cut off before the checkers saw it.
    NotJudged,
}

impl Verdict {
    /// The exit code of a process with this verdict.
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Correctness => 10,
            Self::Liveness => 11,
            Self::Hang => 12,
            Self::Crash => 13,
            Self::Nondeterminism => 14,
            Self::Harness => 15,
            Self::NotJudged => 16,
        }
    }

    /// The verdict behind an exit code; a code that no verdict has is a crash.
    pub fn of_code(code: i32) -> Self {
        let all =
            [Self::Pass, Self::Correctness, Self::Liveness, Self::Hang, Self::Nondeterminism, Self::Harness];
        all.into_iter().find(|verdict| i32::from(verdict.code()) == code).unwrap_or(Self::Crash)
    }

    /// The name that reports and mutants' headers use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Correctness => "correctness",
            Self::Liveness => "liveness",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Nondeterminism => "nondeterminism",
            Self::Harness => "harness",
            Self::NotJudged => "not-judged",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict.code())
    }
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The checker's stable name, or that of the verdict where no checker is behind it.
    pub checker: String,
    pub detail: String,
}

impl Finding {
    pub fn new(checker: &str, detail: impl Into<String>) -> Self {
        Self { checker: checker.to_owned(), detail: detail.into() }
    }
}

/// What came of one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    /// The commit that the simulator was built from.
    #[serde(default)]
    pub commit: String,
    /// Which build of it ran the seed, and how; only in the files of sweeps.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The trace hash, and the events in it.
    pub hash: String,
    pub events: u64,
    /// The hash after every so many events, where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<u64>,
    /// The recorded events, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captured: Vec<String>,
    /// What clients saw of the place that was asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    pub virtual_s: f64,
    pub wall_s: f64,
    pub cpu_s: f64,
    /// Whether addresses were randomised in this process.
    pub aslr: bool,
    /// How often each kind of fault was applied.
    #[serde(default)]
    pub faults: BTreeMap<String, u64>,
    /// How often each probe was met.
    #[serde(default)]
    pub probes: BTreeMap<String, u64>,
    #[serde(default)]
    pub acked_records: u64,
    /// How long acknowledgements took, by topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acks: BTreeMap<String, AckTimes>,
    #[serde(default)]
    pub fetched_records: u64,
    #[serde(default)]
    pub commits: u64,
    /// Who waited for what when the verdict fell; only of seeds that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// Lines that the broker logged as errors, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl Report {
    /// A report of a run of which nothing else is known.
    pub fn bare(seed: u64, verdict: Verdict, finding: Finding) -> Self {
        Self {
            seed,
            commit: COMMIT.to_owned(),
            build: String::new(),
            verdict,
            findings: vec![finding],
            hash: "none".to_owned(),
            events: 0,
            chain: vec![],
            captured: vec![],
            history: vec![],
            virtual_s: 0.0,
            wall_s: 0.0,
            cpu_s: 0.0,
            aslr: false,
            faults: BTreeMap::new(),
            probes: BTreeMap::new(),
            acked_records: 0,
            acks: BTreeMap::new(),
            fetched_records: 0,
            commits: 0,
            waits: vec![],
            errors: vec![],
        }
    }

    /// The first finding as it was found: where, at which offset and when.
    pub fn first_finding(&self) -> String {
        let told = |finding: &Finding| {
            let lines: Vec<&str> = finding.detail.lines().take(FINDING_LINES_MAX).collect();
            format!("{}: {}", finding.checker, lines.join("\n    "))
        };
        self.findings.first().map(told).unwrap_or_default()
    }

    /// The last line of a run's output.
    pub fn line(&self) -> String {
        let Self { seed, verdict, hash, events, virtual_s, wall_s, .. } = self;
        format!("seed={seed} verdict={verdict} hash={hash}@{events} events={events} virtual={virtual_s:.1}s wall={wall_s:.2}s")
    }

    /// What failures are grouped by: the checker and its words, without the numbers and names in them.
    pub fn signature(&self) -> String {
        match self.findings.first() {
            None => self.verdict.to_string(),
            Some(finding) => {
                format!("{} {}: {}", self.verdict, finding.checker, masked(&finding.detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_in_numbers_only_have_one_signature() {
        let of =
            |detail: &str| Report::bare(1, Verdict::Correctness, Finding::new("order", detail)).signature();
        assert_eq!(of("offset 17 of t-3 before 9\nmore"), of("offset 2 of t-11 before 1234\nother"));
        assert_ne!(of("offset 17 lost"), of("offset 17 doubled"));
    }

    #[test]
    fn exit_codes_name_their_verdicts() {
        for verdict in
            [Verdict::Pass, Verdict::Hang, Verdict::Crash, Verdict::Nondeterminism, Verdict::Harness]
        {
            assert_eq!(Verdict::of_code(i32::from(verdict.code())), verdict);
        }
        assert_eq!(Verdict::of_code(101), Verdict::Crash);
    }
}
