#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks: `setup.sh build` what the build needs, `setup.sh test` also what the
# tests need. Does nothing where nothing is missing.
set -euo pipefail

die() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

case "${1:-}" in
  build | test) ;;
  *) die "usage: setup.sh build|test" ;;
esac

command -v cargo >/dev/null || die "cargo is missing: install Rust (1.95 or newer) by rustup"
missing=()
command -v cc >/dev/null || missing+=(build-essential)
# The page is built with it.
command -v node >/dev/null || die "node is missing: install Node.js 20.19 or newer"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  die "node $(node --version) is too old: 20.19 or newer is needed"
command -v npm >/dev/null || missing+=(npm)
if [ "$1" = test ]; then
  command -v sqlite3 >/dev/null || missing+=(sqlite3)
  command -v "${CHROMIUM:-chromium}" >/dev/null || missing+=(chromium)
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v python3 >/dev/null || missing+=(python3)
  # Debian's python3 comes without venv's pip.
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; install them, or run this as root once"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq </dev/null
  apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null
fi
