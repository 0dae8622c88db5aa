//! Dependencies point one way, and what must stay pure has nothing impure beneath it.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::{source, Violation};

/// Each crate of ours and those that it may know, in tests too.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("norn", &["norn-broker", "norn-quorum", "norn-log", "norn-core", "norn-protocol", "norn-env"]),
    ("norn-broker", &["norn-quorum", "norn-log", "norn-core", "norn-protocol", "norn-env"]),
    ("norn-quorum", &["norn-log", "norn-env"]),
    ("norn-log", &["norn-protocol", "norn-env"]),
    ("norn-core", &["norn-protocol"]),
    ("norn-protocol", &[]),
    ("norn-env", &[]),
    ("norn-sim", &["norn-broker", "norn-quorum", "norn-log", "norn-core", "norn-protocol", "norn-env"]),
    ("norn-properties", &["norn", "norn-broker", "norn-log", "norn-protocol"]),
    ("norn-tidy", &[]),
];

/// Crates that must not appear anywhere beneath these, whatever brings them.
const MUST_LACK: &[(&str, &[&str])] = &[
    ("norn-protocol", &["tokio", "madsim", "madsim-tokio", "norn-env", "rand"]),
    ("norn-core", &["tokio", "madsim", "madsim-tokio", "norn-env", "norn-log", "rand"]),
    ("norn-quorum", &["norn-core"]),
    ("norn-log", &["norn-core", "norn-quorum"]),
];

/// Crates that one may only depend on here: what they are wrapped by is the way to them.
const ONLY_IN: &[(&str, &[&str])] = &[("madsim", &["norn-env", "norn-sim"]), ("raft", &["norn-quorum"])];

/// A package with what it names in its manifest, and all that is beneath it without tests.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub named: BTreeSet<String>,
    pub beneath: BTreeSet<String>,
}

/// The packages of the workspace.
pub fn packages() -> Result<Vec<Package>, cargo_metadata::Error> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked".to_owned(), "--filter-platform".to_owned(), platform];
    let manifest = source::root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).other_options(options).exec()?;
    let of_ours = metadata.workspace_packages();
    let package = |package: &&cargo_metadata::Package| Package {
        name: package.name.to_string(),
        named: package.dependencies.iter().map(|dependency| dependency.name.clone()).collect(),
        beneath: beneath(&metadata, &package.id),
    };
    Ok(of_ours.iter().map(package).collect())
}

fn beneath(metadata: &Metadata, id: &PackageId) -> BTreeSet<String> {
    let nodes = metadata.resolve.as_ref().map_or(&[][..], |resolve| &resolve.nodes);
    let (mut seen, mut left) = (BTreeSet::new(), vec![id]);
    while let Some(id) = left.pop() {
        let Some(node) = nodes.iter().find(|node| node.id == *id) else { continue };
        for dependency in &node.deps {
            let only_tests = dependency.dep_kinds.iter().all(|kind| kind.kind == DependencyKind::Development);
            if !only_tests && seen.insert(&dependency.pkg) {
                left.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

/// Where packages know what they must not.
pub fn check(packages: &[Package]) -> Vec<Violation> {
    let mut found = vec![];
    for package in packages {
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == package.name) else {
            let what = "a new crate: say in tests/tidy/src/deps.rs what it may know";
            found.push(Violation::new(&package.name, what));
            continue;
        };
        for other in package.named.iter().filter(|other| MAY_KNOW.iter().any(|(name, _)| name == other)) {
            if !allowed.contains(&other.as_str()) {
                found.push(Violation::new(&package.name, format!("must not know {other}")));
            }
        }
        let lacking =
            MUST_LACK.iter().filter(|(name, _)| *name == package.name).flat_map(|(_, lacking)| *lacking);
        for impure in lacking.filter(|impure| package.beneath.contains(**impure)) {
            found.push(Violation::new(
                &package.name,
                format!("has {impure} beneath it: cargo tree -i {impure}"),
            ));
        }
        for (wrapped, places) in ONLY_IN {
            if package.named.contains(*wrapped) && !places.contains(&package.name.as_str()) {
                found.push(Violation::new(
                    &package.name,
                    format!("must leave {wrapped} to {}", places.join(", ")),
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, named: &[&str], beneath: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), named: owned(named), beneath: owned(beneath) }
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let wrong = package("norn-log", &["bytes", "norn-broker"], &[]);
        assert_eq!(check(&[wrong]), [Violation::new("norn-log", "must not know norn-broker")]);
        assert_eq!(check(&[package("norn-log", &["bytes", "norn-env"], &["tokio"])]), []);
    }

    #[test]
    fn core_and_log_never_meet() {
        assert_eq!(check(&[package("norn-core", &["norn-log"], &[])]).len(), 1);
        assert_eq!(check(&[package("norn-log", &["norn-core"], &[])]).len(), 1);
    }

    #[test]
    fn a_runtime_beneath_a_pure_crate_is_found() {
        let wrong = package("norn-core", &["norn-protocol"], &["norn-protocol", "tokio"]);
        assert_eq!(check(&[wrong]).len(), 1);
    }

    #[test]
    fn a_wrapped_crate_is_left_to_its_wrapper() {
        assert_eq!(check(&[package("norn-broker", &["madsim"], &[])]).len(), 1);
        assert_eq!(check(&[package("norn-env", &["madsim"], &[])]), []);
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        assert_eq!(check(&[package("norn-extra", &[], &[])]).len(), 1);
    }
}
