#!/usr/bin/env bash
# Builds the programs that the tests outside of cargo run. All of the workspace is selected, as by the tests: features are
# then the same ones, and no library is built a second time for them.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo build --quiet --locked --workspace --bins --examples
