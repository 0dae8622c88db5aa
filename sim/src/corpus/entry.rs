//! A kept tape: what it is about, what must come of it, and the tape itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{Report, Verdict};
use crate::tape::{Tape, TapeError};

/// A file of the corpus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// For people: the bug, or the situation.
    pub about: String,
    /// What comes of it: `pass`, or the check that fires.
    pub expect: String,
    /// A known bug that it finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finds: Option<Finds>,
    pub tape: Value,
}

/// What comes of a tape with a known bug put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finds {
    pub mutant: String,
    /// The check that fires.
    pub by: String,
}

/// What is wrong with a file of the corpus.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path} is not a kept tape: {source}")]
    Parse { path: String, source: serde_json::Error },
    #[error(transparent)]
    Tape(#[from] TapeError),
}

impl Entry {
    /// Reads a file, and sees that its tape can be executed.
    pub fn load(path: &Path) -> Result<Self, EntryError> {
        let text = fs::read(path).map_err(|source| file_error(path, source))?;
        let parsed = serde_json::from_slice::<Self>(&text);
        let shown = path.display().to_string();
        let entry = parsed.map_err(|source| EntryError::Parse { path: shown.clone(), source })?;
        Tape::of_json(entry.tape.clone(), &shown)?;
        Ok(entry)
    }

    pub fn save(&self, path: &Path) -> Result<(), EntryError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other);
        let saved = text.and_then(|text| fs::write(path, text + "\n"));
        saved.map_err(|source| file_error(path, source))
    }
}

/// The kept tapes of a directory, by name.
pub fn paths(dir: &Path) -> Result<Vec<PathBuf>, EntryError> {
    let mut paths = vec![];
    for file in fs::read_dir(dir).map_err(|source| file_error(dir, source))? {
        let path = file.map_err(|source| file_error(dir, source))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_error(path: &Path, source: std::io::Error) -> EntryError {
    EntryError::File { path: path.display().to_string(), source }
}

/// What came of a run, as `expect` says it: `pass`, or the check that fired first.
pub fn outcome(report: &Report) -> String {
    match (report.verdict, report.findings.first()) {
        (Verdict::Pass, _) | (_, None) => report.verdict.to_string(),
        (_, Some(finding)) => finding.checker.clone(),
    }
}

/// Whether a run came out as expected: it passed, or the expected check is among those that fired.
pub fn is_as_expected(expect: &str, report: &Report) -> bool {
    let fired = report.findings.iter().any(|finding| finding.checker == expect);
    match report.verdict {
        Verdict::Pass => expect == Verdict::Pass.name(),
        verdict => fired || expect == verdict.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn a_kept_tape_survives_its_file_and_can_be_replayed_from_it() {
        let path = std::env::temp_dir().join(format!("norn-sim-entry-{}.json", std::process::id()));
        let tape = Tape::draw(7);
        let finds = Some(Finds { mutant: "canary".to_owned(), by: "acked-durable".to_owned() });
        let json = serde_json::to_value(&tape).unwrap();
        let entry = Entry { about: "x".to_owned(), expect: "pass".to_owned(), finds, tape: json.clone() };
        entry.save(&path).unwrap();
        assert_eq!(Entry::load(&path).unwrap().finds, entry.finds);
        assert_eq!(serde_json::to_value(Tape::load(&path).unwrap()).unwrap(), json);
        let mut bad = entry;
        bad.tape["clients"]["topics"] = Value::Array(vec![]);
        bad.save(&path).unwrap();
        assert!(matches!(Entry::load(&path), Err(EntryError::Tape(_))));
        fs::write(&path, r#"{"about":"","expect":"pass","expekt":"","tape":{}}"#).unwrap();
        assert!(matches!(Entry::load(&path), Err(EntryError::Parse { .. })));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_expected_check_must_be_among_those_that_fired() {
        let mut report = Report::bare(1, Verdict::Correctness, Finding::new("order", "x"));
        assert!(is_as_expected("order", &report) && is_as_expected("correctness", &report));
        assert!(!is_as_expected("pass", &report) && !is_as_expected("acked-durable", &report));
        assert_eq!(outcome(&report), "order");
        report.verdict = Verdict::Pass;
        assert!(is_as_expected("pass", &report) && !is_as_expected("order", &report));
        assert_eq!(outcome(&report), "pass");
    }
}
