#!/usr/bin/env bash
# Two gateways, two workers, Redis and PostgreSQL on this machine, until Ctrl-C or SIGTERM.
#
#     scripts/cluster.sh              BIN=.venv/bin by default
#     SLUICE_DATABASE=postgresql://…  an existing PostgreSQL; else one of its own is made
#
# Ports are free ones, data is in a temporary folder and gone afterwards. A gateway or a worker
# that ends (kill one!) is told and not started again.
set -euo pipefail
set -m # a process group for each: Ctrl-C reaches this script alone, which stops all in order

cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
folder=$(mktemp -d)
services=() # gateways and workers
stores=()

free_port() {
    "$BIN/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start NAME COMMAND…: its lines come with its name before them. Sets `started` to its id.
start() {
    local name=$1
    shift
    "$@" > >(prefixed "$name") 2>&1 &
    started=$!
}

prefixed() {
    trap '' INT TERM
    awk -v name="$1" '{ printf "%-10s | %s\n", name, $0; fflush() } END { printf "%-10s | has ended\n", name }'
}

# await SECONDS WHAT COMMAND…
await() {
    local seconds=$1 what=$2
    shift 2
    for ((n = 0; n < seconds * 10; n++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "cluster: $what is not ready after $seconds s" >&2
    exit 1
}

# answers ID ADDRESS: the gateway is ready; one that has ended has said why.
answers() {
    kill -0 "$1" || exit 1
    curl --fail --silent "$2/readyz"
}

stop() {
    trap '' INT TERM
    set +e
    end TERM "${services[@]}"
    end INT "${stores[@]}" # to PostgreSQL, TERM means: when the last client has gone
    rm -rf "$folder"
}

# end SIGNAL ID…: and waits for all.
end() {
    local signal=$1
    shift
    (($#)) || return
    kill "-$signal" "$@" 2>/dev/null
    wait "$@" 2>/dev/null
}

start_redis() {
    local port
    if ! command -v redis-server >/dev/null; then
        echo "cluster: there is no redis-server" >&2
        exit 1
    fi
    port=$(free_port)
    start redis redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" \
        --save "" --appendonly no --maxmemory-policy noeviction
    stores+=("$started")
    export SLUICE_STORE=redis://127.0.0.1:$port/0
    await 10 Redis redis-cli -p "$port" ping
}

# The folder of PostgreSQL's programs, which Debian keeps off the path.
postgres_programs() {
    local found
    for found in "$(command -v initdb)" /usr/lib/postgresql/*/bin/initdb; do
        if [[ -x $found ]]; then
            dirname "$(readlink -f "$found")"
            return
        fi
    done
    echo "cluster: there is no initdb; set SLUICE_DATABASE=postgresql://…" >&2
    return 1
}

start_postgres() {
    local port password home=$folder/postgres programs as=()
    programs=$(postgres_programs)
    port=$(free_port)
    password=$("$BIN/python" -c 'import secrets; print(secrets.token_urlsafe())')
    mkdir "$home"
    (umask 077 && echo "$password" >"$home/password")
    if ((EUID == 0)); then # PostgreSQL refuses root
        as=(setpriv --reuid=postgres --regid=postgres --init-groups)
        chmod 711 "$folder"
        chown -R postgres "$home"
    fi
    (cd "$home" && "${as[@]}" "$programs/initdb" --pgdata=data --encoding=UTF8 --no-locale --no-sync \
        --username=sluice --auth=scram-sha-256 --pwfile=password) >/dev/null
    start postgres "${as[@]}" "$programs/postgres" -D "$home/data" -p "$port" -c fsync=off \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200
    stores+=("$started")
    export SLUICE_DATABASE=postgresql://sluice:$password@127.0.0.1:$port/postgres
    await 20 PostgreSQL "$programs/pg_isready" -h 127.0.0.1 -p "$port"
}

trap stop EXIT
trap 'exit 0' INT TERM

start_redis
[[ -n ${SLUICE_DATABASE:-} ]] || start_postgres
export SLUICE_METRICS_PORT=${SLUICE_METRICS_PORT:-0}
for n in 1 2; do
    start "worker-$n" "$BIN/sluice" worker
    services+=("$started")
done
declare -A gateways=() # address by id
for n in 1 2; do
    port=$(free_port)
    start "gateway-$n" "$BIN/sluice" serve --host 127.0.0.1 --port "$port"
    services+=("$started")
    gateways[$started]=http://127.0.0.1:$port
done
for id in "${!gateways[@]}"; do
    await 60 "${gateways[$id]}" answers "$id" "${gateways[$id]}"
done
echo
echo "Any gateway serves any job:"
printf '  %s\n' "${gateways[@]}"
echo "Stop with Ctrl-C."
echo
wait "${services[@]}" || true
