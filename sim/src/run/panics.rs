//! Panics of the world, told apart: some are how madsim says that nothing moves any more.

use std::backtrace::Backtrace;
use std::sync::Mutex;

use crate::functions::function_at;
use crate::report::{Finding, Verdict};

struct Panic {
    message: String,
    location: String,
    stack: String,
}

/// The first panic of a world of this process: what follows is mostly its consequence.
static FIRST: Mutex<Option<Panic>> = Mutex::new(None);

/// Frames of a stack that a report shows.
const FRAMES_MAX: usize = 16;
/// Characters of a frame's name that a report shows.
const NAME_MAX: usize = 120;

/// Keeps the first panic of a world instead of printing it.
pub fn record() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !std::thread::current().name().is_some_and(|name| name.starts_with(super::THREAD)) {
            return before(info);
        }
        let message = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
            (Some(message), _) => (*message).to_owned(),
            (_, Some(message)) => message.clone(),
            _ => "(no message)".to_owned(),
        };
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let mut first = FIRST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if first.is_none() {
            let stack = own_frames(&Backtrace::force_capture().to_string());
            *first = Some(Panic { message, location, stack });
        }
    }));
}

/// The verdict on a world that the first panic ended.
pub fn last() -> (Verdict, Finding) {
    let first = FIRST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(Panic { message, location, stack }) = first else {
        return (Verdict::Crash, Finding::new("no-panic", "a panic without a trace"));
    };
    if message.contains("all tasks will block forever") {
        (Verdict::Liveness, Finding::new("liveness", "every task waits and nothing is to come"))
    } else if message.contains("time limit exceeded") {
        (Verdict::Harness, Finding::new("harness", "the world did not end within the limit of virtual time"))
    } else {
        (Verdict::Crash, Finding::new("no-panic", format!("{message} at {location}\n{stack}")))
    }
}

/// The frames of a stack that are in this workspace: their functions, with their places in it where the build has these.
pub fn own_frames(stack: &str) -> String {
    let lines: Vec<&str> = stack.lines().map(str::trim).collect();
    let mut frames = vec![];
    for (i, line) in lines.iter().enumerate() {
        let number = |(number, _): &(&str, &str)| number.bytes().all(|b| b.is_ascii_digit());
        let Some((_, name)) = line.split_once(": ").filter(number) else { continue };
        let told = |name: &str| name.chars().take(NAME_MAX).collect::<String>();
        match lines.get(i + 1).and_then(|next| next.strip_prefix("at ")) {
            // Builds have the names of whole functions only: closures and futures are called by what they are.
            Some(place) => frames.extend(
                own_place(place)
                    .map(|place| format!("{} at {place}", told(function_at(place).unwrap_or(name)))),
            ),
            None if is_own_name(name) => frames.push(told(name)),
            None => {}
        }
    }
    frames.truncate(FRAMES_MAX);
    frames.join("\n")
}

/// Whether a function whose place is not known is of this workspace, and not of the machinery in every stack.
fn is_own_name(name: &str) -> bool {
    let name = name.trim_start_matches(['<', '&']);
    let machinery = ["norn_sim::run::", "norn_sim::main", "norn_sim::cli", "norn_env::sim::supervise"];
    name.starts_with("norn_") && !machinery.iter().any(|machinery| name.starts_with(machinery))
}

/// A place in this workspace, from its root, wherever the tree and the current directory are; none for the machinery that
/// is in every stack.
fn own_place(place: &str) -> Option<&str> {
    let at = ["crates/", "sim/src/"].iter().filter_map(|room| place.find(room)).min()?;
    let foreign = place.contains("/registry/") || place.starts_with("/rustc/");
    let machinery = place.contains("sim/src/run/") || place.contains("env/src/sim/supervise.rs");
    (!foreign && !machinery).then(|| &place[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_of_this_workspace_are_told_wherever_it_is() {
        let stack = "0: norn_log::append\n  at ./crates/log/src/lib.rs:7:1\n1: run\n  at /r/.cargo/registry/src/i/m/src/sim/task/mod.rs:3:4\n\
                     2: start_thread\n  at ./nptl/pthread_create.c:442:8\n3: norn_broker::start\n  at /tmp/tree/crates/broker/src/lib.rs:9:2";
        let told = "norn_log::append at crates/log/src/lib.rs:7:1\nnorn_broker::start at crates/broker/src/lib.rs:9:2";
        assert_eq!(own_frames(stack), told);
    }

    #[test]
    fn frames_without_places_are_told_by_their_functions() {
        let stack = "0: norn_sim::run::watchdog::on_signal\n1: <unknown>\n2: std::sync::RwLock<T>::write\n\
                     3: <norn_broker::State as norn_quorum::StateMachine>::publish\n4: norn_quorum::driver::Driver<S>::run\n\
                     5: <norn_env::sim::supervise::Supervised<F> as core::future::future::Future>::poll\n6: clone3\n  at ./misc/clone3.S:81:0";
        let told =
            "<norn_broker::State as norn_quorum::StateMachine>::publish\nnorn_quorum::driver::Driver<S>::run";
        assert_eq!(own_frames(stack), told);
    }
}
