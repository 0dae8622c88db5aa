//! Makes the tape of a failure small: strikes faults, clients and topics for as long as the same check still fails.

mod ddmin;
mod search;
mod strike;
mod symptom;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::search::Search;
use self::strike::Part;
use self::symptom::Symptom;
use crate::cli::Which;
use crate::report::{Report, Verdict};
use crate::sweep::child::Job;
use crate::sweep::{interrupt, jobs};
use crate::tape::{Tape, TapeError};

/// Which failure, and how long to work on it.
#[derive(Debug, Args)]
pub struct ShrinkArgs {
    #[command(flatten)]
    which: Which,
    /// Where the small tape goes; shrunk-SEED.json by default. It is written anew whenever a smaller one was found.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Processes at a time; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Try no more tapes after so many minutes. Ctrl-C does the same at once; what was reached is kept.
    #[arg(long)]
    minutes: Option<u64>,
    /// The first finding must keep its words (numbers and names aside), too, and not its check alone.
    #[arg(long)]
    exact: bool,
    /// Real time that a run may take, in seconds.
    #[arg(long, default_value_t = 120)]
    wall_limit: u64,
    /// Real time for which virtual time may stand still, in seconds.
    #[arg(long, default_value_t = 10)]
    stall_limit: u64,
}

/// Why nothing was shrunk.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    #[error(transparent)]
    Tape(#[from] TapeError),
    #[error("this binary cannot find itself: {0}")]
    NoSelf(io::Error),
    #[error("cannot write tapes to {path}: {source}")]
    Dir { path: String, source: io::Error },
    #[error("there is nothing to shrink: {0}")]
    NoFailure(String),
}

/// Shrinks, writes the tape, prints what was struck and what is left.
pub fn run(args: &ShrinkArgs) -> Result<Verdict, ShrinkError> {
    let tape = args.which.tape()?;
    let exe = std::env::current_exe().map_err(ShrinkError::NoSelf)?;
    let secs = Duration::from_secs;
    let job = Job::new(exe, tape.seed, secs(args.wall_limit), secs(args.stall_limit));
    let out = args.out.clone().unwrap_or_else(|| format!("shrunk-{}.json", tape.seed).into());
    interrupt::watch();
    let limit = args.minutes.map(|minutes| secs(minutes * 60));
    let mut search = Search::new(job, jobs(args.jobs), limit, out)?;
    let first = search.run(&tape);
    let Some(symptom) = Symptom::of(&first, args.exact) else {
        let why = first.findings.first().map_or("", |finding| finding.detail.as_str());
        return Err(ShrinkError::NoFailure(format!("{} {why}", first.line())));
    };
    println!("{symptom}: {}", detail(&first, &symptom));
    let small = search.shrink(tape.clone(), &symptom)?;
    // After Ctrl-C nothing is run any more.
    let last = if interrupt::asked() { first } else { search.run(&small) };
    summarise(&tape, &small, &search, &symptom, &last);
    Ok(Verdict::Pass)
}

/// The finding that a symptom is about.
fn detail<'a>(report: &'a Report, symptom: &Symptom) -> &'a str {
    let found = report.findings.iter().find(|finding| finding.checker == symptom.checker);
    found.map_or("", |finding| finding.detail.as_str())
}

fn summarise(before: &Tape, small: &Tape, search: &Search, symptom: &Symptom, last: &Report) {
    let ended = if search.is_over() { ", ended before it was through" } else { "" };
    println!("\n{} runs in {:.0} s{ended}", search.runs(), search.elapsed_s());
    for part in Part::ALL {
        println!("  {:<8} {:>4} of {:<4} left", part.name(), part.count(small), part.count(before));
    }
    let chaos_s = |tape: &Tape| tape.world.phases.chaos_ms as f64 / 1e3;
    println!("  chaos    {:.1} s of {:.1} s", chaos_s(small), chaos_s(before));
    println!("struck: {}", struck(before, small));
    println!("left:");
    for timed in &small.faults {
        println!("  fault at {:.3} s of chaos: {:?}", timed.at_ms as f64 / 1e3, timed.fault);
    }
    for client in &small.clients.clients {
        println!("  client {}: {:?}", client.number, client.role);
    }
    for topic in &small.clients.topics {
        println!("  topic {}: {} partitions {:?}", topic.name, topic.partitions, topic.configs);
    }
    println!("{symptom}: {}", detail(last, symptom));
    println!("the tape: {}\nagain: {}", search.out().display(), search.again(small, symptom.verdict));
}

/// What was struck, by kind.
fn struck(before: &Tape, small: &Tape) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for timed in before.faults.iter().filter(|timed| !small.faults.contains(timed)) {
        *kinds.entry(timed.fault.kind().to_owned()).or_default() += 1;
    }
    let mut all: Vec<String> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let kept = |number| small.clients.clients.iter().any(|client| client.number == number);
    let clients = before.clients.clients.iter().map(|client| client.number).filter(|number| !kept(*number));
    all.extend(clients.map(|number| format!("client {number}")));
    let topics = before.clients.topics.iter().filter(|topic| !small.clients.topics.contains(topic));
    all.extend(topics.map(|topic| format!("topic {}", topic.name)));
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_struck_is_told_by_kind_and_name() {
        let tape = Tape::draw(1);
        assert_eq!(struck(&tape, &tape), "nothing");
        let small = Part::Clients.keep(&Part::Faults.keep(&tape, &[]), &[0]);
        let told = struck(&tape, &small);
        assert!(told.contains(tape.faults[0].fault.kind()), "{told}");
        assert!(told.contains("client 1") && !told.contains("client 0"), "{told}");
    }
}
