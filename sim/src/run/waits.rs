//! The wait-for report, for people: first who is stuck and holds up the others, last who waits for work.

use std::time::Duration;

use norn_env::sim::world;
use norn_env::wait_report::{self, TaskWait};

use crate::signature::masked;

/// A wait that is younger is part of what goes on.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Lines of the report that name the culprit and those next to it.
pub const CULPRITS: usize = 8;

/// What tasks wait for that have nothing to do: beginnings of waits.
const IDLE: [&str; 13] = [
    "accept at ",
    "a change of the open partitions",
    "a message to the partition",
    "a new metadata image",
    "a request to the coordinator",
    "metadata WAL: the driver's next job",
    "quorum driver: a proposal",
    "quorum: its end",
    "records beyond the fetch offset",
    "sync rounds: 0 syncs, journal write: false",
    "the end",
    "the peer's next request",
    "backoff",
];

/// What others wait for, the deepest first: beginnings of waits.
const DEPTHS: [&str; 4] = ["disk: ", "sync rounds", "metadata", "quorum"];

/// The current world's waits, a line for each kind; `node`: of this one only.
pub fn lines(node: Option<u64>) -> Vec<String> {
    let waits = wait_report::snapshot().into_iter().filter(|wait| node.is_none_or(|node| wait.node == node));
    told(waits.collect(), world().elapsed())
}

/// One line for waits that differ in names and numbers only, with the oldest of them.
fn told(mut waits: Vec<TaskWait>, now: Duration) -> Vec<String> {
    waits.sort_by_key(|wait| rank(wait, now));
    let mut kinds: Vec<(String, String, usize)> = vec![];
    for wait in &waits {
        let what = wait.waits_for.as_deref().unwrap_or("(it does not say)");
        let host = wait.node_name.trim_end_matches(|c: char| c.is_ascii_digit());
        let kind = masked(&format!("{host} {} {what} {}", wait.task, rank(wait, now).0));
        match kinds.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, _, alike)) => *alike += 1,
            None => {
                let TaskWait { node_name, task, spawned_at, since, .. } = wait;
                let (age, since) = (now.saturating_sub(*since).as_secs_f64(), since.as_secs_f64());
                let line = format!(
                    "{node_name}: {task} waits for {what} for {age:.3} s (since {since:.3} s, task of {spawned_at})"
                );
                kinds.push((kind, line, 0));
            }
        }
    }
    let line = |(_, line, alike): (String, String, usize)| match alike {
        0 => line,
        alike => format!("{line}, and {alike} like it"),
    };
    kinds.into_iter().map(line).collect()
}

/// Smaller for those that matter more: stuck before young before idle; brokers before clients; what is deeper before what
/// waits for it; older before younger.
fn rank(wait: &TaskWait, now: Duration) -> (u8, bool, usize, Duration) {
    let what = wait.waits_for.as_deref();
    let is_idle = what.is_none_or(|what| IDLE.iter().any(|idle| what.starts_with(idle)));
    let urgency = match now.saturating_sub(wait.since) >= STUCK_AFTER {
        _ if is_idle => 2,
        true => 0,
        false => 1,
    };
    let depth = DEPTHS.iter().position(|depth| what.is_some_and(|what| what.starts_with(depth)));
    (urgency, !wait.node_name.starts_with("broker"), depth.unwrap_or(DEPTHS.len()), wait.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(node_name: &str, task: &str, what: Option<&str>, since_s: u64) -> TaskWait {
        TaskWait {
            node: 1,
            node_name: node_name.to_owned(),
            task: task.to_owned(),
            task_id: 1,
            spawned_at: "x.rs:1:1".to_owned(),
            waits_for: what.map(str::to_owned),
            since: Duration::from_secs(since_s),
        }
    }

    #[test]
    fn the_culprit_comes_first_and_who_has_nothing_to_do_last() {
        let waits = vec![
            wait("broker-1", "accept", Some("accept at 10.0.100.1:9092"), 0),
            wait("broker-1", "broker", None, 0),
            wait("client-3", "client", Some("the reply to Produce"), 5),
            wait("broker-1", "connection 7", Some("the answer of the partition"), 6),
            wait("broker-1", "partition t0-1", Some("disk: sync /data/0/t0-1"), 7),
            wait("broker-1", "partition t0-2", Some("disk: read /data/0/t0-2"), 89),
        ];
        let told = told(waits, Duration::from_millis(89_500));
        let tasks: Vec<&str> = told.iter().map(|line| line.split(" waits").next().unwrap()).collect();
        let expected = [
            "broker-1: partition t0-1",
            "broker-1: connection 7",
            "client-3: client",
            "broker-1: partition t0-2",
            "broker-1: accept",
            "broker-1: broker",
        ];
        assert_eq!(tasks, expected);
        assert!(told[0].contains("for 82.500 s (since 7.000 s"), "{}", told[0]);
    }

    #[test]
    fn waits_of_one_kind_are_one_line() {
        let stuck =
            |n: u64| wait("broker-1", &format!("partition t0-{n}"), Some("disk: sync /data/0"), 9 - n);
        let told = told((0..5).map(stuck).collect(), Duration::from_secs(60));
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("broker-1: partition t0-4 ") && told[0].ends_with(", and 4 like it"));
    }
}
