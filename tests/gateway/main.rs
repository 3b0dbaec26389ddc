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
mod announcements;
mod auth;
mod bad_bodies;
mod bad_input;
mod bad_options;
mod bounds;
mod catalogue;
mod chaos;
mod chat;
mod circuits;
mod cli;
mod coding;
mod connections;
mod contract;
#[cfg(target_os = "linux")]
mod descriptors;
mod differential;
mod drain;
mod duplicates;
mod early;
mod emulator;
mod encoding;
mod extra;
mod failed_successes;
mod fallbacks;
mod faults;
mod frames;
mod framing;
mod fuzzing;
mod given_back;
mod half_open;
mod halves;
mod http1;
mod http2;
mod kinds;
mod meanings;
mod models;
mod names;
mod odd_pieces;
mod odd_units;
mod open;
mod openapi;
mod options;
mod output;
mod paths;
mod presence;
mod probes;
mod properties;
mod proxies;
mod reasons;
mod reflection;
mod refusals;
mod reports;
mod retries;
mod security;
mod settings;
mod shapes;
mod slow;
mod stream_paths;
mod streams;
mod support;
mod texts;
mod tls;
mod unary_via_stream;
mod units;
mod unread;
mod upstream;
mod upstream_errors;
mod waiting;
mod workers;
