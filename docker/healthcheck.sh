#!/usr/bin/env bash
# Whether the service takes work: `/healthz` answers 200. The port is that of `health_port` in the configuration.
set -euo pipefail
port="${WEIR_HEALTH_PORT:-8080}"
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 _ status _ <&3
echo "$status"
[[ "$status" == 200 ]]
