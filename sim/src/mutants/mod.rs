//! Known bugs, put back one at a time: does the sweep find each?
//!
//! All patches of `sim/mutants` go into one copy of the tree, each behind `mutant!("id")`, and are built once; the
//! process is told at its start which is on. See [`patch`] for the files, [`hunt`] for what counts as found.

mod hunt;
mod patch;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub use self::hunt::Builds;
use self::hunt::{Hunt, Hunter, Outcome};
use self::patch::{Mutant, PatchError};
use self::tree::{Tree, TreeError};
use crate::report::Verdict;
use crate::sweep::jobs;

/// Which mutants, and how long to look for them.
#[derive(Debug, Args)]
pub struct MutantsArgs {
    /// Only these.
    #[arg(value_name = "ID")]
    only: Vec<String>,
    /// Seeds to try for each, instead of what its header says.
    #[arg(long)]
    budget: Option<u64>,
    /// The first seed to try.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Processes at a time; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Only see whether all patches apply and compile.
    #[arg(long)]
    check: bool,
    /// Hunt only the few that are found soon, and see whether all others apply and compile.
    #[arg(long)]
    quick: bool,
    /// Cargo's profile to build with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Real time that a seed may take, in seconds.
    #[arg(long, default_value_t = 120)]
    wall_limit: u64,
    /// Real time for which virtual time may stand still, in seconds.
    #[arg(long, default_value_t = 10)]
    stall_limit: u64,
    /// Write a line of JSON for each mutant.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
pub enum MutantsError {
    #[error(transparent)]
    Patch(#[from] PatchError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("there is no mutant called {0}")]
    Unknown(String),
    #[error("{path}: {source}")]
    Json { path: String, source: std::io::Error },
}

/// Builds, hunts, prints the board. Every mutant must apply and be found.
pub fn run(args: &MutantsArgs) -> Result<Verdict, MutantsError> {
    let tree = Tree::here()?;
    let all = Mutant::load_all(&tree.patches())?;
    if let Some(unknown) = args.only.iter().find(|id| all.iter().all(|mutant| mutant.id != **id)) {
        return Err(MutantsError::Unknown(unknown.clone()));
    }
    for mutant in &all {
        tree.check(mutant)?;
    }
    let wanted = |mutant: &&Mutant| {
        (args.only.is_empty() || args.only.contains(&mutant.id)) && (mutant.quick || !args.quick)
    };
    let (together, alone) = tree.combine(&all)?;
    println!("{} mutants apply, {} share a build", all.len(), together.len());
    let alone = alone.into_iter().filter(|mutant| args.check || args.quick || wanted(mutant));
    let builds = build_all(&tree, &together, alone, &args.profile)?;
    if args.check {
        println!("all compile");
        return Ok(Verdict::Pass);
    }
    let hunter = Hunter {
        jobs: jobs(args.jobs),
        first_seed: args.first_seed,
        budget: args.budget,
        wall_limit: Duration::from_secs(args.wall_limit),
        stall_limit: Duration::from_secs(args.stall_limit),
        confirmed: Default::default(),
    };
    let mut hunts = vec![];
    for mutant in all.iter().filter(wanted) {
        let hunt = hunter.hunt(mutant, builds.of(&mutant.id), &builds.together);
        eprintln!("{}: {} ({} seeds)", hunt.mutant, told(&hunt.outcome), hunt.seeds);
        hunts.push(hunt);
    }
    if let Some(path) = &args.json {
        write_json(path, &hunts)
            .map_err(|source| MutantsError::Json { path: path.display().to_string(), source })?;
    }
    print_board(&hunter, &hunts, &all, &builds);
    let found = hunts.iter().all(|hunt| matches!(hunt.outcome, Outcome::Found { .. }));
    Ok(if found { Verdict::Pass } else { Verdict::Harness })
}

/// Builds these known bugs, ready to be put back.
pub fn build(ids: &BTreeSet<&str>, profile: &str) -> Result<Builds, MutantsError> {
    let tree = Tree::here()?;
    let all = Mutant::load_all(&tree.patches())?;
    if let Some(unknown) = ids.iter().find(|id| all.iter().all(|mutant| mutant.id != **id)) {
        return Err(MutantsError::Unknown((*unknown).to_owned()));
    }
    let (together, alone) = tree.combine(&all)?;
    let alone = alone.into_iter().filter(|mutant| ids.contains(mutant.id.as_str()));
    build_all(&tree, &together, alone, profile)
}

fn build_all<'a>(
    tree: &Tree,
    together: &[&Mutant],
    alone: impl Iterator<Item = &'a Mutant>,
    profile: &str,
) -> Result<Builds, MutantsError> {
    let mut builds = Builds { together: tree.build("norn-sim", together, profile)?, alone: BTreeMap::new() };
    for mutant in alone {
        let build = tree.build(&format!("norn-sim-{}", mutant.id), &[mutant], profile)?;
        builds.alone.insert(mutant.id.clone(), build);
    }
    Ok(builds)
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Found { check, .. } => check.clone(),
        Outcome::Survived => "SURVIVED".to_owned(),
        Outcome::Blunt { check, .. } => format!("BLUNT: {check} fires without faults, too"),
        Outcome::Unlisted { check, .. } => format!("NOT LISTED: {check}"),
        Outcome::Missed { seed } => format!("MISSED by seed {seed}"),
    }
}

fn print_board(hunter: &Hunter, hunts: &[Hunt], all: &[Mutant], builds: &Builds) {
    println!("\n{:<32} {:>6} {:>11} {:>8}  found by", "mutant", "seeds", "virtual s", "CPU s");
    for Hunt { mutant, outcome, seeds, virtual_s, cpu_s, passed_over } in hunts {
        println!("{mutant:<32} {seeds:>6} {virtual_s:>11.0} {cpu_s:>8.1}  {}", told(outcome));
        if !passed_over.is_empty() {
            println!("    passed over, as they fail without it too: {passed_over:?}");
        }
        if let Some(known) = all.iter().find(|known| known.id == *mutant) {
            println!("    {}", known.symptom);
        }
        match outcome {
            Outcome::Survived | Outcome::Missed { .. } => {}
            Outcome::Found { seed, check }
            | Outcome::Blunt { seed, check }
            | Outcome::Unlisted { seed, check } => {
                println!("    {}", hunter.again(builds.of(mutant), mutant, check, *seed))
            }
        }
    }
    let found = hunts.iter().filter(|hunt| matches!(hunt.outcome, Outcome::Found { .. })).count();
    println!("{found} of {} found", hunts.len());
}

fn write_json(path: &PathBuf, hunts: &[Hunt]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for hunt in hunts {
        writeln!(file, "{}", serde_json::to_string(hunt).map_err(std::io::Error::other)?)?;
    }
    Ok(())
}
