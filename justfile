# The everyday commands. `just --list` shows them.

# Serve with the built-in emulator on localhost:8000
serve:
    cargo run -- serve --emulator

# Every test in Rust, offline
test *args:
    cargo test {{args}}

# Formatting, lints and documentation
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --no-deps --locked --document-private-items

# Real clients and the examples of the documents. Only some groups: `just clients python node`
clients *groups:
    tests/clients/run {{groups}}

# Build the playground from web/src into web/dist (Node 20)
web:
    web/build

# What is shipped. Only some groups: `just deploy image helm` (Debian, as root)
deploy *groups:
    tests/deploy/run {{groups}}

# Measure the hot paths
bench *args:
    cargo bench {{args}}

# Measure the gateway beside nginx and other gateways; `--help` lists the options (Linux)
compare *args:
    benches/compare.py {{args}}

# Instructions and allocations of a call under callgrind, held to benches/instructions.txt; `--renew` writes them (Linux)
instructions *args:
    benches/instructions.py {{args}}

# Attack a gateway (Linux)
siege:
    cargo build
    cargo run --example siege

# Load a gateway with calls of every kind (Linux)
soak minutes="10":
    cargo build --release
    cargo run --release --example soak -- {{minutes}}

# Fuzz a decoder with nightly Rust: sse, request, chunk, upstream_error or memory
fuzz target:
    cargo +nightly fuzz run {{target}}

# Renew the contract's baseline after an intended incompatible change (describe it in CHANGELOG.md)
baseline:
    buf build proto --exclude-source-info -o proto/baseline.binpb.gz

# Everything that must pass
ci:
    .ci/run
