#!/usr/bin/env bash
# Checks the container, reports what is missing, and becomes `weir`. Needs no root, and changes nothing outside
# the work directory. Remains of killed recordings stay there: Weir finalizes them when it starts.
#
#   entrypoint.sh [serve|record|…] [ARGUMENT…]     `serve` is assumed when the first one is an option
set -euo pipefail

warn() { echo "weir: warning: $*" >&2; }
fail() {
  echo "weir: $*" >&2
  exit 1
}

if [[ $# -eq 0 || "$1" == -* ]]; then
  set -- serve "$@"
fi

# Chosen with --user, a user may have no entry in /etc/passwd, and the root of the file system as its home.
if [[ -z "${HOME:-}" || "$HOME" == / || ! -w "$HOME" ]]; then
  export HOME="${STATE_DIRECTORY:-/var/lib/weir}"
fi

if [[ "$1" == serve ]]; then
  # Work directory of the service, unless its configuration sets `work_dir`.
  export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/weir}"
  mkdir -p "$STATE_DIRECTORY" 2>/dev/null || true
  if [[ ! -d "$STATE_DIRECTORY" || ! -w "$STATE_DIRECTORY" ]]; then
    fail "user $(id -u) can't write to $STATE_DIRECTORY: mount a volume there that it owns (chown $(id -u):$(id -g))"
  fi

  # A browser opens hundreds on a heavy page, the service some for each recording; the usual soft limit is 1024.
  wanted=65536
  soft="$(ulimit -S -n)"
  hard="$(ulimit -H -n)"
  if [[ "$soft" != unlimited ]] && ((soft < wanted)); then
    if [[ "$hard" == unlimited ]] || ((hard >= wanted)); then
      ulimit -S -n "$wanted"
    else
      ulimit -S -n "$hard"
      ((hard >= 4096)) || warn "at most $hard open files: start the container with --ulimit nofile=$wanted"
    fi
  fi

  # Display, browser profile and the browser's shared memory are there.
  shm="${WEIR_SHM:-/dev/shm}"
  if [[ "$(stat --file-system --format=%T "$shm" 2>/dev/null || true)" != tmpfs ]]; then
    warn "$shm is not a tmpfs: temporary data will be written to a disk; mount a tmpfs there"
  else
    size="$(df --output=size --block-size=1M "$shm" | tail -n 1 | tr -d ' ')"
    if ((size < 1024)); then
      warn "$shm has $size MB: give it 1 GB, and 128 MB for each recording (--shm-size=2g)"
    fi
  fi

  if (($(id -u) == 0)); then
    warn "running as root: the browser is without its sandbox (leave --user away, or choose another)"
  elif ! unshare --user --map-root-user --pid --fork /bin/true 2>/dev/null; then
    warn "no user namespaces: the browser is without its sandbox" \
      "(--security-opt seccomp=chromium-seccomp.json, from the project's docker/)"
  fi
fi

exec weir "$@"
