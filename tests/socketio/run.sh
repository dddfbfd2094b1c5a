#!/usr/bin/env bash
# The stock Socket.IO client against the server. JARVIS_CMD and JARVIS_PASSWORD choose another one than the example.
set -euo pipefail
cd "$(dirname "$0")"
if [ -z "${JARVIS_CMD:-}" ]; then
  ../../scripts/build.sh
fi
npm ci --no-fund --no-audit --silent
exec npm test --silent
