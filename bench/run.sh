#!/usr/bin/env bash
# Measures the release binary; writes bench/out/results.json and prints the table of docs/BENCH.md.
# Usage: bench/run.sh [SIZE...]   sizes: 20 1000 10000 (all by default)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --bin jarvis
npm ci --prefix tests/socketio --silent </dev/null
exec node bench/bench.mjs "$@"
