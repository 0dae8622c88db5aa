//! The copy of the tree that mutants live in, and its build.
//!
//! Production code knows nothing of mutants: the copy gets a small crate with the macro `mutant!("id")`, which every
//! other crate of it may use, and then the patches. Files are only written where they changed, so that cargo builds no
//! more than it must.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::patch::Mutant;

/// The crate behind `mutant!`. It reads the variable once, before anything else can ask.
const MACRO_CRATE: &str = r#"//! `mutant!("id")` is true in a process that was started with this mutant on.
#[macro_export]
macro_rules! mutant {
    ($id:literal) => {
        $crate::is_on($id)
    };
}
static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
pub fn is_on(id: &str) -> bool {
    ON.get_or_init(|| std::env::var("NORN_MUTANT").unwrap_or_default()) == id
}
"#;

const MACRO_MANIFEST: &str =
    "[package]\nname = \"norn-mutant\"\nversion = \"0.1.0\"\nedition = \"2021\"\npublish = false\n";

/// Crates in whose code bugs can be put back.
const ROOMS: [&str; 6] = ["env", "protocol", "core", "log", "quorum", "broker"];

/// Why there is no build to sweep.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("cannot run {program}: {source}")]
    Program { program: &'static str, source: io::Error },
    #[error("this is not a git work tree")]
    NoTree,
    #[error("{patch} does not apply:\n{output}")]
    Apply { patch: String, output: String },
    #[error("the tree with {what} does not compile:\n{output}")]
    Build { what: String, output: String },
}

/// One copy of the tree under `dir`, with its build directory beside it.
pub struct Tree {
    root: PathBuf,
    dir: PathBuf,
}

impl Tree {
    /// The tree that the current directory is in, copied to `target/mutants`.
    pub fn here() -> Result<Self, TreeError> {
        let out = output("git", Command::new("git").args(["rev-parse", "--show-toplevel"]))?;
        if !out.status.success() {
            return Err(TreeError::NoTree);
        }
        let root = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
        let tree = Self { dir: root.join("target/mutants"), root };
        tree.copy()?;
        Ok(tree)
    }

    /// The directory of the patches.
    pub fn patches(&self) -> PathBuf {
        self.root.join("sim/mutants")
    }

    /// Whether the patch applies to the tree as it is.
    pub fn check(&self, mutant: &Mutant) -> Result<(), TreeError> {
        let stage = self.stage()?;
        apply(&stage, mutant, &["--check"])
    }

    /// Which of the mutants can share one tree; the others conflict with one before them.
    pub fn combine<'a>(
        &self,
        mutants: &'a [Mutant],
    ) -> Result<(Vec<&'a Mutant>, Vec<&'a Mutant>), TreeError> {
        let stage = self.stage()?;
        let (mut together, mut alone) = (vec![], vec![]);
        for mutant in mutants {
            match mutant.own_build || apply(&stage, mutant, &[]).is_err() {
                true => alone.push(mutant),
                false => together.push(mutant),
            }
        }
        Ok((together, alone))
    }

    /// Builds `norn-sim` with these mutants in it, and returns the path of a copy called `name`.
    pub fn build(&self, name: &str, mutants: &[&Mutant], profile: &str) -> Result<PathBuf, TreeError> {
        let stage = self.stage()?;
        for mutant in mutants {
            apply(&stage, mutant, &[])?;
        }
        let tree = self.dir.join("tree");
        mirror(&stage, &tree)?;
        let target = self.dir.join("build");
        let built = target.join(if profile == "dev" { "debug" } else { profile });
        adopt_dependencies(&built)?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&tree).args([
            "build",
            "--offline",
            "--quiet",
            "-p",
            "norn-sim",
            "--profile",
            profile,
        ]);
        cargo.env("RUSTFLAGS", "--cfg madsim").env("CARGO_TARGET_DIR", &target);
        let out = output("cargo", &mut cargo)?;
        if !out.status.success() {
            let what = mutants.iter().map(|mutant| mutant.id.as_str()).collect::<Vec<_>>().join(", ");
            return Err(TreeError::Build { what, output: String::from_utf8_lossy(&out.stderr).into_owned() });
        }
        let built = built.join("norn-sim");
        let kept = self.dir.join("bin").join(name);
        make_parent(&kept)?;
        fs::copy(&built, &kept).map_err(|source| file_error(&built, source))?;
        Ok(kept)
    }

    /// The copy with nothing wrong in it. Made once, so that people may go on working while mutants are built.
    fn clean(&self) -> PathBuf {
        self.dir.join("clean")
    }

    /// A fresh copy of the clean tree, to apply patches to.
    fn stage(&self) -> Result<PathBuf, TreeError> {
        let stage = self.dir.join("stage");
        mirror(&self.clean(), &stage)?;
        Ok(stage)
    }

    /// Copies what git knows of the tree, and puts the macro in place.
    fn copy(&self) -> Result<(), TreeError> {
        let clean = self.clean();
        if clean.exists() {
            fs::remove_dir_all(&clean).map_err(|source| file_error(&clean, source))?;
        }
        let mut list = Command::new("git");
        list.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = output("git", &mut list)?;
        for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
            let from = self.root.join(name);
            // A file may be in the index and gone from the tree; a directory is somebody else's tree.
            if from.is_file() {
                let to = clean.join(name);
                make_parent(&to)?;
                fs::copy(&from, &to).map_err(|source| file_error(&from, source))?;
            }
        }
        let macro_dir = clean.join("crates/mutant");
        write(&macro_dir.join("Cargo.toml"), MACRO_MANIFEST)?;
        write(&macro_dir.join("src/lib.rs"), MACRO_CRATE)?;
        for room in ROOMS {
            let room = clean.join("crates").join(room);
            let manifest = edit(&room.join("Cargo.toml"))?;
            let with = "[dependencies]\nnorn-mutant = { path = \"../mutant\" }\n";
            write(&room.join("Cargo.toml"), &manifest.replacen("[dependencies]\n", with, 1))?;
            let lib = edit(&room.join("src/lib.rs"))?;
            let with = format!("{lib}\n#[allow(unused_imports)]\n#[macro_use]\nextern crate norn_mutant;\n");
            write(&room.join("src/lib.rs"), &with)?;
        }
        Ok(())
    }
}

