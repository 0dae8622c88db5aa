//! The corpus: tapes that are kept with what must come of them, most of them of bugs that were mended.

mod entry;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use self::entry::{is_as_expected, outcome, paths, Entry, EntryError, Finds};
use crate::cli::Which;
use crate::mutants::{self, MutantsError};
use crate::report::{Report, Verdict};
use crate::sweep::child::{Job, MUTANT_VAR};
use crate::sweep::{jobs, pool};
use crate::tape::TapeError;

/// Real time that a tape may take.
const WALL_LIMIT: Duration = Duration::from_secs(180);

/// What to do with the corpus.
#[derive(Debug, Subcommand)]
pub enum CorpusCommand {
    /// Run the kept tapes: does of each come what its file says?
    Run(RunArgs),
    /// Keep a tape with what comes of it now. It runs with the mutant of NORN_MUTANT, if that is set, and without.
    Add(AddArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Only these, by the names of their files.
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    #[arg(long, default_value = "sim/corpus")]
    dir: PathBuf,
    /// Put the known bugs back that the tapes find, too, and see whether they still do. It builds them first.
    #[arg(long)]
    mutants: bool,
    /// Cargo's profile to build mutants with.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Processes at a time; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Real time for which virtual time may stand still, in seconds.
    #[arg(long, default_value_t = 20)]
    stall_limit: u64,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// The name of its file.
    name: String,
    #[command(flatten)]
    which: Which,
    /// What the tape is about, for those who see it fail.
    #[arg(long)]
    about: String,
    #[arg(long, default_value = "sim/corpus")]
    dir: PathBuf,
    /// Real time for which virtual time may stand still, in seconds.
    #[arg(long, default_value_t = 20)]
    stall_limit: u64,
}

/// Why nothing was run or kept.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Tape(#[from] TapeError),
    #[error(transparent)]
    Mutants(#[from] MutantsError),
    #[error("this binary cannot find itself: {0}")]
    NoSelf(io::Error),
    #[error("there is no kept tape called {0}")]
    Unknown(String),
    #[error("a name has letters, digits and dashes only: {0}")]
    Name(String),
    #[error("it passes with {0} on, too: is that mutant in this build, and does the tape find it?")]
    NotFound(String),
    #[error("what came of it is no expectation: {0}")]
    NoOutcome(String),
}

/// Runs the kept tapes or keeps another one.
pub fn run(command: &CorpusCommand) -> Result<Verdict, CorpusError> {
    match command {
        CorpusCommand::Run(args) => run_all(args),
        CorpusCommand::Add(args) => add(args),
    }
}

/// A run of a kept tape, and what must come of it.
struct Case {
    name: String,
    about: String,
    expect: String,
    job: Job,
}

impl Case {
    fn new(path: &Path, entry: &Entry, expect: &str, exe: &Path, stall_limit: u64) -> Self {
        let seed = entry.tape.get("seed").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let job = Job::new(exe.to_owned(), seed, WALL_LIMIT, Duration::from_secs(stall_limit));
        let job = Job { mutant: None, ..job }.arg("--tape").arg(path.display().to_string());
        Self { name: stem(path), about: entry.about.clone(), expect: expect.to_owned(), job }
    }

    /// The same with a known bug in it.
    fn with(self, finds: &Finds, exe: &Path) -> Self {
        let job = Job { mutant: Some(finds.mutant.clone()), exe: exe.to_owned(), ..self.job };
        Self { name: format!("{} with {}", self.name, finds.mutant), expect: finds.by.clone(), job, ..self }
    }

