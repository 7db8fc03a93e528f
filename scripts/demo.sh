#!/usr/bin/env bash
# Records the page that comes with the project to demo/: one command, three outputs. Called by `make demo`.
#
#   scripts/demo.sh PATH_TO_WEIR
set -euo pipefail
cd "$(dirname "$0")/.."
weir="$1"

rm -rf demo
mkdir -p demo
set -x
"$weir" record web "file://$PWD/tests/pages/clock.html" --duration 10s \
  --file demo/clock.mp4 --segments demo/hls/clock --images demo/thumbs/clock --every 2s
{ set +x; } 2>/dev/null

# The recorder reports success by exit code 0; this checks that the files exist.
echo
for kind in "MP4:demo/clock.mp4" "HLS:demo/hls/clock.m3u8" "thumbnail:demo/thumbs/clock_00000.jpeg"; do
  file="${kind#*:}"
  [[ -s "$file" ]] || { echo "$file was not written" >&2; exit 1; }
  printf '%-10s %s (%s)\n' "${kind%%:*}" "$file" "$(du -h "$file" | cut -f1)"
done
