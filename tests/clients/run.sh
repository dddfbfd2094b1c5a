#!/bin/sh
# Runs clients that are not ours: some against the simulated cluster, one (schemathesis) against the daemon and its own
# OpenAPI document, and the daemon's mails and webhooks against a mail server and a library of others. Everything that it makes lies under target/.
#
#   tests/clients/run.sh          builds the example server, starts it, runs the clients, stops it
#   SIM_ENDPOINTS=... SIM_CA=... SIM_CONTROL=... tests/clients/run.sh     uses a server that runs already
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
clients="$root/tests/clients"
venv="${CLIENTS_VENV:-$root/target/clients-venv}"
work=$(mktemp -d)
server=
mail=
export SIM_OPERATOR="${SIM_OPERATOR:-op@pve!t1=op-secret}" SIM_AUDITOR="${SIM_AUDITOR:-mon@pve!t1=mon-secret}"

finish() {
    if [ -n "$mail" ]; then kill "$mail" 2>/dev/null || true; wait "$mail" 2>/dev/null || true; fi
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if ! cmp -s "$clients/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$clients/requirements.txt"
    cp "$clients/requirements.txt" "$venv/installed.txt"
fi

if [ -z "${SIM_ENDPOINTS:-}" ]; then
    "$root/scripts/build.sh"
    # Ten times as fast as real: a node's death is noticed in 0.8 s.
    "$root/target/debug/examples/serve" --scenario "$clients/scenario.txt" --speed 10 --control 127.0.0.1:0 \
        --token "$SIM_OPERATOR" --token "$SIM_AUDITOR:auditor" --ca-file "$work/ca.pem" \
        >"$work/told.json" </dev/null &
    server=$!
    tries=0
    until [ -s "$work/told.json" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "the simulated cluster did not start" >&2; exit 1; }
        sleep 0.1
    done
    told() { "$venv/bin/python" -c "import json,sys; d=json.load(open('$work/told.json')); print($1)"; }
    SIM_ENDPOINTS=$(told "','.join(d['endpoints'])")
    SIM_CONTROL=$(told "d['control']")
    SIM_CA="$work/ca.pem"
fi
if [ -z "${JARVIS_BIN:-}" ]; then
    "$root/scripts/build.sh"
    JARVIS_BIN="${CARGO_TARGET_DIR:-$root/target}/debug/jarvis"
fi
export SIM_ENDPOINTS SIM_CONTROL SIM_CA JARVIS_BIN
# It waits most of its minute: for attempts that fail, and for a report to be collected.
"$venv/bin/python" "$clients/mail.py" "$JARVIS_BIN" &
mail=$!
"$venv/bin/python" "$clients/run.py"
"$venv/bin/python" "$clients/api.py" "$JARVIS_BIN"
wait "$mail" || { mail=; exit 1; }
mail=