    /// The verdict on what came of it, told.
    fn judge(&self, report: &Report) -> Verdict {
        let Self { name, about, expect, job } = self;
        if is_as_expected(expect, report) {
            println!("ok    {name}: {expect} ({:.1} s)", report.wall_s);
            return Verdict::Pass;
        }
        println!("WRONG {name}: {} came of it, and not {expect}\n  {about}", outcome(report));
        if report.verdict == Verdict::Pass {
            println!("  it does not find any more what it was kept for: shrink another seed that does");
            return Verdict::Harness;
        }
        println!("  {}\n  again: {}", report.first_finding(), job.again(report.verdict));
        report.verdict
    }
}

fn run_all(args: &RunArgs) -> Result<Verdict, CorpusError> {
    let exe = std::env::current_exe().map_err(CorpusError::NoSelf)?;
    let mut entries = vec![];
    for path in paths(&args.dir)? {
        if args.only.is_empty() || args.only.contains(&stem(&path)) {
            entries.push((Entry::load(&path)?, path));
        }
    }
    if let Some(unknown) = args.only.iter().find(|name| entries.iter().all(|(_, path)| stem(path) != **name))
    {
        return Err(CorpusError::Unknown(unknown.clone()));
    }
    let case =
        |(entry, path): &(Entry, PathBuf)| Case::new(path, entry, &entry.expect, &exe, args.stall_limit);
    let mut cases: Vec<Case> = entries.iter().map(case).collect();
    if args.mutants {
        let ids: BTreeSet<&str> =
            entries.iter().filter_map(|(entry, _)| Some(entry.finds.as_ref()?.mutant.as_str())).collect();
        let builds = mutants::build(&ids, &args.profile)?;
        let finding = entries.iter().filter_map(|entry| Some((entry, entry.0.finds.as_ref()?)));
        cases.extend(finding.map(|(entry, finds)| case(entry).with(finds, builds.of(&finds.mutant))));
    }
    let reports = pool::each(jobs(args.jobs), cases.len(), |i| cases[i].job.run_confirmed());
    let verdicts: Vec<Verdict> =
        cases.iter().zip(&reports).map(|(case, report)| case.judge(report)).collect();
    let wrong = || verdicts.iter().copied().filter(|verdict| *verdict != Verdict::Pass);
    println!("{} kept tapes, {} runs, {} wrong", entries.len(), cases.len(), wrong().count());
    Ok(wrong().min().unwrap_or(Verdict::Pass))
}

fn add(args: &AddArgs) -> Result<Verdict, CorpusError> {
    if args.name.is_empty() || !args.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(CorpusError::Name(args.name.clone()));
    }
    let exe = std::env::current_exe().map_err(CorpusError::NoSelf)?;
    let tape = serde_json::to_value(args.which.tape()?).unwrap_or_default();
    let path = args.dir.join(format!("{}.json", args.name));
    let mut entry = Entry { about: args.about.clone(), expect: String::new(), finds: None, tape };
    // Its runs read it from there: nothing is kept that was not run.
    let tried = std::env::temp_dir().join(format!("norn-sim-corpus-{}.json", std::process::id()));
    entry.save(&tried)?;
    let kept = expect_what_comes(&mut entry, &tried, &exe, args.stall_limit);
    // What cannot be removed from the system's directory of temporary files the system removes.
    let _ = std::fs::remove_file(&tried);
    kept?;
    entry.save(&path)?;
    let finds = entry.finds.map_or(String::new(), |finds| format!(", with {} {}", finds.mutant, finds.by));
    println!("{}: {}{finds}", path.display(), entry.expect);
    Ok(Verdict::Pass)
}

/// Runs the tape to see what must come of it.
fn expect_what_comes(
    entry: &mut Entry,
    path: &Path,
    exe: &Path,
    stall_limit: u64,
) -> Result<(), CorpusError> {
    let case = || Case::new(path, entry, "", exe, stall_limit);
    let told = |job: Job| {
        let report = job.run_confirmed();
        match report.verdict {
            Verdict::Harness | Verdict::NotJudged => Err(CorpusError::NoOutcome(report.first_finding())),
            _ => Ok(outcome(&report)),
        }
    };
    let expect = told(case().job)?;
    let mut finds = None;
    if let Ok(mutant) = std::env::var(MUTANT_VAR) {
        let by = told(Job { mutant: Some(mutant.clone()), ..case().job })?;
        if by == expect {
            return Err(CorpusError::NotFound(mutant));
        }
        finds = Some(Finds { mutant, by });
    }
    (entry.expect, entry.finds) = (expect, finds);
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
