#!/usr/bin/env bash
# Everything that CI checks, in order of cost. Prints how long each part took; the first failure ends the run.
set -uo pipefail
cd "$(dirname "$0")/.."

names=(); times=()
part() { # NAME COMMAND...
  local name=$1 started=$SECONDS; shift
  printf '\n== %s\n' "$name"
  if ! "$@"; then
    printf '\nFAILED: %s (after %d s)\n' "$name" $((SECONDS - started)); summary; exit 1
  fi
  names+=("$name"); times+=($((SECONDS - started)))
}
summary() {
  printf '\n'
  for i in "${!names[@]}"; do printf '%5d s  %s\n' "${times[$i]}" "${names[$i]}"; done
  printf '%5d s  in all\n' "$SECONDS"
}

part 'format' tests/format.sh
part 'build' make --no-print-directory build
part 'build of the simulation' make --no-print-directory build-sim
part 'lints' make --no-print-directory clippy
part 'unit and property tests' make --no-print-directory unit
part 'unit tests of the simulation' make --no-print-directory unit-sim
part 'clients for the black-box tests' make --no-print-directory tools
part 'black-box tests' make --no-print-directory blackbox
part 'kept tapes' make --no-print-directory corpus
part 'sweep' make --no-print-directory sweep-short
part 'known bugs, put back' make --no-print-directory mutants-quick
summary
