//! Featherwire: the gateway through which people use [Featherless.ai](https://featherless.ai). One
//! port answers gRPC, gRPC-Web and the OpenAI REST shape, and one implementation stands behind all
//! three.
//!
//! # Data flow
//!
//! ```text
//! gRPC, gRPC-Web ─ protobuf ─┐                                          ┌─ protobuf ─► gRPC, gRPC-Web
//!                            ├─► service ─► admission ─► upstream ─► SSE ─┤
//! REST ────────────── JSON ──┘                                          └─ JSON ─────► JSON, SSE
//! ```
//!
//! A request is one value going down; an answer is one stream coming up. The generated protobuf
//! types are the only model, and JSON is a second codec of theirs: the doors differ in codec and in
//! the dialect of their errors, and in nothing else. Dropping a stream gives back all it holds, the
//! upstream connection first of all.
//!
//! # Layout
//!
//! In reading order:
//!
//! - `proto/` is the contract; `build.rs` makes [`proto`] of it, with the JSON codec that
//!   `build/json_codec.rs` writes and [`json`] supports, and the OpenAPI document that describes
//!   both.
//! - [`descriptors`] are the file descriptors of the process: their limit, and what happens at it.
//! - [`error`] is the one error and its table: what each kind is called in gRPC, HTTP and OpenAI's
//!   words.
//! - [`coding`] is compressed data, for the doors that take or give it.
//! - [`offload`] decodes and encodes large bodies, off the runtime's workers.
//! - [`upstream`] is Featherless over HTTP: the client, and a streamed answer with exactly one end.
//! - [`admission`] decides whose request may take the account's units now: a pure queue, driven
//!   from outside.
//! - [`service`] validates, asks upstream and hands the answer up: one file per gRPC service.
//! - [`rest`] is the OpenAI door to the same services.
//! - [`server`] is the listener, the list of layers, and the drain.
//! - [`emulator`] is the Featherless API on this machine, for trials and tests; always reached over
//!   a socket.
//! - [`config`] is every option; [`cli`] every command; [`telemetry`] the log.
//!
//! # Invariants
//!
//! - Imports point down: `cli → server → {rest, service}`, `rest → service → {admission,
//!   upstream}`, everyone → `error`, `proto`, `json`, `coding`, `offload`, `descriptors`. The REST
//!   door never sees the upstream's client; the upstream's client never sees axum or tonic's
//!   server.
//! - Only `error` knows status numbers, only `config` reads the environment, only `server` orders
//!   layers.
//! - No task of ours is spawned for a request: it lives in its connection's task (HTTP/2: in one of
//!   hyper's, which ends with its stream) and dies with it. What serves several callers has a task:
//!   the catalogue's refresh, the units' feed and the clock of those who wait for units. The
//!   exception is the reading and writing of a body of more than [`offload::LARGE_BYTES`]: it runs on
//!   a thread of its own, few of them at once. A caller who leaves doesn't stop it, and all that it
//!   holds goes with its end.
//! - What a document takes in memory is counted while it is decoded, in both codecs
//!   ([`proto::bounds`]); the bytes of all requests are counted from when they arrive to when they
//!   are gone ([`service::bodies`]).
//! - Nothing per chunk builds a generic JSON value.
//! - Nothing is retried once a byte of the answer has gone to the caller.
//! - Keys, prompts and answers are in no log line and in no error message.

// Both panic if nobody reads: `cli::output` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod admission;
pub mod cli;
pub mod coding;
pub mod config;
pub mod descriptors;
pub mod emulator;
pub mod error;
pub mod grpc;
pub mod json;
pub mod offload;
pub mod proto;
pub mod rest;
pub mod server;
pub mod service;
pub mod telemetry;
pub mod upstream;
