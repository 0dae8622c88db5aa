//! One seed, two processes, one with randomised addresses and one without: the traces must be the same.

use norn_env::sim::trace::CHAIN_EVERY;

use super::child::Job;
use crate::report::{Finding, Report, Verdict};

/// Runs the seed both ways. A difference is bisected along the chains of hashes to the first event that differs.
pub fn run(job: &Job) -> Report {
    let job = job.clone().arg("--chain");
    let mut first = job.run_confirmed();
    let second = job.clone().aslr(true).run_confirmed();
    let same = first.verdict == second.verdict && first.hash == second.hash && first.events == second.events;
    // A hang is ended by real time: its trace has no definite length.
    if !same && ![first.verdict, second.verdict].contains(&Verdict::Hang) {
        let finding = Finding::new("nondeterminism", difference(&job, &first, &second));
        first.verdict = Verdict::Nondeterminism;
        first.findings.insert(0, finding);
    }
    first.chain.clear();
    first
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
