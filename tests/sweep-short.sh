#!/usr/bin/env bash
# The sweep of every test run: a hundred fixed seeds that must pass, then a hundred that each commit draws anew. What
# the latter find is printed with the commands that replay it and does not fail the run until a sweep of 2,000 seeds
# has passed: before that, a red run says more of old seeds than of the change that it is about.
set -euo pipefail
cd "$(dirname "$0")/.."

sim=target/sim/release/norn-sim
jobs=${JOBS:-$(nproc)}
commit=$(git rev-parse HEAD 2>/dev/null || echo 0)
first=$(( 0x$(printf '%s' "${commit:0:7}") * 1000 ))

"$sim" sweep --seeds 1..101 --jobs "$jobs"
echo "seeds of commit $commit, reported only"
"$sim" sweep --seeds "$first..$((first + 100))" --jobs "$jobs" || echo "findings above: replay them"
