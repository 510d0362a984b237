# What people type. Everything says what it installs before it does, and runs as root or by sudo.
.PHONY: help deps test check fix guest clean

CARGO ?= cargo

help:
	@echo "make test    install what is missing, then fmt, clippy, the house's walls and all tests"
	@echo "make check   the same without the tests; never writes"
	@echo "make fix     format"
	@echo "make guest   build the little guest into target/guest"

deps:
	scripts/install-deps.sh build run test

check: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) xtask layers

test: check
	$(CARGO) test --workspace --all-features --locked

fix:
	$(CARGO) fmt --all

guest: deps
	$(CARGO) run --release -p pvc-bootstrap -- guest build target/guest

clean:
	$(CARGO) clean
