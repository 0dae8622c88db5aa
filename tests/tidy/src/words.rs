//! Words that have a better replacement, and where each may stand nevertheless.

use crate::{
    source::{find, Source},
    Violation,
};

/// Where a word counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// Code without comments and literals.
    Code,
    /// Everywhere.
    Text,
}

struct Rule {
    words: &'static [&'static str],
    counts: In,
    instead: &'static str,
    allowed: &'static [&'static str],
}

/// The runner of seeds and mutants is a parent process on the real system.
const PARENT: &str = "sim/src/sweep/";
const MUTANTS: &str = "sim/src/mutants/";

const RULES: &[Rule] = &[
    Rule {
        words: &["TODO", "FIXME", "HACK"],
        counts: In::Text,
        instead: "do it now, or leave the room out and say so in an issue",
        allowed: &[],
    },
    Rule {
        words: &["CRITICAL", "IMPORTANT", "WARNING:", "NOTE:"],
        counts: In::Text,
        instead: "say why, in plain words; emphasis is not a reason",
        allowed: &[],
    },
    Rule {
        words: &[
            "unbounded_channel",
            "UnboundedSender",
            "UnboundedReceiver",
            "mpsc::unbounded",
            "mpsc::channel()",
        ],
        counts: In::Code,
        instead: "a bounded channel, whose bound has a name and a reason",
        // A worker's test; its queue is bounded by who waits for it.
        allowed: &["crates/env/src/disk/pool.rs"],
    },
    Rule {
        words: &["static mut", "thread_local!", "lazy_static!", "LazyLock", "once_cell"],
        counts: In::Code,
        instead: "hand it down: a static is shared by simulated nodes and outlives their kill",
        allowed: &["crates/env/", "sim/src/", "tests/", "crates/protocol/tests/"],
    },
    Rule {
        words: &["tokio::time", "tokio::fs", "tokio::net", "tokio::process", "tokio_util::time"],
        counts: In::Code,
        instead: "norn_env::{clock, disk, net}",
        allowed: &["crates/env/", "crates/norn/src/"],
    },
    Rule {
        words: &["tokio::test", "tokio::main"],
        counts: In::Code,
        instead: "norn_env::testing::run, which holds in both builds",
        // What only production has: the process's edge, and threads beneath a real disk.
        allowed: &["crates/norn/src/", "crates/env/src/disk/pool.rs"],
    },
    Rule {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        counts: In::Code,
        instead: "tracing; standard output belongs to the commands",
        allowed: &["crates/norn/", "sim/", "tests/", "crates/env/src/sim/", "crates/log/examples/"],
    },
    Rule {
        words: &["std::process::exit", "process::abort"],
        counts: In::Code,
        instead: "an error that reaches the entry point, or a panic where an invariant is broken",
        allowed: &["crates/norn/src/", "sim/", "tests/"],
    },
    Rule {
        words: &["Internal(String)", "Other(String)"],
        counts: In::Code,
        instead: "a variant that is a fact which a caller can act on",
        allowed: &[],
    },
    Rule {
        words: &["#[ignore", "#![allow(dead_code", "#![allow(unused"],
        counts: In::Code,
        instead: "use it or remove it; a test that does not run proves nothing",
        // Each test binary uses a part of what they share.
        allowed: &["crates/broker/tests/it/support/"],
    },
    Rule {
        words: &["thread::spawn", "thread::scope", "thread::Builder"],
        counts: In::Code,
        instead: "norn_env::task::{spawn, blocking}",
        allowed: &[
            "crates/env/",
            PARENT,
            MUTANTS,
            "sim/src/run/",
            "crates/norn/src/serve/",
            "tests/",
            "crates/protocol/tests/",
        ],
    },
];

/// The banned words of the tree.
pub fn check(tree: &[Source]) -> Vec<Violation> {
    // This crate has to write the words down.
    let others = tree.iter().filter(|source| !source.is_in(&["tests/tidy/"]));
    others.flat_map(|source| RULES.iter().flat_map(move |rule| of_rule(source, rule))).collect()
}

fn of_rule<'a>(source: &'a Source, rule: &'a Rule) -> impl Iterator<Item = Violation> + 'a {
    let words = if source.is_in(rule.allowed) { &[] } else { rule.words };
    let text = if rule.counts == In::Code { &source.code } else { &source.text };
    words.iter().flat_map(move |word| {
        find(text, word)
            .map(move |at| Violation::new(source.at(at), format!("{word}: better {}", rule.instead)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[Source::new(path, text)]).into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn each_rule_finds_its_words_with_their_place() {
        for rule in RULES {
            for word in rule.words {
                let found = found("crates/core/src/a.rs", &format!("\n{word} "));
                assert_eq!(found.len(), 1, "{word}: {found:?}");
                assert!(found[0].starts_with("crates/core/src/a.rs:2: "), "{found:?}");
                assert!(found[0].ends_with(rule.instead), "{found:?}");
            }
        }
    }

    #[test]
    fn words_of_the_code_may_stand_in_comments_and_others_may_not() {
        assert_eq!(found("crates/core/src/a.rs", "// no thread::spawn here"), [""; 0]);
        assert_eq!(found("crates/core/src/a.rs", &format!("// {}: later", "TODO")).len(), 1);
    }

    #[test]
    fn a_word_may_stand_where_it_is_allowed() {
        assert_eq!(found("crates/env/src/clock.rs", "tokio::time::sleep"), [""; 0]);
        assert_eq!(found("crates/broker/src/a.rs", "tokio::time::sleep").len(), 1);
    }
}
