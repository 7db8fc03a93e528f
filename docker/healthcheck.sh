#!/usr/bin/env bash
# Succeeds if the service accepts requests: `/healthz` answers 200 on `health_port` of the configuration.
set -euo pipefail
port="${WEIR_HEALTH_PORT:-8080}"
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 _ status _ <&3
echo "$status"
[[ "$status" == 200 ]]
