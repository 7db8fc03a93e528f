#!/usr/bin/env bash
# Splits a binary into the program and its debug information: DIRECTORY/weir and DIRECTORY/weir.debug. Backtraces have lines while
# both are in one directory: the binary names the file (.gnu_debuglink), and Rust's standard library reads it.
#
#   scripts/split-debug.sh target/dist/weir DIRECTORY
#
# The binary of the build stays as it is, so that Cargo doesn't link it again.
set -euo pipefail
(($# == 2)) || {
  echo "usage: scripts/split-debug.sh BINARY DIRECTORY" >&2
  exit 2
}
binary="$1" directory="$2"
name="$(basename "$binary")"

mkdir -p "$directory"
objcopy --only-keep-debug "$binary" "$directory/$name.debug"
chmod 0644 "$directory/$name.debug"
# Keeps the names of functions.
objcopy --strip-debug --add-gnu-debuglink="$directory/$name.debug" "$binary" "$directory/$name"
