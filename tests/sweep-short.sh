#!/usr/bin/env bash
# The sweep of every test run: a hundred fixed seeds, then a hundred that each commit draws anew. Both must pass; a
# finding is printed with the command that replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

sim=target/sim/release/norn-sim
jobs=${JOBS:-$(nproc)}
commit=$(git rev-parse HEAD 2>/dev/null || echo 0)
first=$(( 0x$(printf '%s' "${commit:0:7}") * 1000 ))

"$sim" sweep --seeds 1..101 --jobs "$jobs"
echo "seeds of commit $commit"
"$sim" sweep --seeds "$first..$((first + 100))" --jobs "$jobs"
