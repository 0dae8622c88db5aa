//! What the simulator must know of the tree that it was built from: the names of all `sometimes!` probes of the broker's
//! crates, so that a sweep can say which it never met, the commit, so that a failure can be seen again, and where functions
//! begin: line tables, which is all that builds have of debug information, call an `async fn` `{async_fn#0}`.

#![allow(clippy::disallowed_methods, reason = "runs when the simulator is built, not in it")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MARK: &str = "sometimes!(\"";

fn main() -> io::Result<()> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = here.join("../crates");
    println!("cargo:rerun-if-changed={}", crates.display());
    println!("cargo:rerun-if-changed={}", here.join("src").display());
    println!("cargo:rerun-if-changed={}", here.join("build.rs").display());
    println!("cargo:rustc-env=NORN_COMMIT={}", commit(&here).unwrap_or("unknown".to_owned()));
    let mut names = vec![];
    // `env` defines the macro, and meets only probes of its tests.
    for room in ["protocol", "core", "log", "quorum", "broker"] {
        collect(&crates.join(room).join("src"), &mut names)?;
    }
    names.sort();
    names.dedup();
    let list = format!("pub const KNOWN: &[&str] = &{names:#?};\n");
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("probes.rs"), list)?;
    let mut files = vec![];
    for dir in ["env", "protocol", "core", "log", "quorum", "broker"] {
        functions_below(
            &crates.join(dir).join("src"),
            &format!("crates/{dir}/src"),
            &format!("norn_{dir}"),
            &mut files,
        )?;
    }
    functions_below(&here.join("src"), "sim/src", "norn_sim", &mut files)?;
    files.sort();
    let table =
        format!("pub const FUNCTIONS: &[(&str, &[(u32, &str)])] = &{files:?};\n").replace(", [(", ", &[(");
    fs::write(out.join("functions.rs"), table.replace(", [])", ", &[])"))
}

/// A file by its path from the root of the tree, with the first lines and the full names of its functions.
type Functions = (String, Vec<(u32, String)>);

fn functions_below(dir: &Path, shown: &str, module: &str, files: &mut Vec<Functions>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = format!("{shown}/{name}");
        if path.is_dir() {
            functions_below(&path, &shown, &format!("{module}::{name}"), files)?;
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let module = match stem {
                "lib" | "main" | "mod" => module.to_owned(),
                stem => format!("{module}::{stem}"),
            };
            files.push((shown, functions(&fs::read_to_string(&path)?, &module)));
        }
    }
    Ok(())
}

/// Where the functions of formatted code begin.
fn functions(text: &str, module: &str) -> Vec<(u32, String)> {
    let mut found = vec![];
    // What functions are inside of: a type's implementation, or the tests.
    let mut inside = String::new();
    for (line, number) in text.lines().zip(1..) {
        if line == "}" {
            inside.clear();
        } else if let Some(rest) = line.strip_prefix("impl") {
            let of = rest.split_once(" for ").map_or(rest, |(_, of)| of);
            // Past the parameters of the implementation itself, if there are any.
            let of = if of.starts_with('<') { of.split_once("> ").map_or(of, |(_, of)| of) } else { of };
            inside =
                format!("{}::", ident(of.trim_start().trim_start_matches("&mut ").trim_start_matches('&')));
        } else if let Some(rest) = line.strip_prefix("mod ").filter(|rest| rest.ends_with('{')) {
            inside = format!("{}::", ident(rest));
        }
        if let Some((before, rest)) = line.split_once("fn ") {
            let is_head = before.split_whitespace().all(|word| {
                word.starts_with("pub")
                    || ["async", "const", "unsafe", "extern", "\"C\"", "default", "crate)"].contains(&word)
            });
            let name = ident(rest);
            if is_head && !name.is_empty() {
                found.push((number, format!("{module}::{inside}{name}")));
            }
        }
    }
    found
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The commit of the tree around `here`, and whether files of it were changed; none outside of a repository, or where the
/// tree was put into that of another project.
fn commit(here: &Path) -> Option<String> {
    let git = |args: &[&str]| {
        let out = Command::new("git").current_dir(here).args(args).stderr(Stdio::null()).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(here.join("..")).ok()? {
        return None;
    }
    // A path that is not there would make each build a new one.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        let path = here.join(git(&["rev-parse", "--git-path", name])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
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
