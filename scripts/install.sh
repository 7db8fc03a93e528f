#!/usr/bin/env bash
# Installs missing packages on Debian or Ubuntu, and checks Rust. Asks no questions; takes no time if nothing is missing.
#
#   scripts/install.sh web     to build the pages in web/
#   scripts/install.sh demo    to build and record
#   scripts/install.sh check   to build, record and lint
#   scripts/install.sh test    to run the tests, too
#   scripts/install.sh bench   to run the benchmark, too
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/packages.sh
source scripts/packages.sh

case "${1:-}" in
  web) wanted=() ;;
  demo) wanted=("${build[@]}" "${record[@]}") ;;
  check) wanted=("${build[@]}" "${record[@]}" "${lint[@]}") ;;
  test | bench) wanted=("${build[@]}" "${record[@]}" "${test[@]}" "${lint[@]}") ;;
  *)
    echo "usage: scripts/install.sh web|demo|check|test|bench" >&2
    exit 2
    ;;
esac

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# Any installation of Node.js will do, not only Debian's. It builds the pages in web/ and runs
# one of the tests' servers.
if ! { command -v node && command -v npm; } >/dev/null; then
  wanted+=("${web[@]}")
fi

install_packages() {
  ((${#wanted[@]} > 0)) || return 0
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian or Ubuntu. Going on with what is here; needed are (by Debian's names):" >&2
    printf '  %s\n' "${wanted[*]}" >&2
    return
  fi
  local missing=()
  for package in "${wanted[@]}"; do
    installed "$package" || [[ "$package" == chromium && -n "$(has_browser)" ]] || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    echo "All ${#wanted[@]} packages are installed."
    return
  fi

  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "These packages are missing; install them as root:" "  apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  if [[ " ${missing[*]} " == *" chromium "* ]]; then
    "${as_root[@]}" apt-get update -qq
    apt-cache show chromium >/dev/null 2>&1 || fail \
      "This system has no package \`chromium\` (Ubuntu has it only as a snap, which sees none of our files)." \
      "Install Chrome or Chromium as a .deb, so that \`chromium\` or \`google-chrome\` is on the PATH, and try again."
  fi
  echo "Installing: ${missing[*]}"
  "${as_root[@]}" bash -euo pipefail -s -- "${missing[@]}" <<'ROOT'
    export DEBIAN_FRONTEND=noninteractive
    # The tests start servers of their own, on free ports; the packages must start none on the usual ones.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
      chmod +x /usr/sbin/policy-rc.d
    fi
    apt-get update -qq </dev/null
    apt-get install --yes --quiet --no-install-recommends -o Dpkg::Options::=--force-confold "$@" </dev/null
    if [[ " $* " == *" nginx "* && -d /run/systemd/system ]]; then
      systemctl --quiet disable nginx </dev/null
    fi
ROOT
}

# Finds Chromium under any of the names that the recorder tries.
has_browser() {
  command -v chromium || command -v google-chrome || command -v google-chrome-stable || command -v chromium-browser
}

check_gstreamer() {
  local version
  version="$(pkg-config --modversion gstreamer-1.0 2>/dev/null || true)"
  [[ -n "$version" ]] || fail "GStreamer's development files are missing (pkg-config finds no gstreamer-1.0)."
  if [[ "$(printf '%s\n' 1.22 "$version" | sort --version-sort | head -n 1)" != 1.22 ]]; then
    fail "GStreamer $version is too old: Weir needs 1.22 or newer (Debian 12, Ubuntu 23.04)."
  fi
}

check_node() {
  local have
  have="$(node --version 2>/dev/null || true)"
  [[ -n "$have" ]] && command -v npm >/dev/null || fail "Node.js is missing: the pages in web/ need it, 18 or newer, and npm."
  if [[ "$(printf '%s\n' 18 "${have#v}" | sort --version-sort | head -n 1)" != 18 ]]; then
    fail "Node.js $have is too old: the pages in web/ need 18 or newer."
  fi
}

check_rust() {
  local needed have
  needed="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
  # rustup may have been installed in this very shell.
  if ! command -v cargo >/dev/null && [[ -f "$HOME/.cargo/env" ]]; then
    fail "Rust is installed but not on the PATH. Run:" '  . "$HOME/.cargo/env"'
  fi
  command -v rustc >/dev/null && command -v cargo >/dev/null || fail \
    "Rust is missing: Weir needs $needed or newer. Install it with rustup (https://rustup.rs):" \
    "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" \
    '  . "$HOME/.cargo/env"'
  have="$(rustc --version | cut -d' ' -f2)"
  if [[ "$(printf '%s\n' "$needed" "${have%%-*}" | sort --version-sort | head -n 1)" != "$needed" ]]; then
    fail "Rust $have is too old: Weir needs $needed or newer. Run:" "  rustup update stable"
  fi
}

install_packages
check_node
[[ "$1" != web ]] || exit 0
check_gstreamer
check_rust
if [[ "$1" == test || "$1" == bench ]]; then
  scripts/peers.sh
fi
