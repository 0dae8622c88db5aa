//! The tree's Rust files, read once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::code;

/// Folders with sources of ours.
const ROOTS: &[&str] = &["crates", "sim", "tests", "fuzz"];
/// Folders with what tools leave behind.
const SKIPPED: &[&str] = &["target", "corpus", "artifacts", "node_modules", "__pycache__"];

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same length, with comments and the contents of literals blanked.
    pub code: String,
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        Source { path: path.into(), code: code::blank(&text), text }
    }

    /// `path:line` of a byte of the text.
    pub fn at(&self, byte: usize) -> String {
        format!("{}:{}", self.path, 1 + self.text[..byte].matches('\n').count())
    }

    /// Whether the file is in one of these folders, or is one of these files.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }

    /// Where `word` stands as a whole word (or path of words) in the code.
    pub fn code_has<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        find(&self.code, word)
    }
}

/// Where `word` stands in `text` with no letter, digit or `_` on either side.
pub fn find<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let opens = word.starts_with(part_of_word);
    let closes = word.ends_with(part_of_word);
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !(opens && before.is_some_and(part_of_word) || closes && after.is_some_and(part_of_word))
    })
}

/// The root of the tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy is two folders below the root").to_owned()
}

/// All Rust files of the tree, by path.
pub fn read_tree(root: &Path) -> io::Result<Vec<Source>> {
    let mut paths = vec![];
    for folder in ROOTS {
        if root.join(folder).is_dir() {
            walk(&root.join(folder), &mut paths)?;
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Ok(Source::new(name, fs::read_to_string(&path)?))
    };
    paths.into_iter().map(read).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == **skipped) {
                walk(&entry.path(), found)?;
            }
        } else if name.to_string_lossy().ends_with(".rs") {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_outside_of_comments() {
        let source = Source::new("a.rs", "// spawn\nlet spawned = spawn(\"spawn\");\n");
        let found: Vec<_> = source.code_has("spawn").map(|at| source.at(at)).collect();
        assert_eq!(found, ["a.rs:2"]);
    }

    #[test]
    fn the_tree_is_found() {
        let tree = read_tree(&root()).unwrap();
        assert!(tree.iter().any(|source| source.path == "tests/tidy/src/source.rs"));
        assert!(tree.iter().any(|source| source.is_in(&["crates/env/"])));
    }
}
