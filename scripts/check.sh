#!/usr/bin/env bash
# Runs the parts of `make check`. The checks of web/ and docker/ run beside those of Rust. Prints the duration of each part, and at
# the end the output of those that failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT

# More tests at once than cores: many wait for sockets or other threads.
threads="$((4 * $(nproc)))"

# The unit tests that start no process and do not wait for the real clock. Their PATH is empty, so a test that starts a program
# fails. (Without INSTA_WORKSPACE_ROOT, insta starts Cargo.)
pure_tests() {
  local target
  target="$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')"
  env "CARGO_TARGET_${target}_RUNNER=env PATH=/nonexistent INSTA_WORKSPACE_ROOT=$PWD" \
    cargo test --locked --quiet --lib -- --test-threads "$threads" --skip with_processes:: --skip real_time::
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --document-private-items
}

# quiet_part NAME COMMAND...: runs a command, prints its duration and keeps its output: of two commands side by side, the lines would
# be mixed. WEIR_PARTS is as in parts.sh.
quiet_part() {
  local name="$1" begun="${EPOCHREALTIME/[.,]/}" failed='' tenths line
  shift
  if ! "$@" >"$logs/$name" 2>&1; then
    failed='  failed'
    mv "$logs/$name" "$logs/$name.failed"
  fi
  tenths="$(((${EPOCHREALTIME/[.,]/} - begun) / 100000))"
  line="$(printf '%-24s %4d.%d s%s' "$name" "$((tenths / 10))" "$((tenths % 10))" "$failed")"
  echo "== $line"
  [[ -z "${WEIR_PARTS:-}" ]] || echo "$line" >>"$WEIR_PARTS"
}

rust() {
  quiet_part "format" cargo fmt --check
  quiet_part "clippy" cargo clippy --locked --quiet --all-targets -- -D warnings
  quiet_part "clippy, tokio-console" cargo clippy --locked --quiet --features console -- -D warnings
  quiet_part "pure unit tests" pure_tests
  quiet_part "documentation" documentation
}

# No sentences without a main clause, only the field's terms, no citations that lead nowhere.
language() {
  scripts/lint-language-test.py && scripts/lint-language.py
}

others() {
  quiet_part "web lint" npm --silent --prefix web run lint
  quiet_part "web types" npm --silent --prefix web run typecheck
  quiet_part "web tests" npm --silent --prefix web test
  quiet_part "docker" scripts/lint-docker.sh
  quiet_part "language" language
}

others &
rust
wait

failed=("$logs"/*.failed)
[[ -e "${failed[0]}" ]] || exit 0
for log in "${failed[@]}"; do
  name="$(basename "$log" .failed)"
  printf '\n---- %s failed ----\n' "$name"
  cat "$log"
done
printf '\nmake check: failed: %s\n' "$(basename --multiple --suffix .failed "${failed[@]}" | paste --serial --delimiters , | sed 's/,/, /g')"
exit 1
