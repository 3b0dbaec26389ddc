//! The Featherless.ai HTTP API, emulated on this machine. With the emulator, users try the gateway
//! without a key or a network, and tests have an upstream. The gateway reaches the emulator over a
//! socket, like the real API. The two share no code, so that a mistake in one cannot be hidden by
//! the same mistake in the other.
//!
//! # Layout
//! - the requests: `router`, `auth`, `body`, `members` and `sampling` (strict parsing), `refusal`
//!   (every error)
//! - the state (`state`): `models`, `generated_models`, `catalogue`, `units`, `admission`,
//!   `switches` (and `control`, which sets them)
//! - the text of answers: `writer`, `reasoning`, `tokenizer`, `tools`, `schema` and
//!   `schema_from_prompt`, `logprobs`, `seeded_rng`
//! - the transport of answers: `steps` (an answer as a series of steps), `delivery` (which sends
//!   them), `faults` (which change them), `connection`
//! - one file per endpoint: `chat` (with `chat_request`, `message` and `chat_answer`),
//!   `completions` (with `completion_request`), `embeddings`, `tokenize`, `listing`, `account`,
//!   `feed`
//!
//! # Invariants
//! - The same request and the same seed give the same text, streamed or not. All variation comes
//!   from hashes of the request and the seed.
//! - Everything that a request holds is dropped with its connection. A request spawns no task.

mod account;
mod admission;
mod auth;
mod body;
mod catalogue;
mod chat;
mod chat_answer;
mod chat_request;
mod completion_request;
mod completions;
mod config;
mod connection;
mod control;
mod delivery;
mod embeddings;
mod endpoint_faults;
mod exchange;
mod faults;
mod feed;
mod generated_models;
mod listing;
mod logprobs;
mod members;
mod message;
mod models;
mod reasoning;
mod refusal;
mod router;
mod sampling;
mod schema;
mod schema_from_prompt;
mod seeded_rng;
mod state;
mod steps;
mod switches;
mod tokenize;
mod tokenizer;
mod tools;
mod units;
mod writer;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::config::{EmulatorConfig, RELEASE_AFTER, WARM_AFTER};
pub use self::faults::{FAULTS, Fault, Group};
pub use self::switches::{SWITCHES, Switch, SwitchValue};

use self::state::Emulator;

/// How long the accept loop pauses after a failed accept. Without the pause, a full file table
/// would make it a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers on `listener` until `shutdown` completes, then drops every connection, open streams
/// included.
///
/// # Errors
/// None today. A problem with one connection ends only that connection.
pub async fn serve(
    listener: TcpListener,
    config: EmulatorConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router::routes(Arc::new(Emulator::new(config)));
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        stream.set_nodelay(true).ok();
        // A task per connection. Dropping the set ends open streams.
        connections.spawn(connection::serve(stream, router.clone()));
    }
    connections.shutdown().await;
    Ok(())
}
