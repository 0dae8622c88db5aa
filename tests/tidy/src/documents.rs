//! What documents promise: `make` targets that exist and say what they do, and files that are there.

use std::collections::BTreeSet;

use crate::Violation;

/// The Makefile's targets, each with whether it says what it does.
fn targets(makefile: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    makefile.lines().enumerate().filter_map(|(line, text)| {
        let (names, rest) = text.split_once(':')?;
        let is_rule =
            !text.starts_with(['\t', ' ', '#', '.']) && !rest.starts_with('=') && !names.contains(['=', '$']);
        is_rule.then_some((line + 1, names.trim(), rest.contains("## ")))
    })
}

/// Targets without a line for `make help`.
pub fn check_makefile(makefile: &str) -> Vec<Violation> {
    let silent = targets(makefile).filter(|(_, _, has_help)| !has_help);
    let what = |name| format!("{name} has no help: `{name}: ... ## what it does`");
    silent.map(|(line, name, _)| Violation::new(format!("Makefile:{line}"), what(name))).collect()
}

/// `make` commands and documents that `text` names and that are not there.
pub fn check_document(
    path: &str,
    text: &str,
    makefile: &str,
    exists: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let targets: BTreeSet<&str> =
        targets(makefile).flat_map(|(_, names, _)| names.split_whitespace()).collect();
    let mut found = vec![];
    for (number, line) in text.lines().enumerate() {
        let at = || format!("{path}:{}", number + 1);
        for target in commands(line).filter(|target| !targets.contains(target)) {
            found.push(Violation::new(at(), format!("make {target}: no such target")));
        }
        let words = line.split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)));
        for name in
            words.filter(|word| word.ends_with(".md") && word.starts_with(|c: char| c.is_ascii_uppercase()))
        {
            if !exists(name) {
                found.push(Violation::new(at(), format!("{name}: no such file")));
            }
        }
    }
    found
}

/// The targets of `make` commands in a line: in backquotes, or where the line is an indented command.
fn commands(line: &str) -> impl Iterator<Item = &str> {
    let indented = line.starts_with("    ");
    line.match_indices("make ").filter_map(move |(at, _)| {
        let command = line[..at].ends_with('`') || indented && line[..at].trim().is_empty();
        let target = line[at + 5..].split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next()?;
        (command && !target.is_empty()).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str =
        "CARGO ?= cargo\nSIM := a:b\n.PHONY: run\nrun: build ## start it\n\t@a: b\nbuild:\n\tcargo build\n";

    #[test]
    fn a_target_without_help_is_found() {
        let found = check_makefile(MAKEFILE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].at, "Makefile:6");
    }

    #[test]
    fn a_command_that_is_none_is_found() {
        let text = "Use `make run` or `make fly`; make haste.\n\n    make walk   # slowly\n    make build\n";
        let found = check_document("README.md", text, MAKEFILE, |_| true);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["README.md:1: make fly: no such target", "README.md:3: make walk: no such target"]
        );
    }

    #[test]
    fn a_document_that_is_missing_is_found() {
        let found =
            check_document("README.md", "See GONE.md and [it](HERE.md).", "", |name| name == "HERE.md");
        assert_eq!(found, [Violation::new("README.md:1", "GONE.md: no such file")]);
    }
}
