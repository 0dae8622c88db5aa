# Norn's commands. `make help` lists them.
#
# Two builds share this tree: the broker (target/) and its simulation (target/sim/, `--cfg madsim`). Each has a target
# directory of its own, so that switching between them rebuilds nothing.

SHELL := /bin/bash
CARGO ?= cargo
SIM   := RUSTFLAGS="--cfg madsim" CARGO_TARGET_DIR=target/sim $(CARGO)
NORN  := target/release/norn
NSIM  := target/sim/release/norn-sim
JOBS  ?= $(shell nproc)
SEEDS ?= 1..2001
VENV  := .venv

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run build build-sim
run: build ## build and start a broker on 127.0.0.1:9092 with data in ./norn-data
	exec $(NORN) serve

build: ## build target/release/norn
	NORN_COMMIT=$$(git rev-parse --short=12 HEAD 2>/dev/null) $(CARGO) build --release --locked -p norn

build-sim: ## build target/sim/release/norn-sim
	$(SIM) build --release --locked -p norn-sim

.PHONY: test check fmt clippy unit unit-sim tools blackbox sweep-short corpus
test: ## all that CI does: format, lints, unit, property and black-box tests, a short sweep
	@tests/all.sh

check: ## seconds: does everything compile, in both builds
	$(CARGO) check --locked --workspace --all-targets
	$(SIM) check --locked --workspace --all-targets

fmt: ## format the tree
	$(CARGO) fmt --all

clippy: ## lints of both builds, warnings denied
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(SIM) clippy --locked --workspace --all-targets -- -D warnings

unit: ## unit and property tests of the broker's build
	$(CARGO) test --locked --workspace --exclude norn-sim

unit-sim: ## unit tests of the simulation's build: the rooms that touch the world, and the simulator
	$(SIM) test --locked -p norn-env -p norn-log -p norn-quorum -p norn-broker -p norn-sim

tools: ## install the clients that the black-box tests drive (Python, Java, kcat)
	@tests/tools.sh

blackbox: build tools ## real clients against real processes
	$(VENV)/bin/python -m pytest -q -p no:cacheprovider tests

sweep-short: build-sim ## 100 fixed seeds and 100 derived from the commit
	@tests/sweep-short.sh

corpus: build-sim ## run the tapes that are kept in sim/corpus: does of each come what its file says
	$(NSIM) corpus run --jobs $(JOBS)

.PHONY: tidy ratchet
tidy: ## what the tree promises about itself: dependencies, bans, lengths, documents
	$(CARGO) test --locked -p norn-tidy

ratchet: ## lower the lengths that tests/tidy allows to what the tree needs
	NORN_RATCHET=write $(CARGO) test --locked -p norn-tidy --test tree files_and_functions

.PHONY: sweep mutants mutants-quick bench fuzz
sweep: build-sim ## sweep SEEDS=A..B with JOBS=n (default 1..2001)
	$(NSIM) sweep --seeds $(SEEDS) --jobs $(JOBS)

mutants: build-sim ## put each known bug back and count the seeds until it is found
	$(NSIM) mutants --jobs $(JOBS)

mutants-quick: build-sim ## see that all known bugs can be put back, and hunt three of them
	$(NSIM) mutants --quick --jobs $(JOBS)

FUZZ  ?= frame_decoder
fuzz: ## fuzz FUZZ=frame_decoder|record_batch|log_recovery|config_file (needs cargo-fuzz and nightly)
	$(CARGO) +nightly fuzz run --fuzz-dir fuzz $(FUZZ)

bench: build tools ## throughput and latency of this broker (see BENCHMARKS.md)
	$(VENV)/bin/python bench/bench.py
