# Runs the parts of a check one after the other; sourced by other scripts.
# shellcheck shell=bash

# part NAME COMMAND...: runs a command and prints its duration, also if it fails. `WEIR_PARTS` names a file that collects the
# durations, so that a caller of several scripts can print them together.
part() {
  local name="$1" begin=$SECONDS status=0 line
  shift
  "$@" || status=$?
  line="$(printf '%-24s %4d s' "$name" $((SECONDS - begin)))"
  ((status == 0)) || line+="  failed"
  echo "== $line"
  [[ -z "${WEIR_PARTS:-}" ]] || echo "$line" >>"$WEIR_PARTS"
  return "$status"
}
