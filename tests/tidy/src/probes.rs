//! Names of probes: a hit must say which place was reached.

use std::collections::BTreeMap;

use crate::{source::Source, Violation};

/// Probe names that stand at more than one place, or that are no literal.
pub fn check(tree: &[Source]) -> Vec<Violation> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut found = vec![];
    // The macros' home and their tests, where names are made up.
    for source in tree.iter().filter(|source| !source.is_in(&["crates/env/", "tests/tidy/"])) {
        for kind in ["sometimes!(", "buggify!("] {
            for at in source.code_has(kind) {
                let behind = source.text[at + kind.len()..].trim_start();
                match behind.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    Some(name) => places.entry((kind, name)).or_default().push(source.at(at)),
                    None => found.push(Violation::new(source.at(at), "a probe's name is a literal")),
                }
            }
        }
    }
    for ((_, name), at) in places.into_iter().filter(|(_, at)| at.len() > 1) {
        found.push(Violation::new(
            &at[1],
            format!("the probe {name:?} stands at {} too: name what is special here", at[0]),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_at_two_places_is_found() {
        let once = Source::new("crates/a.rs", "norn_env::sometimes!(\"tail cut\");");
        let again = Source::new("crates/b.rs", "\n    sometimes!(\n        \"tail cut\");");
        assert_eq!(check(std::slice::from_ref(&once)), []);
        let found = check(&[once, again]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].at, "crates/b.rs:2");
    }

    #[test]
    fn a_probe_and_a_buggify_may_share_a_name() {
        let source =
            Source::new("crates/a.rs", "if buggify!(\"short read\") { sometimes!(\"short read\"); }");
        assert_eq!(check(&[source]), []);
    }

    #[test]
    fn a_name_that_is_computed_is_found() {
        assert_eq!(check(&[Source::new("crates/a.rs", "sometimes!(NAME)")]).len(), 1);
    }
}
