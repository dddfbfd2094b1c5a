#!/usr/bin/env bash
# Many Socket.IO clients at once. Without arguments: ours and Node's server in turn, the table of docs/BENCH.md.
# `run.sh --check`: some hundred for ten seconds, on counts alone; part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Two files per client in all: one here, one there.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"
if [ "${1:-}" = --check ]; then
  ./scripts/build.sh
else
  cargo build --release --locked -p daemon --example serve_events --example socket_load
  npm ci --prefix bench/load --no-fund --no-audit --silent </dev/null
fi
exec node bench/load/run.mjs "$@"
