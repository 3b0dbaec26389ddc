//! Tests of the whole gateway over real sockets: the real server in this process, in front of the
//! real emulator or of a scripted upstream.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![recursion_limit = "256"]

mod account;
mod account_tables;
mod accounts;
mod admin;
mod aliases;
mod auth;
mod bad_bodies;
mod bad_input;
mod bad_options;
mod bounds;
mod budgets;
mod call_lines;
mod catalogue;
mod chaos;
mod charges;
mod chat;
mod chat_answers;
#[cfg(target_os = "linux")]
mod chat_sessions;
mod circuits;
mod cli;
mod cluster_redis;
mod completions_and_embeddings;
mod configuration_commands;
mod configuration_file;
mod connect;
mod connection_age;
mod connections;
mod contract;
#[cfg(target_os = "linux")]
mod descriptors;
mod differential;
mod drain;
mod duplicates;
mod early_refusals;
mod emulator;
mod extra;
mod failed_successes;
mod fallbacks;
mod faults;
mod following;
mod frames;
mod framing;
#[cfg(target_os = "linux")]
mod full_screen;
mod fuzzing;
mod grpc_compression;
mod half_open;
mod health;
mod http1;
mod http2;
mod http_compression;
mod informational_responses;
mod key_cuts;
mod key_limits;
mod keyless_calls;
mod keys;
mod late_answers;
mod leases;
mod ledger;
mod member_types;
mod metrics;
mod missing_members;
mod models;
mod openapi;
mod options;
mod outages;
mod output;
mod playground;
mod probes;
mod properties;
mod proto_files;
mod proxies;
mod queue_positions;
mod reasons;
mod reflection;
mod refusals;
#[cfg(unix)]
mod reload;
mod replayed_answers;
mod reports;
mod retries;
mod secret_files;
mod secured;
mod security;
mod settings;
mod shapes;
mod slow_requests;
mod stalled_callers;
mod store;
mod stream_paths;
mod streams;
#[cfg(unix)]
mod supervisor;
mod support;
mod surrogates;
#[cfg(target_os = "linux")]
mod terminals;
mod tls;
mod traces;
mod unary_via_stream;
mod unit_reports;
mod units;
mod unknown_paths;
mod unusual_chunks;
mod upstream;
mod upstream_connections;
mod upstream_errors;
mod upstream_outcomes;
mod workers;
