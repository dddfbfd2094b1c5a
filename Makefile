# The two commands of the README are `make demo` and `make test`; the others are for daily work.
.PHONY: demo test check bench fmt swarm chaos mutants web screenshots

# No cluster needed: a simulated one on loopback, and Jarvis watching it.
demo:
	./scripts/setup.sh build
	./scripts/web.sh
	cargo run --locked --bin jarvis -- demo

# The page, into web/dist, from where the next build of the binary takes it.
web:
	./scripts/setup.sh build
	./scripts/web.sh

# Everything that CI runs; installs what it needs.
test:
	./scripts/setup.sh test
	./scripts/web.sh
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	node scripts/tests.mjs
	./tests/socketio/run.sh
	./tests/page/run.sh
	./tests/clients/run.sh
	./bench/load/run.sh --check

# Every screen of the page in the demo, light, dark and on a phone, into target/screenshots.
screenshots:
	./scripts/setup.sh test
	./scripts/web.sh
	./tests/page/run.sh screenshots

# Seconds, while working.
check:
	cargo fmt --check
	cargo clippy -p engine -p pve --all-targets --locked -- -D warnings
	cargo test -p engine -p pve --locked

# A million faults: random clusters, operators, HA, backups, failing calls and kills, judged by the truth; every call of
# every scenario failing in every way; and every state that small clusters can reach.
swarm:
	SWARM_FAULTS=1500000 cargo test --locked --release -p sim --test swarm -- --nocapture
	EACH_CALL=all cargo test --locked --release -p sim --test each_call -- --nocapture
	MODEL=large cargo test --locked --release -p sim --test model -- --nocapture

# Deaths at random moments, while a guest is started again.
chaos:
	CHAOS_ROUNDS=100 cargo test --locked -p daemon --test kill_points -- --nocapture

# Each decision and guardrail changed on purpose, one change after the other: the engine's tests must see it. What goes on
# for ever was seen too (status 3). The list of all is in target/mutants.
mutants:
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 cargo mutants -p engine --no-shuffle -o target/mutants || test $$? -eq 3

# The figures of docs/BENCH.md: the release binary as its own process against the simulator.
bench:
	./scripts/setup.sh test
	./bench/run.sh

fmt:
	cargo fmt
