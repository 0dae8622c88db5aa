//! Only three places know which build they are in, and only one way leads to `select!`.

use crate::{
    source::{find, Source},
    Violation,
};

/// Who may say `madsim`: the world's two back ends, the process's entry, the simulator.
const KNOW_THE_BUILD: &[&str] =
    &["crates/env/", "crates/norn/src/main.rs", "crates/norn/src/lib.rs", "sim/", "tests/tidy/"];

/// The file with the macro that every `select!` goes through.
const SELECT: &str = "crates/env/src/select.rs";

/// Who asks which build it is in, or names the simulator, and must not.
pub fn check_builds(tree: &[Source]) -> Vec<Violation> {
    let what = "code does not know which build it is in: put the difference into crates/env, as one type with two back ends";
    let outside = tree.iter().filter(|source| !source.is_in(KNOW_THE_BUILD));
    outside
        .flat_map(|source| source.code_has("madsim").map(|at| Violation::new(source.at(at), what)))
        .collect()
}

/// `select!` that might not be biased.
pub fn check_select(tree: &[Source]) -> Vec<Violation> {
    let what = "use norn_env::select!: a fair select draws from a generator that the seed does not govern";
    let mut found = vec![];
    for source in tree.iter().filter(|source| source.path != SELECT) {
        for foreign in ["tokio", "futures", "madsim", "futures_util"] {
            let direct = format!("{foreign}::select");
            found.extend(source.code_has(&direct).map(|at| Violation::new(source.at(at), what)));
            let import = format!("use {foreign}::{{");
            for at in source.code_has(&import) {
                let list = source.code[at..].split(';').next().unwrap_or_default();
                if find(list, "select").next().is_some() {
                    found.push(Violation::new(source.at(at), what));
                }
            }
        }
        let own = source.code_has("select_biased!").chain(source.code_has("try_select!"));
        found.extend(own.map(|at| Violation::new(source.at(at), what)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(path: &str, text: &str) -> usize {
        check_builds(&[Source::new(path, text)]).len()
    }

    #[test]
    fn asking_for_the_build_is_found_outside_its_places() {
        assert_eq!(builds("crates/broker/src/lib.rs", "#[cfg(madsim)] mod sim;"), 1);
        assert_eq!(builds("crates/broker/src/lib.rs", "if cfg!(not(madsim)) {}"), 1);
        assert_eq!(builds("crates/log/src/lib.rs", "use madsim::time;"), 1);
        assert_eq!(builds("crates/norn/src/cli.rs", "#[cfg(madsim)]"), 1);
        assert_eq!(builds("crates/norn/src/main.rs", "#[cfg(madsim)]"), 0);
        assert_eq!(builds("crates/env/src/clock.rs", "#[cfg(madsim)]"), 0);
        assert_eq!(builds("crates/log/src/lib.rs", "// as in madsim\nlet a = \"madsim\";"), 0);
    }

    fn select(text: &str) -> usize {
        check_select(&[Source::new("crates/broker/src/a.rs", text)]).len()
    }

    #[test]
    fn a_select_past_ours_is_found() {
        assert_eq!(select("tokio::select! { biased; a = b => {} }"), 1);
        assert_eq!(select("use tokio::select;"), 1);
        assert_eq!(select("use tokio::{\n    select,\n    sync::mpsc,\n};"), 1);
        assert_eq!(select("use futures::{future::BoxFuture, select};"), 1);
        assert_eq!(select("futures::select_biased! { a = b => {} }"), 1);
        assert_eq!(select("use norn_env::{clock, select}; select! { a = b => {} }"), 0);
        assert_eq!(select("norn_env::select! { a = b => {} }"), 0);
    }
}
