//! What a world must never show: the history that its clients record, and the checkers that read it.
//!
//! Each checker is a pure function over the recorded events, under a stable name that reports and mutants use. Nothing
//! here needs the simulator, so the checkers' tests run in the production build too.

// Without a simulator only the tests use what is here.
#![cfg_attr(not(madsim), allow(dead_code, unused_imports))]

mod acked;
mod bounded;
mod commits;
mod context;
mod event;
mod groups;
mod history;
mod hw;
mod liveness;
mod log;
mod log_start;
mod metadata;
mod order;
mod permits;
mod progress;
mod quiet;
mod record_facts;
mod settings;
mod stats;
#[cfg(test)]
mod testing;
mod times;
mod unique;
mod well_formed;

pub use context::{CheckContext, Flip, Trouble};
pub use event::{AskedTime, Content, Event, ListedTopic, Reader, Seen, Span, TopicFacts, Tp, Trim};
pub use history::{History, OpGuard};
pub use metadata::DELETED_FILES_LINGER;
pub use permits::taken as taken_of_budgets;
pub use stats::{AckTimes, Stats};

use log::Log;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable name of the checker.
    pub checker: &'static str,
    /// What it saw, with offsets, clients and times.
    pub detail: String,
}

/// A checker: its name, and what it finds in a history.
type Checker = (&'static str, fn(&Log<'_>, &CheckContext) -> Vec<String>);

const CHECKERS: &[Checker] = &[
    ("acked-durable", acked::check),
    ("offsets-unique", unique::check),
    ("order", order::check),
    ("record-facts", record_facts::check),
    ("hw-monotonic", hw::check),
    ("log-start", log_start::check),
    ("offset-for-time", times::check),
    ("settings", settings::check),
    ("metadata", metadata::check),
    ("group-exclusive", groups::check),
    ("group-progress", progress::check),
    ("offset-commit-durable", commits::check),
    ("well-formed", well_formed::check),
    ("liveness", liveness::check),
    ("quiet-timeouts", quiet::check),
    ("bounded", bounded::check),
    ("permits-whole", permits::check),
];

/// A checker that has found this much has made its point.
const VIOLATIONS_MAX: usize = 5;

impl History {
    /// What all checkers find, by checker in their fixed order.
    pub fn verdict(&self, ctx: &CheckContext) -> Vec<Violation> {
        self.with(|events| {
            let log = Log::of(events);
            let mut violations = vec![];
            for (checker, check) in CHECKERS {
                let details = check(&log, ctx);
                let more = details.len().saturating_sub(VIOLATIONS_MAX);
                violations.extend(
                    details.into_iter().take(VIOLATIONS_MAX).map(|detail| Violation { checker, detail }),
                );
                if more > 0 {
                    violations.push(Violation { checker, detail: format!("and {more} more") });
                }
            }
            violations
        })
    }

    /// The figures that a sweep sums up.
    pub fn stats(&self) -> Stats {
        self.with(Stats::of)
    }
}
