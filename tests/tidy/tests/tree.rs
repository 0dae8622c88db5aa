//! Every check over the tree as it is.

#![allow(clippy::disallowed_methods, reason = "reads the tree it is part of")]

use std::fs;

use norn_tidy::{builds, deps, documents, lengths, probes, source, words, Violation};

#[track_caller]
fn nothing(mut found: Vec<Violation>) {
    found.sort();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn tree() -> Vec<source::Source> {
    source::read_tree(&source::root()).expect("the tree can be read")
}

fn text_of(name: &str) -> String {
    fs::read_to_string(source::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn dependencies_point_one_way() {
    nothing(deps::check(&deps::packages().expect("cargo metadata")));
}

#[test]
fn only_three_places_know_which_build_they_are_in() {
    nothing(builds::check_builds(&tree()));
}

#[test]
fn every_select_is_biased() {
    nothing(builds::check_select(&tree()));
}

#[test]
fn banned_words_are_not_used() {
    nothing(words::check(&tree()));
}

#[test]
fn probe_names_are_unique() {
    nothing(probes::check(&tree()));
}

/// With `NORN_RATCHET=write` (`make ratchet`) the allowance is lowered to what the tree needs.
#[test]
fn files_and_functions_do_not_grow_past_the_ratchet() {
    let path = "tests/tidy/ratchet.txt";
    let allowed = lengths::parse(&text_of(path)).expect("a sound ratchet");
    let measured = lengths::measure(&tree());
    if std::env::var("NORN_RATCHET").is_ok_and(|value| value == "write") {
        fs::write(source::root().join(path), lengths::tightened(&measured, &allowed))
            .expect("it can be written");
    }
    nothing(lengths::check(&measured, &allowed));
}

#[test]
fn every_make_target_says_what_it_does() {
    nothing(documents::check_makefile(&text_of("Makefile")));
}

#[test]
fn documents_name_commands_and_files_that_exist() {
    let makefile = text_of("Makefile");
    let exists = |name: &str| source::root().join(name).exists();
    for document in ["README.md", "ARCHITECTURE.md", "BENCHMARKS.md"] {
        nothing(documents::check_document(document, &text_of(document), &makefile, exists));
    }
}
