#!/usr/bin/env bash
# Prints how long integration tests took, the slowest first, and which measurements were disturbed.
#
#   scripts/report.sh target/tmp/test-report.tsv
#
# Lines are: test, NAME, SLOT, SECONDS WAITED, SECONDS TAKEN, RESULT; disturbed, NAME, WHAT; no result, NAME, WHAT
# (tests/support/slots.rs, tests/support/disturbance.rs).
set -euo pipefail

report="$1"
[[ -s "$report" ]] || exit 0

echo
echo "The 20 slowest tests (seconds, without the wait for a slot):"
# `sed` reads to the end: `head` would end `sort`, and with it this script, by a signal.
awk -F'\t' '$1 == "test" { printf "%7.1f  %-8s %s\n", $5, $3, $2 }' "$report" | sort --reverse --numeric-sort | sed -n 1,20p
awk -F'\t' '
  $1 == "test" { tests++; sum += $5 }
  $1 == "disturbed" { disturbed = disturbed "\n  " $2 ": " $3 }
  $1 == "no result" { without = without "\n  " $2 ": " $3 }
  END {
    printf "%d slots, %d s of tests side by side\n", tests, sum
    if (disturbed) printf "Measurements that were disturbed and taken again:%s\n", disturbed
    if (without) printf "Measurements without a result, as the machine was never left alone:%s\n", without
  }' "$report"
