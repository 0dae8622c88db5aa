//! One world again, for a person to look at: what strikes when, the log on demand, everything that was found.

pub mod history;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::history::Place;
use crate::cli::{print_findings, stall_limit, Which, STALL_LIMIT_S};
use crate::report::Verdict;
use crate::run::{run, How};
use crate::tape::TapeError;

/// Log lines of a replay that does not say which.
const PHASES_AND_FAULTS: &str = "off,norn_sim=info";

/// Which world, and what to show of it.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    which: Which,
    /// Stop at this virtual time, in seconds, without a verdict of the checkers.
    #[arg(long, value_name = "SECONDS")]
    until: Option<f64>,
    /// Take virtual time for stuck when it does not move for so many seconds of real time, and say where. 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = STALL_LIMIT_S)]
    stall_limit: u64,
    /// Print the log lines that this filter lets through (as RUST_LOG: norn_broker=debug,norn_log=trace). Phases and faults
    /// are always among them.
    #[arg(long, value_name = "FILTER")]
    trace: Option<String>,
    /// Print what clients saw of one offset: who wrote it, acknowledgements, reads, truncations.
    #[arg(long, value_name = "TOPIC-PARTITION@OFFSET", value_parser = Place::parse)]
    history: Option<Place>,
    /// Write the tape to this file, to change it and run it again with --tape.
    #[arg(long, value_name = "FILE")]
    save_tape: Option<PathBuf>,
}

impl ReplayArgs {
    /// How the run differs from the plain one.
    pub fn how(&self) -> How {
        let filter = match &self.trace {
            Some(filter) => format!("{filter},norn_sim=info"),
            None => PHASES_AND_FAULTS.to_owned(),
        };
        How {
            until: self.until.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
            trace: Some(filter),
            stall_limit: stall_limit(self.stall_limit),
            history: self.history.clone(),
            ..How::default()
        }
    }
}

/// Runs the world and prints what it shows.
pub fn replay(args: &ReplayArgs) -> Result<Verdict, TapeError> {
    let tape = args.which.tape()?;
    if let Some(path) = &args.save_tape {
        tape.save(path)?;
    }
    println!(
        "brokers: {}",
        tape.world.brokers.iter().map(|broker| format!("{:?}", broker.config)).collect::<String>()
    );
    let report = run(tape, args.how());
    print_findings(&report);
    for line in &report.history {
        println!("{line}");
    }
    println!("{}", report.line());
    Ok(report.verdict)
}