/// Gives a new build directory what the build of this binary has of other people's crates, so that only ours are compiled.
/// A binary that was moved away from its build has nothing to give.
fn adopt_dependencies(to: &Path) -> Result<(), TreeError> {
    let Ok(exe) = std::env::current_exe() else { return Ok(()) };
    let beside = exe.parent().and_then(Path::parent).zip(to.file_name());
    let Some(from) = beside.map(|(target, profile)| target.join(profile)).filter(|_| !to.exists()) else {
        return Ok(());
    };
    for part in [".fingerprint", "build", "deps"].iter().filter(|part| from.join(part).is_dir()) {
        for name in walk(&from, &from.join(part))? {
            let ours = name.iter().nth(1).is_some_and(|entry| {
                let entry = entry.to_string_lossy();
                entry.starts_with("norn") || entry.starts_with("libnorn")
            });
            if !ours {
                let (source, target) = (from.join(&name), to.join(&name));
                make_parent(&target)?;
                // Cargo writes to none of them again: what they are called by holds all that they depend on.
                let linked = fs::hard_link(&source, &target);
                linked
                    .or_else(|_| fs::copy(&source, &target).map(drop))
                    .map_err(|error| file_error(&source, error))?;
            }
        }
    }
    Ok(())
}

fn apply(stage: &Path, mutant: &Mutant, more: &[&str]) -> Result<(), TreeError> {
    let mut git = Command::new("git");
    git.current_dir(stage).arg("apply").args(more).arg(&mutant.path);
    // Else git looks for the repository around the copy, and leaves out what that does not know.
    git.env("GIT_CEILING_DIRECTORIES", stage.parent().unwrap_or(stage));
    let out = output("git", &mut git)?;
    if out.status.success() {
        return Ok(());
    }
    Err(TreeError::Apply {
        patch: mutant.path.display().to_string(),
        output: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}

/// Makes `to` equal to `from`, leaving alone what already is.
fn mirror(from: &Path, to: &Path) -> Result<(), TreeError> {
    let wanted: BTreeSet<PathBuf> = walk(from, from)?.into_iter().collect();
    for name in &wanted {
        let source = from.join(name);
        let new = fs::read(&source).map_err(|error| file_error(&source, error))?;
        let target = to.join(name);
        if fs::read(&target).ok().as_deref() != Some(&new) {
            make_parent(&target)?;
            fs::write(&target, &new).map_err(|error| file_error(&target, error))?;
        }
    }
    if to.exists() {
        // Cargo adds the macro's crate to the lock file, which is as it should be.
        for name in walk(to, to)?.into_iter().filter(|name| !wanted.contains(name)) {
            let gone = to.join(name);
            fs::remove_file(&gone).map_err(|error| file_error(&gone, error))?;
        }
    }
    Ok(())
}

/// The files below `dir`, by their paths from `root`.
fn walk(root: &Path, dir: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let mut files = vec![];
    for entry in fs::read_dir(dir).map_err(|source| file_error(dir, source))? {
        let path = entry.map_err(|source| file_error(dir, source))?.path();
        if path.is_dir() {
            files.extend(walk(root, &path)?);
        } else if let Ok(name) = path.strip_prefix(root) {
            files.push(name.to_owned());
        }
    }
    Ok(files)
}

fn edit(path: &Path) -> Result<String, TreeError> {
    fs::read_to_string(path).map_err(|source| file_error(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), TreeError> {
    make_parent(path)?;
    fs::write(path, text).map_err(|source| file_error(path, source))
}

fn make_parent(path: &Path) -> Result<(), TreeError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|source| file_error(parent, source))
}

fn output(program: &'static str, command: &mut Command) -> Result<Output, TreeError> {
    command.output().map_err(|source| TreeError::Program { program, source })
}

fn file_error(path: &Path, source: io::Error) -> TreeError {
    TreeError::File { path: path.display().to_string(), source }
}
