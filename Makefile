# The words that people and .ci/run share. Each installs what it needs (Debian, Ubuntu) and can be run again at no cost.

.DEFAULT_GOAL := help
.PHONY: help web demo check test soak bench release install clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# npm's own note of what it installed is as old as node_modules; a page's index.html is as old as all of it.
pages := web/dist/layout/index.html web/dist/console/index.html
test_pages := web/dist-test/publisher/index.html web/dist-test/egress-sdk/index.html
page_sources := $(shell find web/src templates web/*.json web/*.ts -type f)

web: $(pages) ## Build the pages that are embedded in the binary (web/dist)

web/node_modules/.package-lock.json: web/package.json web/package-lock.json web/.npmrc
	@scripts/install.sh web
	npm --prefix web ci
	@touch $@

$(pages) &: web/node_modules/.package-lock.json $(page_sources)
	npm --prefix web run build
	@touch $(pages)

$(test_pages) &: web/node_modules/.package-lock.json $(page_sources)
	npm --prefix web run build:test
	@touch $(test_pages)

demo: web ## Record the clock for 10 s to demo/: MP4, HLS, thumbnails
	@scripts/install.sh demo
	cargo build --locked
	@scripts/demo.sh target/debug/weir

test: web $(test_pages) ## Run every test but the long ones; T=name: tests with the name in their path
	@scripts/install.sh test
	@scripts/test.sh "$(T)"

soak: web ## Run the tests that take real minutes
	@scripts/install.sh test
	@scripts/test.sh --soak

check: web ## Check format, lints, types, docs, and run the pure unit tests
	@scripts/install.sh check
	@scripts/check.sh

bench: web ## Record the reference pages and update docs/benchmarks.* (about 20 minutes)
	@scripts/install.sh bench
	cargo bench --locked --profile dist --bench recordings

# Cargo's directories; the environment may name others.
target := $(or $(CARGO_TARGET_DIR),target)
bin := $(or $(CARGO_INSTALL_ROOT),$(CARGO_HOME),$(HOME)/.cargo)/bin

release: web ## Build the shipped binary, and weir.debug with its line tables (target/shipped)
	@scripts/install.sh demo
	cargo build --locked --profile dist
	@scripts/split-debug.sh $(target)/dist/weir $(target)/shipped

install: release ## Build the shipped binary and install it into ~/.cargo/bin
	install -D -m 0644 $(target)/shipped/weir.debug $(bin)/weir.debug
	install -D -m 0755 $(target)/shipped/weir $(bin)/weir

clean: ## Remove everything that was built or recorded
	cargo clean
	rm -rf demo bench/out web/dist web/dist-test web/node_modules
