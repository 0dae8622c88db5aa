//! What a smaller tape must still show.

use std::fmt;

use crate::report::{Report, Verdict};

/// How a run failed: the kind of its verdict, and the check that found it. Of a panic or a hang, where; a lost record is
/// the same failure in whichever partition it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symptom {
    pub verdict: Verdict,
    pub checker: String,
    /// The words of the finding, where these matter.
    signature: Option<String>,
}

impl Symptom {
    /// That of a failed run; none if it has not failed, or did not run at all. `exact`: its words must be the same, too.
    pub fn of(report: &Report, exact: bool) -> Option<Self> {
        let placed = match report.verdict {
            Verdict::Pass | Verdict::NotJudged | Verdict::Harness => return None,
            Verdict::Crash | Verdict::Hang => true,
            Verdict::Correctness | Verdict::Liveness | Verdict::Nondeterminism => exact,
        };
        let checker = report.findings.first()?.checker.clone();
        Some(Self { verdict: report.verdict, checker, signature: placed.then(|| report.signature()) })
    }

    /// Whether `report` shows it.
    pub fn shows_in(&self, report: &Report) -> bool {
        let fired = report.findings.iter().any(|finding| finding.checker == self.checker);
        let same = self.signature.as_ref().is_none_or(|signature| *signature == report.signature());
        report.verdict == self.verdict && fired && same
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.checker)?;
        self.signature.as_ref().map_or(Ok(()), |signature| write!(f, " ({signature})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    fn report(verdict: Verdict, checker: &str, detail: &str) -> Report {
        Report::bare(1, verdict, Finding::new(checker, detail))
    }

    #[test]
    fn a_lost_record_is_one_failure_wherever_it_was_and_a_panic_is_not() {
        let lost = report(Verdict::Correctness, "acked-durable", "is nowhere");
        let symptom = Symptom::of(&lost, false).unwrap();
        assert!(symptom.shows_in(&report(Verdict::Correctness, "acked-durable", "is elsewhere")));
        assert!(!symptom.shows_in(&report(Verdict::Correctness, "order", "is nowhere")));
        assert!(!symptom.shows_in(&report(Verdict::Crash, "acked-durable", "is nowhere")));
        let exact = Symptom::of(&lost, true).unwrap();
        assert!(!exact.shows_in(&report(Verdict::Correctness, "acked-durable", "is elsewhere")));
        let panic = report(Verdict::Crash, "no-panic", "index out of range at a.rs");
        let symptom = Symptom::of(&panic, false).unwrap();
        assert!(symptom.shows_in(&panic));
        assert!(!symptom.shows_in(&report(Verdict::Crash, "no-panic", "overflow at b.rs")));
    }

    #[test]
    fn a_check_that_fires_beside_another_one_is_still_there() {
        let symptom = Symptom::of(&report(Verdict::Correctness, "order", "x"), false).unwrap();
        let mut both = report(Verdict::Correctness, "acked-durable", "y");
        both.findings.push(Finding::new("order", "z"));
        assert!(symptom.shows_in(&both));
    }

    #[test]
    fn what_has_not_failed_has_no_symptom() {
        for verdict in [Verdict::Pass, Verdict::NotJudged, Verdict::Harness] {
            assert_eq!(Symptom::of(&report(verdict, "x", "y"), false), None);
        }
    }
}
