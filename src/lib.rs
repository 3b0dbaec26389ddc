//! Featherwire: the gateway through which people use [Featherless.ai](https://featherless.ai). One
//! port serves gRPC, gRPC-Web, Connect and the OpenAI REST shape, and one implementation stands behind
//! all of them.
//!
//! # Data flow
//!
//! ```text
//! gRPC, gRPC-Web ─► grpc ─┐                                          ┌─► grpc ─► gRPC, gRPC-Web
//! and Connect   protobuf  ├─► service ─► admission ─► upstream ─► SSE ─┤   protobuf, and Connect
//! REST ───────────► rest ─┘                                          └─► rest ─► JSON, SSE
//!              JSON                                                        JSON
//! ```
//!
//! A request is one value that goes down; an answer is one value, or one stream, that comes up. The
//! generated protobuf types are the only model, and JSON is a second codec for them. Connect is a
//! form of gRPC here ([`grpc`]), and its JSON is made of protobuf by the descriptors of the contract.
//! The two doors differ in their codec and in the form of their errors, and in nothing else. Dropping
//! a stream gives back all that it holds, first of all the upstream connection.
//!
//! A call has one life cycle: it begins when its head has arrived, and ends once, as finished,
//! failed or cancelled ([`service::call`]).
//!
//! # Layout
//!
//! In reading order:
//!
//! - `proto/` is the contract. `build.rs` makes the messages of [`proto`] from it, and the OpenAPI
//!   document.
//! - [`json`]: JSON as the second codec of these messages. It knows them, and they do not know it.
//!   `build/json_codec.rs` writes the members of each message.
//! - [`descriptors`]: the limit of open files of the process: raised at the start, and logged when
//!   it is reached.
//! - [`error`]: the one error and its table: what each kind is called in gRPC, HTTP and OpenAI's
//!   API.
//! - [`coding`]: gzip, deflate and zstd, for the doors.
//! - `throttle`: at most one line of the log a minute about what happens often.
//! - `tls_client`: the client's side of TLS, except to PostgreSQL (sqlx's) and to collectors of
//!   traces by gRPC (tonic's).
//! - [`offload`]: decoding and encoding of large bodies, off the runtime's workers.
//! - [`workers`]: the threads that serve connections, and what each of them has for itself.
//! - [`upstream`]: Featherless over HTTP: the client, and a streamed answer with exactly one end.
//! - [`store`]: the database: SQLite or PostgreSQL.
//! - [`clock`]: the time of the clock, as the database has it.
//! - [`keys`]: gateway keys: who calls, and what they may.
//! - [`ledger`]: what calls have used: a record of each, and sums by hour and day.
//! - [`cluster`]: one queue for several gateways: its protocol, and the way through Redis.
//! - [`admission`]: decides whose request may use the account's units now.
//! - [`service`]: what each RPC means, for both doors: validation, units, fallbacks, the upstream.
//! - [`grpc`]: the gRPC door to the services.
//! - [`rest`]: the REST door to the services. [`grpc`] compares the two doors, file by file.
//!   `rest::transcode` answers what has no OpenAI shape, such as the administration, by the
//!   `google.api.http` rules of the contract. It sends the pages too: that of the API, and the
//!   playground, which `web/` has and `build/playground.rs` compresses.
//! - [`server`]: the listeners and their TLS, the list of layers, and the drain.
//! - [`emulator`]: the Featherless API on this machine, for trials and tests. It is always reached
//!   over a socket.
//! - [`config`]: every option; [`cli`]: every command; [`build_info`]: which program this is.
//! - [`telemetry`]: the log, the metrics and the traces, all views of one value for each call.
//!
//! # Invariants
//!
//! - Imports point down: `cli → server → {grpc, rest} → service → {keys, admission, upstream,
//!   ledger}`, `{keys, ledger} → store` and `{cli, server, service, admission, keys} → cluster`, and
//!   everyone may import `error`, `proto`, `json`, `config`, `clock`, `coding`, `offload`, `workers`,
//!   `descriptors`, `throttle`, `tls_client` and `telemetry`. No import runs in a circle. The doors know neither each other,
//!   nor `keys`, nor `admission`, nor `upstream`, nor `ledger`. Only `keys`, `ledger` and the
//!   commands know `store`. `service` names neither tonic nor axum, and `upstream` no server.
//! - Only `error` decides with which status an error is answered, only `config` reads the
//!   environment, only `server` orders layers.
//! - All that a call does happens on the worker of its connection ([`workers`]).
//! - No task is spawned for a request. It runs in the task of its connection (HTTP/2: in one that
//!   hyper spawns, which ends with its stream) and ends with it. So does its connection to
//!   upstream. What serves several callers has a task: the refresh of the catalogue and of the
//!   keys, the exchange of budgets with the database, the writer of the ledger, the sender of
//!   traces, the feed of the units, the timers of the queue for units, the limits for a minute and the
//!   circuits that gateways share, and the idle connections of a worker. The exception
//!   is the decoding and encoding of a body of more than [`offload::LARGE_BYTES`]: it runs on a
//!   thread, few of them at once. It goes on if its caller disconnects, and all that it holds is
//!   dropped at its end. So does a statement that adds up calls, because the database does not stop
//!   it either.
//! - The memory that a document takes is counted while it is decoded, in both codecs
//!   ([`proto::bounds`]). The bytes of all requests are counted from when they arrive until they
//!   are dropped ([`service::inflight_bytes`]).
//! - No call waits for the database, except for the lease of a budget of which this gateway has not
//!   enough. Its wait has a limit. No call waits for Redis, except for its units in a cluster,
//!   and except of a key with a limit for a minute that gateways share, for a moment
//!   ([`keys::SharedRates`]).
//! - What a call takes from the budgets of its key is reserved before it goes upstream, and settled
//!   once, at its end. Its record in the ledger says the same.
//! - Nothing per chunk builds a generic value, except for Connect with JSON.
//! - Nothing is retried after a byte of the answer has been sent to the caller.
//! - Keys, prompts and answers are in no log line, in no span and in no error message.

// Both macros panic if the reader has closed the pipe. `cli::output` writes without them.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod admission;
pub mod build_info;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod coding;
pub mod config;
pub mod descriptors;
pub mod emulator;
pub mod error;
pub mod grpc;
pub mod json;
pub mod keys;
pub mod ledger;
pub mod offload;
pub mod proto;
pub mod rest;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
mod throttle;
mod tls_client;
pub mod upstream;
pub mod workers;
