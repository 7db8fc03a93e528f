# The words that people and .ci/run share. Each installs what it needs (Debian, Ubuntu) and can be run again at no cost.

.DEFAULT_GOAL := help
.PHONY: help demo test lint doc bench release install clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## record the clock for 10 s to demo/: MP4, HLS, thumbnails
	@scripts/install.sh demo
	cargo build --locked
	@scripts/demo.sh target/debug/weir

test: ## all tests; they measure real recordings
	@scripts/install.sh test
	cargo test --locked --lib --bins
	cargo test --locked --doc
	cargo test --locked --test it -- --test-threads=1

lint: ## format, clippy, documentation, docker/; warnings are errors
	@scripts/install.sh test
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --features console -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@scripts/lint-docker.sh

bench: ## record the reference pages and measure; writes docs/benchmarks.* (about 20 minutes)
	@scripts/install.sh bench
	cargo bench --locked --bench recordings

release: ## the binary, optimised: target/release/weir
	@scripts/install.sh demo
	cargo build --locked --release

install: release ## the same, into ~/.cargo/bin
	cargo install --locked --path .

clean: ## everything that was built or recorded
	cargo clean
	rm -rf demo bench/out
