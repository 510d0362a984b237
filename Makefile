# What people type. Everything says what it installs before it does, and runs as root or by sudo.
.PHONY: help demo demo-build demo-down deps test check chaos bench bench-micro bench-failover bench-network figures fix guest dist-docs python test-python test-python-cluster test-examples clean

CARGO ?= cargo
# Debian's own: the packages that deps installs are for it.
PYTHON ?= /usr/bin/python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
# hosts and guests need root; what is compiled is the user's, also under sudo
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
AS_USER := scripts/as-user.sh

help:
	@echo "make demo         a cluster of three hosts on this machine, with a VM in it; says what it installs before it does"
	@echo "make demo-down    clear that cluster away"
	@echo "make test         install what is missing, then fmt, clippy, the house's walls and all tests"
	@echo "make check        the same without the tests; never writes"
	@echo "make chaos        20,000 more simulated clusters (PVC_SIM_SEEDS: how many; PVC_SIM_FROM: the first seed), 10,000 of the"
	@echo "                  store alone (PVC_STORE_SEEDS), ten minutes of it in real processes (PVC_PROCESSES_SECONDS), 600 power"
	@echo "                  cuts of whole clusters (PVC_POWER_CUTS), the store's tests with Raft's self-validation, the"
	@echo "                  scenarios, and a million simulated hours of nodes (PVC_AGE_HOURS: more than an hour; PVC_NODE_HOURS of"
	@echo "                  whole clusters)"
	@echo "make bench        the store beside Debian's ZooKeeper and etcd; says what it installs. Ends with an error where a goal is missed"
	@echo "make bench-failover"
	@echo "                  let the host of a guest die, 20 times (RUNS), and as often with a dead BMC, and measure until it runs elsewhere"
	@echo "make bench-network"
	@echo "                  client networks on a local cluster with a router upstream: what guests notice of a hand-over, a death, a move"
	@echo "make bench-micro  criterion benches of the parts, held against the last run's"
	@echo "make figures      measure the README's figures on a local cluster"
	@echo "make fix          format"
	@echo "make guest        build the little guest into target/guest"
	@echo "make dist-docs    man pages and completions of all programs, into target/dist"
	@echo "make python       make the Python package's generated part, python/pvc/v1"
	@echo "make test-python  the Python client's tests"
	@echo "make test-python-cluster"
	@echo "                  the same client against the cluster of PVC_CONNECTION, or of the default connection"
	@echo "make test-examples"
	@echo "                  the examples in other languages; needs Node.js, and fetches their packages"

demo-build:
	scripts/install-deps.sh build run
	$(AS_USER) $(CARGO) build --release --locked -p pvc-node -p pvc-network -p pvc-cli -p pvc-bootstrap -p pvc-gateway

demo: demo-build
	$(AS_USER) $(TARGET)/release/pvc-bootstrap guest build $(TARGET)/guest
	$(AS_ROOT) $(TARGET)/release/pvc-bootstrap local demo --guest $(TARGET)/guest

demo-down:
	@test -x $(TARGET)/release/pvc-bootstrap || $(AS_USER) $(CARGO) build --release --locked -p pvc-bootstrap
	$(AS_ROOT) $(TARGET)/release/pvc-bootstrap local down

deps:
	scripts/install-deps.sh build run test

check: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) xtask layers
	$(CARGO) xtask parity

test: check test-python
	$(CARGO) test --workspace --all-features --locked

chaos: deps
	$(CARGO) build --release --locked -p pvc-bare -p pvc-chaos-tests
	$(CARGO) run --release --locked -p pvc-chaos-tests -- seeds \
		--from $(or $(PVC_SIM_FROM),1000) --count $(or $(PVC_SIM_SEEDS),20000) --jobs $(shell nproc)
	$(TARGET)/release/pvc-sim scenarios --jobs $(shell nproc)
	$(TARGET)/release/pvc-sim years --seed $(or $(PVC_YEARS_SEED),1) --node-hours $(or $(PVC_NODE_HOURS),200)
	$(TARGET)/release/pvc-sim ages --seed $(or $(PVC_AGES_SEED),1) --node-hours $(or $(PVC_AGE_HOURS),1000000) --jobs $(shell nproc)
	PVC_POWER_CUTS=$(or $(PVC_POWER_CUTS),600) $(CARGO) test -p raft-store --all-features --locked --profile validate
	$(TARGET)/release/pvc-sim store-seeds \
		--from $(or $(PVC_STORE_FROM),1000) --count $(or $(PVC_STORE_SEEDS),10000) --jobs $(shell nproc)
	$(TARGET)/release/pvc-sim store-calm --seed 1 --seconds 3600
	$(AS_ROOT) $(TARGET)/release/pvc-sim processes \
		--seed $(or $(PVC_PROCESSES_SEED),$(shell date +%s)) --seconds $(or $(PVC_PROCESSES_SECONDS),600)

# BENCH: more arguments, e.g. BENCH='--parts load --rounds 1'
bench:
	scripts/install-deps.sh build run test bench
	$(AS_USER) $(CARGO) build --release --locked -p pvc-bare -p pvc-node -p pvc-benches
	$(AS_ROOT) $(TARGET)/release/pvc-bench --out $(TARGET)/bench.jsonl $(BENCH)

bench-micro: deps
	$(CARGO) bench --locked -p pvc-benches

# RUNS: how many hosts die, and how many with their BMCs
bench-failover: demo-build
	$(AS_USER) $(TARGET)/release/pvc-bootstrap guest build $(TARGET)/guest
	$(AS_ROOT) scripts/failover.py --runs $(or $(RUNS),20) --guest $(TARGET)/guest

# PARTS: only these, with commas between them; RUNS: of hand-overs and cuts
bench-network: demo-build
	scripts/install-deps.sh test
	$(AS_USER) $(TARGET)/release/pvc-bootstrap guest build $(TARGET)/guest
	$(AS_ROOT) scripts/network.py --runs $(or $(RUNS),5) --guest $(TARGET)/guest $(if $(PARTS),--only $(PARTS))

figures: demo-build
	$(AS_ROOT) scripts/figures.sh

fix:
	$(CARGO) fmt --all

guest: deps
	$(AS_USER) $(CARGO) run --release --locked -p pvc-bootstrap -- guest build $(TARGET)/guest

dist-docs: deps
	$(CARGO) run -q -p xtask --features dist --locked -- dist

python: deps
	$(AS_USER) $(PYTHON) python/generate.py

test-python: python
	cd python && ../$(AS_USER) $(PYTHON) -m unittest discover -t . -s tests

test-python-cluster: python
	cd python && $(PYTHON) -m unittest -v tests.live_cluster

test-examples: python
	cd docs/examples/node && ../../../$(AS_USER) npm install --no-package-lock --no-audit --no-fund --ignore-scripts
	cd python && ../$(AS_USER) $(PYTHON) -m unittest -v tests.example_node

clean:
	$(CARGO) clean
