//! One seed, two processes, one with randomised addresses and one without: the traces must be the same.

use norn_env::sim::trace::CHAIN_EVERY;

use super::child::Job;
use crate::report::{Finding, Report, Verdict};

/// Runs the seed both ways. A difference is bisected along the chains of hashes to the first event that differs.
pub fn run(job: &Job) -> Report {
    let job = job.clone().arg("--chain");
    let mut first = job.run_confirmed();
    let second = job.clone().aslr(true).run_confirmed();
    let mut told = match compare(&first, &second) {
        Compared::Same => first,
        Compared::SecondHung => second,
        Compared::NotRandomised => {
            let detail = "addresses were random in neither run: that the traces are the same proves nothing";
            first.verdict = Verdict::Harness;
            first.findings.insert(0, Finding::new("harness", detail));
            first
        }
        Compared::Different => {
            let finding = Finding::new("nondeterminism", difference(&job, &first, &second));
            first.verdict = Verdict::Nondeterminism;
            first.findings.insert(0, finding);
            first
        }
    };
    told.chain.clear();
    told
}

/// What two runs of one seed say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// Also where the first run failed and the other one hung: a hang is ended by real time, and its trace has no definite
    /// length.
    Same,
    Different,
    /// The first run passed.
    SecondHung,
    /// The second run passed, without random addresses.
    NotRandomised,
}

fn compare(first: &Report, second: &Report) -> Compared {
    let same = first.verdict == second.verdict && first.hash == second.hash && first.events == second.events;
    match (first.verdict, second.verdict) {
        (Verdict::Pass, Verdict::Hang) => Compared::SecondHung,
        (Verdict::Hang, _) | (_, Verdict::Hang) => Compared::Same,
        _ if !same => Compared::Different,
        (Verdict::Pass, _) if !second.aslr => Compared::NotRandomised,
        _ => Compared::Same,
    }
}

fn difference(job: &Job, first: &Report, second: &Report) -> String {
    let said = format!("{}\n{}", first.line(), second.line());
    let common = first.chain.iter().zip(&second.chain).take_while(|(a, b)| a == b).count() as u64;
    let (from, to) = (common * CHAIN_EVERY, (common + 1) * CHAIN_EVERY);
    let capture = job.clone().arg("--capture").arg(format!("{from}..{to}"));
    let (first, second) = (capture.run(), capture.clone().aslr(true).run());
    let differing =
        (0..).map(|i| (first.captured.get(i), second.captured.get(i))).find(|(a, b)| a != b || a.is_none());
    let (a, b) = differing.unwrap_or_default();
    let shown = |event: Option<&String>| event.map_or("(none)", String::as_str).to_owned();
    format!(
        "two runs differ between events {from} and {to}; the first event that does, when both were run again:\n\
         without address randomisation: {}\nwith: {}\n{said}",
        shown(a),
        shown(b)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict, hash: &str, aslr: bool) -> Report {
        let bare = Report::bare(1, verdict, Finding::new("x", "y"));
        Report { hash: hash.to_owned(), aslr, ..bare }
    }

    #[test]
    fn a_hang_in_either_run_counts() {
        let passed = || report(Verdict::Pass, "a", true);
        let hung = || report(Verdict::Hang, "none", false);
        assert_eq!(compare(&passed(), &hung()), Compared::SecondHung);
        // The first run's report is what is told.
        assert_eq!(compare(&hung(), &passed()), Compared::Same);
        // What was found before the other run hung says more.
        let failed = report(Verdict::Correctness, "a", false);
        assert_eq!(compare(&failed, &hung()), Compared::Same);
    }

    #[test]
    fn two_traces_differ_and_one_proves_something_only_with_random_addresses() {
        let fixed = |hash| report(Verdict::Pass, hash, false);
        assert_eq!(compare(&fixed("a"), &report(Verdict::Pass, "a", true)), Compared::Same);
        assert_eq!(compare(&fixed("a"), &report(Verdict::Pass, "b", true)), Compared::Different);
        assert_eq!(compare(&fixed("a"), &fixed("a")), Compared::NotRandomised);
    }
}
