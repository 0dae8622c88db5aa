#!/usr/bin/env bash
# Checks the format of every Rust file of the tree by its path. `cargo fmt` follows `mod` items and does not see a module
# that a macro declares.
set -euo pipefail
cd "$(dirname "$0")/.."

edition=$(sed -n 's/^edition = "\(.*\)"$/\1/p' Cargo.toml)
find . -name '*.rs' -not -path '*/target/*' -not -path './.venv/*' -print0 |
  xargs -0 rustfmt --check --edition "$edition"
