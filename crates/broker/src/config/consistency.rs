//! Values that are right by themselves and wrong, or at least surprising, beside another.

use norn_core::metadata::list;

use super::error::{ConfigError, Warning};
use super::layers::Values;
use super::source::Source;
use super::table::settings;

/// Checks the settings of topics, storage and groups against each other.
pub(super) fn check(values: &Values, warnings: &mut Vec<Warning>, errors: &mut Vec<ConfigError>) {
    check_session_timeouts(values, errors);
    check_flush(values, warnings, errors);
    check_directories(values, errors);
    note_one_replica(values, warnings);
    let policy = values.list("log.cleanup.policy");
    if policy.iter().any(|word| word == "compact") {
        note(values, warnings, "log.cleanup.policy", "Norn does not compact yet; such topics only grow");
    }
    for setting in settings().filter(|setting| values.value(setting.name) != setting.default) {
        if let Some(reason) = setting.without_effect {
            note(values, warnings, setting.name, &format!("has no effect, {reason}"));
        }
    }
}

fn note(values: &Values, warnings: &mut Vec<Warning>, name: &str, note: &str) {
    if let Some(stated) = values.stated(name) {
        warnings.push(Warning::Note {
            at: stated.source.clone(),
            name: name.to_owned(),
            value: stated.value.clone(),
            note: note.to_owned(),
        });
    }
}

/// The contradiction of `name` with `other`, at the one of both that someone stated.
fn conflict(values: &Values, name: &str, other: &str, reason: &str) -> Option<ConfigError> {
    let (name, other) = if values.stated(name).is_some() { (name, other) } else { (other, name) };
    let stated = values.stated(name)?;
    let other_value = values.value(other).unwrap_or_default();
    let other_at = match values.stated(other) {
        Some(stated) => stated.source.clone(),
        None => Source::Default,
    };
    Some(ConfigError::Conflict {
        at: stated.source.clone(),
        name: name.to_owned(),
        value: stated.value.clone(),
        other: format!("{other} = {other_value}"),
        other_at,
        reason: reason.to_owned(),
    })
}

fn check_session_timeouts(values: &Values, errors: &mut Vec<ConfigError>) {
    let (least, most) = ("group.min.session.timeout.ms", "group.max.session.timeout.ms");
    if values.number(least) > values.number(most) {
        errors.extend(conflict(values, least, most, "the shortest timeout is longer than the longest"));
    }
}

/// Kafka's intervals between syncs are kept by `flush.mode=sync`, which syncs before each acknowledgement; with
/// `async` nothing would keep them, and records that were to survive a power loss would not.
fn check_flush(values: &Values, warnings: &mut Vec<Warning>, errors: &mut Vec<ConfigError>) {
    for name in ["log.flush.interval.messages", "log.flush.interval.ms", "log.flush.scheduler.interval.ms"] {
        let Some(stated) = values.stated(name) else { continue };
        if stated.value.parse() == Ok(i64::MAX) {
            continue;
        }
        if values.value("flush.mode") == Some("async") {
            let reason = "flush.mode=async never syncs; remove one of the two";
            errors.extend(conflict(values, name, "flush.mode", reason));
        } else {
            let text = "flush.mode=sync syncs every record before it is acknowledged, whatever the interval";
            note(values, warnings, name, text);
        }
    }
}

fn check_directories(values: &Values, errors: &mut Vec<ConfigError>) {
    let name = if values.stated("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
    let Some(stated) = values.stated(name) else { return };
    let mut dirs = list(&stated.value);
    let all = dirs.len();
    dirs.sort_unstable();
    dirs.dedup();
    if dirs.len() < all || dirs.is_empty() {
        errors.push(ConfigError::Invalid {
            at: stated.source.clone(),
            name: name.to_owned(),
            value: stated.value.clone(),
            allowed: "a list of at least one directory, each of them once".to_owned(),
        });
    }
}

fn note_one_replica(values: &Values, warnings: &mut Vec<Warning>) {
    for name in ["default.replication.factor", "offsets.topic.replication.factor"] {
        if values.number(name) > Some(1) {
            note(values, warnings, name, "one node can hold one replica; such topics cannot be created");
        }
    }
    if values.number("min.insync.replicas") > Some(1) {
        let text =
            "one node has one replica; at most the replication factor counts, so acks=all waits for one";
        note(values, warnings, "min.insync.replicas", text);
    }
}
