//! The tools as a developer with a failing seed meets them, each as a process.
#![cfg(madsim)]
#![allow(clippy::disallowed_methods, reason = "files of the tools, outside of any world")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};

/// Exit codes are verdicts.
const LIVENESS: i32 = 11;
const HARNESS: i32 = 15;

/// The exit code and what was printed.
fn norn_sim(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_norn-sim")).args(args).output().expect("the binary was built");
    let said = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// A directory of this test's own, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("norn-sim-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("there is room for a directory");
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The tape of a seed, shortened to a few seconds, then changed.
    fn tape(&self, name: &str, seed: &str, change: impl Fn(&mut Value)) -> String {
        let path = self.path(name);
        let (_, said) = norn_sim(&["replay", "--seed", seed, "--until", "0.01", "--save-tape", &path]);
        let mut tape = read(Path::new(&path)).unwrap_or_else(|| panic!("{said}"));
        tape["world"]["phases"]["chaos_ms"] = json!(4_000);
        if let Some(faults) = tape["faults"].as_array_mut() {
            faults.retain(|fault| fault["at_ms"].as_u64() < Some(4_000));
        }
        change(&mut tape);
        fs::write(&path, tape.to_string()).expect("there is room for a tape");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// A world whose clients cannot end in time: there is none.
fn in_no_time(tape: &mut Value) {
    tape["world"]["phases"]["heal_ms_max"] = json!(0);
}

#[test]
fn what_a_failure_does_not_need_is_struck() {
    let dir = Dir::new("shrink");
    let (tape, small) = (dir.tape("tape.json", "1", in_no_time), dir.path("small.json"));
    let before = read(Path::new(&tape)).expect("it was just written");
    assert_eq!(norn_sim(&["run", "--tape", &tape]).0, LIVENESS);
    let (code, said) = norn_sim(&["shrink", "--tape", &tape, "--out", &small]);
    assert_eq!(code, 0, "{said}");
    let left = read(Path::new(&small)).expect("the small tape is there");
    assert_eq!(left["faults"], json!([]), "{said}");
    let clients = |tape: &Value| tape["clients"]["clients"].as_array().map_or(0, Vec::len);
    assert!(clients(&left) <= 1 && clients(&before) > 3, "{said}");
    assert!(said.contains("struck: ") && said.contains("again: "), "{said}");
    assert_eq!(norn_sim(&["run", "--tape", &small]).0, LIVENESS);
}

#[test]
fn what_has_not_failed_cannot_be_shrunk() {
    let dir = Dir::new("no-failure");
    let tape = dir.tape("tape.json", "1", |tape| tape["faults"] = json!([]));
    let (code, said) = norn_sim(&["shrink", "--tape", &tape, "--out", &dir.path("small.json")]);
    assert_eq!(code, HARNESS, "{said}");
    assert!(said.contains("there is nothing to shrink"), "{said}");
}

#[test]
fn a_tape_that_says_more_than_would_be_done_is_the_harness_s_failure() {
    let dir = Dir::new("bad-tape");
    for (change, told) in [
        (("world/phases", "chaos", json!(1)), "unknown field world.phases.chaos"),
        (("faults/0", "broker", json!(9)), "faults[0]: there is no broker 9"),
        (("faults/0", "kind", json!("kil")), "unknown variant `kil`"),
    ] {
        let ((at, field, value), told) = (change, told);
        let fault = json!({ "at_ms": 5, "kind": "kill", "broker": 0, "down_ms": 5 });
        let tape = dir.tape("tape.json", "1", |tape| {
            tape["faults"] = json!([fault]);
            let place = tape.pointer_mut(&format!("/{at}")).expect("a tape has it");
            place[field] = value.clone();
        });
        for tool in ["run", "replay", "shrink"] {
            let (code, said) = norn_sim(&[tool, "--tape", &tape]);
            assert!(code == HARNESS && said.contains(told), "{tool}: {code} {said}");
        }
    }
}

#[test]
fn kept_tapes_are_judged_by_what_is_expected_of_them() {
    let dir = Dir::new("corpus");
    let at = dir.path("");
    let (passes, fails) = (dir.tape("tape", "1", |_| {}), dir.tape("other", "1", in_no_time));
    for (name, tape, expect) in [("good", &passes, "pass"), ("late", &fails, "liveness")] {
        let added = norn_sim(&["corpus", "add", name, "--tape", tape, "--about", "a test", "--dir", &at]);
        assert!(added.0 == 0 && added.1.contains(&format!("{name}.json: {expect}")), "{added:?}");
    }
    assert_eq!(norn_sim(&["corpus", "run", "--dir", &at]).0, 0);
    let late = dir.0.join("late.json");
    let mut entry = read(&late).expect("it was just kept");
    entry["expect"] = json!("pass");
    fs::write(&late, entry.to_string()).expect("there is room for a tape");
    let (code, said) = norn_sim(&["corpus", "run", "--dir", &at]);
    assert!(
        code == LIVENESS && said.contains("WRONG late: liveness came of it, and not pass"),
        "{code} {said}"
    );
    assert_eq!(norn_sim(&["corpus", "run", "good", "--dir", &at]).0, 0);
    assert_eq!(norn_sim(&["corpus", "run", "nothing", "--dir", &at]).0, HARNESS);
}

#[test]
fn a_sweep_can_end_with_its_first_failure() {
    // No run ends in no time.
    let args = ["sweep", "--seeds", "1..30", "--jobs", "1", "--wall-limit", "0", "--twice-one-in", "0"];
    let (_, said) = norn_sim(&[&args[..], &["--fail-fast"]].concat());
    assert!(said.contains("1 seeds, 0 passed"), "{said}");
}

#[test]
fn the_history_of_an_offset_is_told_from_its_sending_to_the_final_reading() {
    let dir = Dir::new("history");
    let tape = dir.tape("tape.json", "1", |tape| tape["faults"] = json!([]));
    let (code, said) = norn_sim(&["replay", "--tape", &tape, "--history", "t0-0@0"]);
    assert_eq!(code, 0, "{said}");
    for told in ["is sent with", "is acknowledged here", "the final reader (pass "] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
}

#[test]
fn nothing_is_different_before_the_fault_that_was_struck() {
    let dir = Dir::new("struck");
    let fault = |at_ms: u64| json!({ "at_ms": at_ms, "kind": "kill", "broker": 0, "down_ms": 100 });
    let faults = |faults: Vec<Value>| move |tape: &mut Value| tape["faults"] = json!(faults);
    let both = dir.tape("both.json", "1", faults(vec![fault(500), fault(2_500)]));
    let first = dir.tape("first.json", "1", faults(vec![fault(500)]));
    let run = |tape: &str, more: &[&str]| -> Value {
        let (_, said) = norn_sim(&[&["run", "--report", "--tape", tape], more].concat());
        let report = said.lines().find_map(|line| line.strip_prefix("report=")).expect("there is a report");
        serde_json::from_str(report).expect("a report is JSON")
    };
    let chain = |tape: &str| run(tape, &["--chain"])["chain"].as_array().cloned().unwrap_or_default();
    let (whole, struck) = (chain(&both), chain(&first));
    let same = whole.iter().zip(&struck).take_while(|(one, other)| one == other).count();
    // What is first different is between two links of the chain, 4,096 events long.
    let span = format!("{}..{}", same * 4_096, (same + 1) * 4_096);
    let events =
        |tape: &str| run(tape, &["--capture", &span])["captured"].as_array().cloned().unwrap_or_default();
    let (whole, struck) = (events(&both), events(&first));
    let differs = whole.iter().zip(&struck).find(|(one, other)| one != other).map(|(one, _)| one);
    // `#12345 5.012345s Poll { ... }`
    let at = differs.and_then(Value::as_str).and_then(|event| event.split(' ').nth(1)).unwrap_or_default();
    let at_s: f64 = at.trim_end_matches('s').parse().unwrap_or_default();
    let tape = read(Path::new(&both)).expect("it was just written");
    let phases = &tape["world"]["phases"];
    let calm_ms =
        phases["start_ms"].as_u64().unwrap_or_default() + phases["steady_ms"].as_u64().unwrap_or_default();
    assert!(at_s * 1e3 >= (calm_ms + 2_500) as f64, "{at} is before the fault, after {calm_ms} ms and 2.5 s");
}

#[test]
fn the_trace_of_a_replay_tells_what_the_broker_did_and_changes_nothing() {
    let dir = Dir::new("trace");
    let tape = dir.tape("tape.json", "1", |tape| tape["faults"] = json!([]));
    let hash = |said: &str| said.split(' ').find(|word| word.starts_with("hash=")).map(str::to_owned);
    let (_, run) = norn_sim(&["run", "--tape", &tape]);
    let filter = "norn_broker=debug,norn_log=debug,norn_quorum=debug";
    let (_, replay) = norn_sim(&["replay", "--tape", &tape, "--trace", filter]);
    assert!(hash(&run).is_some() && hash(&run) == hash(&replay), "{run}");
    for told in [
        "leader epoch started",
        "segment created",
        "records appended",
        "group commit begun",
        "group commit done",
        "log flushed",
        "high watermark advanced",
        "produce answered",
        "ready to persist",
        "quorum moved",
        "group coordinator steps",
        "group records to append",
        "group request answered",
    ] {
        assert!(replay.contains(told), "no line tells: {told}");
    }
}
