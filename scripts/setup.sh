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
if [ "$1" = test ]; then
  command -v node >/dev/null || die "node is missing: install Node.js 20 or newer"
  [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || die "node $(node --version) is too old: 20 or newer is needed"
  command -v npm >/dev/null || missing+=(npm)
  command -v sqlite3 >/dev/null || missing+=(sqlite3)
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
