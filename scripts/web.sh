#!/usr/bin/env bash
# Builds the page (web/) into web/dist, from where the next build of the binary takes it. Does nothing where nothing has
# changed since; then the binary is not built anew either.
set -euo pipefail
cd "$(dirname "$0")/../web"

# What goes in: every file but what is made of them, and the version of Node.
inputs() {
  node --version
  # The guardrails in words.
  sha256sum ../docs/runbooks.md
  find . \( -path ./node_modules -o -path ./dist -o -name api.types.ts \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}
stamp=$(inputs | sha256sum | cut -d' ' -f1)
if [ -f dist/index.html ] && [ "$(cat dist/.built 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
npm ci --no-fund --no-audit --silent
npm run --silent types
npm run --silent check
npm run --silent build
printf '%s\n' "$stamp" >dist/.built
