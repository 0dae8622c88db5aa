//! The binary as a process. One seed, one hash: in fresh processes, which is how the sweep runs them. Within one process
//! libraries keep statics from one world to the next.
#![cfg(madsim)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// The verdict and the hash of a run, from its last line.
fn hash(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_norn-sim")).args(args).output().expect("the binary was built");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().last().unwrap_or_default();
    let words = line.split(' ').filter(|word| word.starts_with("hash=") || word.starts_with("verdict="));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_loaded_seed_has_one_hash_in_every_process() {
    let first = hash(&["run", "--seed", "11"]);
    assert!(first.contains("hash="), "{first}");
    assert_eq!(hash(&["run", "--seed", "11"]), first);
    assert_ne!(hash(&["run", "--seed", "12"]), first);
}

#[test]
fn a_replay_with_its_log_has_the_hash_of_the_run() {
    let args = ["--seed", "5", "--no-faults"];
    let run = hash(&[&["run"], &args[..]].concat());
    assert_eq!(hash(&[&["replay", "--trace", "norn_broker=debug"], &args[..]].concat()), run);
}

#[test]
fn a_reader_that_goes_away_ends_a_run_without_a_word() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_norn-sim"));
    run.args(["run", "--seed", "1", "--no-faults"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().expect("the binary was built");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("it ends");
    assert_eq!(out.status.signal(), Some(libc::SIGPIPE));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}
