//! A mutant's patch file: a header that says what it is, then a unified diff.
//!
//! ```text
//! mutant: ack-before-flush
//! symptom: an acknowledged record is gone after a loss of power
//! fires: acked-durable, offset-commit-durable
//! also: order             (optional: what may fire beside these; a seed in which nothing else does is no find)
//! found: at boot          (optional: it needs no seed without faults that passes; or `in every seed` of its budget)
//! budget: 300             (optional: seeds to try)
//! quick: yes              (optional: one of the few that `--quick` hunts)
//! build: own              (optional: its bug cannot stand behind `mutant!`)
//!
//! --- a/crates/…
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Lines that a patch may add and remove together.
const CHANGED_MAX: usize = 40;
/// Seeds to try where the header does not say.
const BUDGET: u64 = 300;

/// A known bug, ready to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    pub id: String,
    /// What a user saw.
    pub symptom: String,
    /// Checkers and verdicts that find it.
    pub fires: Vec<String>,
    /// Those that may fire for it, and are not enough.
    pub also: Vec<String>,
    /// Whether it may show in every world, also without faults.
    pub at_boot: bool,
    /// Whether it must show in every seed of its budget.
    pub everywhere: bool,
    /// Whether it is found soon enough to be hunted in each test run.
    pub quick: bool,
    pub budget: u64,
    /// Whether it needs a build of its own.
    pub own_build: bool,
    pub path: PathBuf,
}

/// What is wrong with a patch file.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path}: {what}")]
    Header { path: String, what: String },
}

impl Mutant {
    /// Reads all patches of a directory, sorted by name.
    pub fn load_all(dir: &Path) -> Result<Vec<Self>, PatchError> {
        let read = |source| PatchError::Read { path: dir.display().to_string(), source };
        let mut paths = vec![];
        for entry in fs::read_dir(dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| Self::load(path)).collect()
    }

    fn load(path: &Path) -> Result<Self, PatchError> {
        let shown = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|source| PatchError::Read { path: shown.clone(), source })?;
        Self::parse(path, &text).map_err(|what| PatchError::Header { path: shown, what })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let (header, diff) = split(text).ok_or("there is no diff in it")?;
        let changed = diff.lines().filter(|line| is_change(line)).count();
        if changed > CHANGED_MAX {
            return Err(format!("it changes {changed} lines; a mutant has {CHANGED_MAX} at most"));
        }
        let mut mutant = Self {
            id: String::new(),
            symptom: String::new(),
            fires: vec![],
            also: vec![],
            at_boot: false,
            everywhere: false,
            quick: false,
            budget: BUDGET,
            own_build: false,
            path: path.to_owned(),
        };
        for line in header.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':').ok_or_else(|| format!("not `key: value`: {line}"))?;
            let value = value.trim();
            match key.trim() {
                "mutant" => mutant.id = value.to_owned(),
                "symptom" => mutant.symptom = value.to_owned(),
                "fires" => mutant.fires = names(value),
                "also" => mutant.also = names(value),
                "found" if value == "at boot" => mutant.at_boot = true,
                "found" if value == "in every seed" => (mutant.at_boot, mutant.everywhere) = (true, true),
                "quick" if value == "yes" => mutant.quick = true,
                "budget" => mutant.budget = value.parse().map_err(|error| format!("budget: {error}"))?,
                "build" if value == "own" => mutant.own_build = true,
                _ => return Err(format!("it does not understand: {line}")),
            }
        }
        if path.file_stem().is_none_or(|stem| stem != mutant.id.as_str()) {
            return Err(format!("the file is not named after its mutant {:?}", mutant.id));
        }
        if mutant.symptom.is_empty() || mutant.fires.is_empty() {
            return Err("symptom and fires must be told".to_owned());
        }
        Ok(mutant)
    }

    /// Whether the header lists this checker or verdict.
    pub fn lists(&self, name: &str) -> bool {
        self.fires.iter().any(|listed| listed == name)
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

/// The header and the diff, which begins with its first file.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = ["\ndiff ", "\n--- "].iter().filter_map(|mark| text.find(mark)).min()? + 1;
    Some(text.split_at(at))
}

fn is_change(line: &str) -> bool {
    (line.starts_with('+') && !line.starts_with("+++")) || (line.starts_with('-') && !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "mutant: m\nsymptom: records vanish\nfires: acked-durable, hang\nbudget: 7\n\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn a_header_is_read() {
        let mutant = Mutant::parse(Path::new("dir/m.patch"), TEXT).unwrap();
        assert_eq!((mutant.id.as_str(), mutant.budget, mutant.at_boot), ("m", 7, false));
        assert!(mutant.lists("hang") && mutant.lists("acked-durable") && !mutant.lists("order"));
        assert!(!mutant.at_boot && !mutant.everywhere && !mutant.quick);
    }

    #[test]
    fn what_may_fire_and_is_not_enough_is_told_apart() {
        let text = TEXT.replace("budget: 7", "also: order, hw-monotonic");
        let mutant = Mutant::parse(Path::new("dir/m.patch"), &text).unwrap();
        assert_eq!(mutant.also, ["order", "hw-monotonic"]);
        assert!(!mutant.lists("order"));
    }

    #[test]
    fn one_that_shows_in_every_seed_needs_none_that_passes() {
        let text = TEXT.replace("budget: 7", "found: in every seed\nquick: yes");
        let mutant = Mutant::parse(Path::new("dir/m.patch"), &text).unwrap();
        assert!(mutant.at_boot && mutant.everywhere && mutant.quick);
    }

    #[test]
    fn a_wrong_file_name_and_a_large_patch_are_refused() {
        assert!(Mutant::parse(Path::new("dir/n.patch"), TEXT).is_err());
        let large = format!("{TEXT}{}", "+c\n".repeat(CHANGED_MAX));
        assert!(Mutant::parse(Path::new("dir/m.patch"), &large).is_err());
        assert!(Mutant::parse(Path::new("dir/m.patch"), "mutant: m\n").is_err());
    }
}
