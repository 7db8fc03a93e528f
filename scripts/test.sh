#!/usr/bin/env bash
# Runs all tests, or those whose path contains a name, and prints their durations.
#
#   scripts/test.sh                every test but the long ones
#   scripts/test.sh --soak         the long ones
#   scripts/test.sh NAME           the tests with NAME in their path: `hls_dates` or `all_outputs::`
#
# The integration tests all start at once; each takes a slot of the machine (tests/support/slots.rs) and waits for it on a thread of
# its own, so there are as many threads as tests.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
source scripts/parts.sh

name="${1:-}"
threads=1000
tmp="${CARGO_TARGET_DIR:-target}/tmp"
report="$tmp/test-report.tsv"
mkdir -p "$tmp"
: >"$report"

# A shell makes background jobs ignore SIGINT, and every recorder would inherit that.
cargo() {
  env --default-signal=INT cargo "$@"
}

# Runs the tests of some binaries, the others also after a failure. At least one binary must have a test of the given
# name.
found=0
failed=0
tests() {
  local part="$1" log="$tmp/part.log"
  shift
  # Waiting a minute for a slot is normal, so the warning is left out.
  part "$part" "$@" 2>&1 | grep --line-buffered -v ' has been running for over ' | tee "$log" || failed=1
  if grep -qE '^test .* \.\.\. ' "$log"; then found=1; fi
}

case "$name" in
  --soak)
    tests "long tests" cargo test --locked --test it -- --test-threads=1 soak::
    ;;
  "")
    # Builds first, so that the durations below are those of tests.
    part "build" cargo test --locked --no-run
    # Beside other tests, the CPU profile has the functions of all of them in it and looks up their names for minutes.
    # Tests that start processes mostly wait, so more of them run than there are cores.
    tests "unit tests" cargo test --locked --lib --bins -- --test-threads=4 --skip profile::tests::real_time
    tests "CPU profile" cargo test --locked --lib -- profile::tests::real_time
    tests "documentation tests" cargo test --locked --doc
    tests "integration tests" cargo test --locked --test it -- --test-threads="$threads" --skip soak::
    ;;
  *)
    tests "unit tests" cargo test --locked --lib --bins -- "$name"
    tests "integration tests" cargo test --locked --test it -- --test-threads="$threads" --skip soak:: "$name"
    ;;
esac

scripts/report.sh "$report"
if ((found == 0)); then
  echo "no test has \`$name\` in its path; \`cargo test -- --list\` lists all" >&2
  failed=1
fi
exit "$failed"
