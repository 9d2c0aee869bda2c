# Sourced by scripts that start a service of their own: `serve NAME=VALUE… -- COMMAND…`, `leave`.
# The service listens on a free port of this machine; settings from outside do not reach it.

work=$(mktemp -d)
service=''
trap 'if [[ -n $service ]]; then kill -KILL "$service" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
for name in $(compgen -e); do
    case $name in SLUICE_* | OPENAI_* | ENABLE_TOKEN_STREAMING | PYTHONPATH) unset "$name" ;; esac
done

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

for program in curl jq; do
    command -v "$program" >/dev/null || fail "this script needs $program, which is not on the PATH"
done

# Sets `base` once the service is ready.
serve() {
    : >"$work/service.log"
    env SLUICE_PORT=0 SLUICE_STORE=memory:// "$@" >"$work/service.log" 2>&1 &
    service=$! base=''
    for ((n = 0; n < 600; n++)); do
        base=$(sed -n 's/^Sluice serves at //p' "$work/service.log")
        if [[ -n $base ]] && curl -sf -m 5 -o "$work/ready" "$base/readyz"; then return; fi
        kill -0 "$service" 2>/dev/null || break
        sleep 0.1
    done
    fail "the service did not start:" "$(<"$work/service.log")"
}

# SIGTERM, which a service answers by leaving properly: exit status 0.
leave() {
    local status=0
    kill -TERM "$service"
    wait "$service" || status=$?
    service=''
    ((status == 0)) || fail "the service left with exit status $status:" "$(<"$work/service.log")"
}
