//! The command line. Exit codes are verdicts (see [`crate::report::Verdict`]); 2 says that the arguments make no sense.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::corpus::{self, CorpusCommand};
use crate::mutants::{self, MutantsArgs};
use crate::replay::{replay, ReplayArgs};
use crate::report::{Finding, Report, Verdict, REPORT_MARK};
use crate::run::{run, How};
use crate::shrink::{self, ShrinkArgs};
use crate::sweep::{self, SweepArgs};
use crate::tape::{Tape, TapeError};

/// Real time for which virtual time may stand still, where nothing else is said.
pub const STALL_LIMIT_S: u64 = 20;

/// Runs the broker in worlds that seeds decide.
#[derive(Debug, Parser)]
#[command(name = "norn-sim", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed in this process. The last line of the output is its result.
    Run(RunArgs),
    /// Run many seeds, each in a process of its own, and sum up.
    Sweep(SweepArgs),
    /// Run one seed or tape again and show what happens in it.
    Replay(ReplayArgs),
    /// Strike faults, clients and topics from a seed or tape for as long as the same check still fails.
    Shrink(ShrinkArgs),
    /// Run the tapes that are kept in the tree, or keep another one.
    #[command(subcommand)]
    Corpus(CorpusCommand),
    /// Put known bugs back, one at a time, and count the seeds until the sweep finds each.
    Mutants(MutantsArgs),
}

/// Which world.
#[derive(Debug, Args)]
pub struct Which {
    /// The seed that draws the tape; of a tape from a file, the one that the run itself takes.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Execute this tape (JSON) instead of drawing one.
    #[arg(long, value_name = "FILE")]
    pub tape: Option<PathBuf>,
    /// Leave all faults out.
    #[arg(long)]
    pub no_faults: bool,
    /// Execute the idle world: one broker and an empty topic, no clients, no faults.
    #[arg(long, conflicts_with = "tape")]
    pub idle: bool,
}

impl Which {
    /// The tape to execute.
    pub fn tape(&self) -> Result<Tape, TapeError> {
        let tape = match &self.tape {
            None if self.idle => Tape::idle(self.seed.unwrap_or(1)),
            Some(path) => {
                let tape = Tape::load(path)?;
                Tape { seed: self.seed.unwrap_or(tape.seed), ..tape }
            }
            None => Tape::draw(self.seed.unwrap_or(1)),
        };
        Ok(if self.no_faults { tape.without_faults() } else { tape })
    }
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    which: Which,
    /// Take virtual time for stuck when it does not move for so many seconds of real time. 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = STALL_LIMIT_S)]
    stall_limit: u64,
    /// Print the report as JSON before the last line.
    #[arg(long)]
    report: bool,
    /// Put the hash chain of the trace into the report.
    #[arg(long)]
    chain: bool,
    /// Put these events of the trace into the report.
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    capture: Option<Range<u64>>,
}

/// The program.
pub fn main() -> ExitCode {
    // Whoever reads along may stop: that ends this, and is no panic.
    // SAFETY: nothing else handles this signal, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match Cli::parse().command {
        Command::Run(args) => run_one(&args),
        Command::Sweep(args) => exit(sweep::run(&args)),
        Command::Replay(args) => exit(replay(&args)),
        Command::Shrink(args) => exit(shrink::run(&args)),
        Command::Corpus(command) => exit(corpus::run(&command)),
        Command::Mutants(args) => exit(mutants::run(&args)),
    }
}

/// What could not be done is the harness's failure.
fn exit<E: std::fmt::Display>(done: Result<Verdict, E>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("norn-sim: {error}");
        Verdict::Harness
    })
    .into()
}

fn run_one(args: &RunArgs) -> ExitCode {
    let report = match args.which.tape() {
        Ok(tape) => {
            let how = How {
                stall_limit: stall_limit(args.stall_limit),
                chain: args.chain,
                capture: args.capture.clone().unwrap_or_default(),
                ..How::default()
            };
            run(tape, how)
        }
        Err(error) => {
            let finding = Finding::new("harness", error.to_string());
            Report::bare(args.which.seed.unwrap_or(1), Verdict::Harness, finding)
        }
    };
    if args.report {
        println!("{REPORT_MARK}{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        print_findings(&report);
    }
    println!("{}", report.line());
    // The threads and the world of the run are not worth their orderly end.
    ExitCode::from(report.verdict)
}

/// The limit as it is stated; 0 is none.
pub fn stall_limit(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Lines of the wait-for report that a person is shown.
const WAITS_SHOWN_MAX: usize = 60;

/// What a person wants to know of a failed run.
pub fn print_findings(report: &Report) {
    for Finding { checker, detail } in &report.findings {
        println!("{checker}: {detail}");
    }
    for wait in report.waits.iter().take(WAITS_SHOWN_MAX) {
        println!("  {wait}");
    }
    if report.waits.len() > WAITS_SHOWN_MAX {
        println!("  (and {} more; --report has them all)", report.waits.len() - WAITS_SHOWN_MAX);
    }
    for error in &report.errors {
        println!("error log: {error}");
    }
}

/// Parses `A..B`.
pub fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected FROM..TO")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err(format!("{text} is empty"));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_watched_unless_it_is_told_not_to_be() {
        let parse = |args: &[&str]| match Cli::parse_from([&["norn-sim", "replay"], args].concat()).command {
            Command::Replay(args) => args.how().stall_limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(parse(&[]), Some(Duration::from_secs(20)));
        assert_eq!(parse(&["--stall-limit", "0"]), None);
    }
}
