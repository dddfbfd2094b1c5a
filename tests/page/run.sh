#!/usr/bin/env bash
# The page in a browser against the real binary: `run.sh` tests it, `run.sh screenshots` takes every screen's picture.
set -euo pipefail
cd "$(dirname "$0")"
if [ -z "${JARVIS_BIN:-}" ]; then
  ../../scripts/web.sh
  ../../scripts/build.sh
fi
npm ci --no-fund --no-audit --silent
case "${1:-test}" in
  test) exec npm test --silent ;;
  screenshots) exec node screenshots.mjs ;;
  *)
    echo "usage: run.sh [test|screenshots]" >&2
    exit 2
    ;;
esac
