#!/bin/bash
# Machines of your own: `start.sh head` on one, `start.sh worker HEAD` on the others; see README.md.
set -euo pipefail

role=${1:-}
port=${RAYNAS_PORT:-6379}
token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
export RAY_AUTH_MODE=token

case $role in
head)
    # Ray's jobs API runs any command it is sent: a token guards it, and it listens on loopback only.
    [ -s "$token" ] || ray get-auth-token --generate >/dev/null
    chmod 600 "$token"
    ray start --head --port="$port" --dashboard-host=127.0.0.1 --disable-usage-stats
    ;;
worker)
    if [ "$#" -ne 2 ]; then
        echo "usage: $0 worker HEAD" >&2
        exit 2
    fi
    if [ ! -s "$token" ]; then
        echo "$0: no token at $token: scp $2:.ray/auth_token $token" >&2
        exit 2
    fi
    ray start --address="$2:$port" --disable-usage-stats
    ;;
*)
    echo "usage: $0 head | worker HEAD" >&2
    exit 2
    ;;
esac
