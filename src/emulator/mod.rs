//! The Featherless.ai HTTP API, imitated on this machine.
//!
//! Users try the gateway against it without a key or a network; tests use it as the upstream. It is reached over a
//! socket like the real thing and shares no code with the gateway, so that a mistake in one cannot hide in the other.
//!
//! # Layout
//! - the door: `router`, `auth`, `body`, `members` and `sampling` (strict reading), `refusal` (every error)
//! - what it knows: `models`, `made_up`, `catalogue`, `units`, `admission`
//! - what it says: `writer`, `tokenizer`, `tools`, `schema`, `logprobs`, `dice`
//! - how it says it: `beats` (an answer as a series of moments), `delivery` (playing them), `faults`,
//!   `spoiling` and `oddities` (spoiling them)
//! - one file per endpoint: `chat` (with `chat_request`, `message` and `chat_answer`), `completions` (with
//!   `completion_request`), `embeddings`, `tokenize`, `listing`, `account`
//!
//! # Invariants
//! - The same request gives the same text, streamed or not: nothing random, only hashes of what was asked.
//! - Whatever a request holds is dropped with its connection; nothing is spawned on its behalf.

mod account;
mod admission;
mod auth;
mod beats;
mod body;
mod catalogue;
mod chat;
mod chat_answer;
mod chat_request;
mod completion_request;
mod completions;
mod delivery;
mod dice;
mod embeddings;
mod faults;
mod listing;
mod logprobs;
mod made_up;
mod members;
mod message;
mod models;
mod oddities;
mod refusal;
mod router;
mod sampling;
mod schema;
mod spoiling;
mod tokenize;
mod tokenizer;
mod tools;
mod units;
mod writer;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::faults::{FAULTS, Fault};

use self::catalogue::Catalogue;
use self::faults::Attempts;
use self::units::Ledger;

/// How long the accept loop rests after a failed accept, so that a full file table does not become a busy loop.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What a caller may choose about an emulator.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// Pace of generated tokens; 0 is as fast as possible.
    pub tokens_per_second: f64,
    /// The plan's concurrency units; `None` is no cap.
    pub units: Option<u32>,
    /// Varies every generated text.
    pub seed: u64,
    /// Made-up catalogue entries besides the seed models; 22,000 gives a catalogue of the real size.
    pub models: usize,
    /// The only accepted key; `None` accepts any key that is not empty.
    pub api_key: Option<String>,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self { tokens_per_second: 40.0, units: Some(8), seed: 0, models: 0, api_key: None }
    }
}

impl fmt::Debug for EmulatorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written by hand because a derived one would print the key.
        f.debug_struct("EmulatorConfig")
            .field("tokens_per_second", &self.tokens_per_second)
            .field("units", &self.units)
            .field("seed", &self.seed)
            .field("models", &self.models)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .finish()
    }
}

/// Answers on `listener` until `shutdown` completes, then drops every connection, open streams included.
///
/// # Errors
/// None today: trouble with one connection is that connection's alone.
pub async fn serve(
    listener: TcpListener,
    config: EmulatorConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router::routes(Arc::new(Emulator::new(config))));
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            },
        };
        stream.set_nodelay(true).ok();
        // A task per connection, held by the set: dropping the set is what ends open streams.
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
    }
    connections.shutdown().await;
    Ok(())
}

type Shared = Arc<Emulator>;

/// What all requests share.
struct Emulator {
    config: EmulatorConfig,
    catalogue: Catalogue,
    ledger: Arc<Ledger>,
    attempts: Attempts,
    issued_ids: AtomicU64,
}

impl Emulator {
    fn new(config: EmulatorConfig) -> Self {
        Self {
            catalogue: Catalogue::new(config.models, config.seed),
            ledger: Arc::new(Ledger::new(config.units)),
            attempts: Attempts::default(),
            issued_ids: AtomicU64::new(0),
            config,
        }
    }

    /// 32 hexadecimal digits no other answer of this emulator carries.
    fn unique_hex(&self) -> String {
        let count = self.issued_ids.fetch_add(1, Ordering::Relaxed);
        let high = dice::fingerprint(&[&self.config.seed.to_le_bytes(), &count.to_le_bytes()]);
        // The plain count in the low half is what makes the whole unique; mixing keeps it from looking like one.
        format!("{high:016x}{:016x}", dice::mix(count))
    }
}
