# What people type. Everything says what it installs before it does, and runs as root or by sudo.
.PHONY: help deps test check fix guest dist-docs python test-python test-python-cluster clean

CARGO ?= cargo
# Debian's own: the packages that deps installs are for it.
PYTHON ?= /usr/bin/python3

help:
	@echo "make test    install what is missing, then fmt, clippy, the house's walls and all tests"
	@echo "make check   the same without the tests; never writes"
	@echo "make fix     format"
	@echo "make guest   build the little guest into target/guest"
	@echo "make dist-docs  man pages and completions of all programs, into target/dist"
	@echo "make python  make the Python package's generated part, python/pvc/v1"
	@echo "make test-python          the Python client's tests"
	@echo "make test-python-cluster  the same client against the cluster of PVC_CONNECTION, or of the default connection"

deps:
	scripts/install-deps.sh build run test

check: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) xtask layers
	$(CARGO) xtask parity

test: check test-python
	$(CARGO) test --workspace --all-features --locked

fix:
	$(CARGO) fmt --all

guest: deps
	$(CARGO) run --release -p pvc-bootstrap -- guest build target/guest

dist-docs: deps
	$(CARGO) run -q -p xtask --features dist --locked -- dist

python: deps
	$(PYTHON) python/generate.py

test-python: python
	cd python && $(PYTHON) -m unittest discover -t . -s tests

test-python-cluster: python
	cd python && $(PYTHON) -m unittest -v tests.live_cluster

clean:
	$(CARGO) clean
