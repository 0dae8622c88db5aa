//! Collects the names of all `sometimes!` probes of the broker's crates, so that a sweep can say which it never met.

#![allow(clippy::disallowed_methods, reason = "runs when the simulator is built, not in it")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MARK: &str = "sometimes!(\"";

fn main() -> io::Result<()> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = here.join("../crates");
    println!("cargo:rerun-if-changed={}", crates.display());
    let mut names = vec![];
    // `env` defines the macro, and meets only probes of its tests.
    for room in ["protocol", "core", "log", "quorum", "broker"] {
        collect(&crates.join(room).join("src"), &mut names)?;
    }
    names.sort();
    names.dedup();
    let list = format!("pub const KNOWN: &[&str] = &{names:#?};\n");
    fs::write(PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it")).join("probes.rs"), list)
}

fn collect(dir: &Path, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                collect(&path, names)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path)?;
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            names
                .extend(code.split(MARK).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    Ok(())
}
