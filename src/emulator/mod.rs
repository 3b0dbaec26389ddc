//! The Featherless.ai HTTP API, imitated on this machine.
//!
//! Users try the gateway against it without a key or a network; tests use it as the upstream. It is
//! reached over a socket like the real thing and shares no code with the gateway, so that a mistake
//! in one cannot hide in the other.
//!
//! # Layout
//! - the door: `router`, `auth`, `body`, `members` and `sampling` (strict reading), `refusal`
//!   (every error)
//! - what it knows: `models`, `made_up`, `catalogue`, `units`, `admission`, `switches` (and
//!   `control`, which sets them)
//! - what it says: `writer`, `thinking`, `tokenizer`, `tools`, `schema` and `found_schema`,
//!   `logprobs`, `dice`
//! - how it says it: `beats` (an answer as a series of moments), `delivery` (playing them),
//!   `faults` (spoiling them), `line` (the connection)
//! - one file per endpoint: `chat` (with `chat_request`, `message` and `chat_answer`),
//!   `completions` (with `completion_request`), `embeddings`, `tokenize`, `listing`, `account`,
//!   `feed`
//!
//! # Invariants
//! - The same request gives the same text, streamed or not: nothing random, only hashes of what was
//!   asked.
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
mod control;
mod delivery;
mod dice;
mod embeddings;
mod faults;
mod feed;
mod found_schema;
mod line;
mod listing;
mod logprobs;
mod made_up;
mod members;
mod message;
mod models;
mod refusal;
mod router;
mod sampling;
mod schema;
mod switches;
mod thinking;
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

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::faults::{FAULTS, Fault, Group};
pub use self::switches::{SWITCHES, Switch, SwitchValue};

use self::catalogue::Catalogue;
use self::faults::Attempts;
use self::switches::Switches;
use self::units::Ledger;

/// How long the accept loop rests after a failed accept, so that a full file table does not become
/// a busy loop.
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
    /// Made-up catalogue entries besides the seed models; 22,000 gives a catalogue of the real
    /// size.
    pub models: usize,
    /// The only accepted key; `None` accepts any key that is not empty.
    pub api_key: Option<String>,
    /// How long a cold model takes to load, from the first request for it.
    pub warm_after: Duration,
    /// How long the units of a cancelled request stay in use.
    pub release_after: Duration,
    /// The switches that are set at the start.
    pub switches: Vec<Switch>,
}

/// Upstream takes from 5 minutes to an hour.
pub const WARM_AFTER: Duration = Duration::from_secs(300);
/// About as long as upstream takes to notice, and less than the gateway keeps the units of a
/// cancelled request from others.
pub const RELEASE_AFTER: Duration = Duration::from_millis(200);

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            tokens_per_second: 40.0,
            units: Some(8),
            seed: 0,
            models: 0,
            api_key: None,
            warm_after: WARM_AFTER,
            release_after: RELEASE_AFTER,
            switches: Vec::new(),
        }
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
            .field("warm_after", &self.warm_after)
            .field("release_after", &self.release_after)
            .field("switches", &self.switches)
            .finish()
    }
}

/// Answers on `listener` until `shutdown` completes, then drops every connection, open streams
/// included.
///
/// # Errors
/// None today: trouble with one connection is that connection's alone.
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
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            },
        };
        stream.set_nodelay(true).ok();
        // A task per connection, held by the set: dropping the set is what ends open streams.
        connections.spawn(line::converse(stream, router.clone()));
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
    switches: Switches,
    issued_ids: AtomicU64,
}

impl Emulator {
    fn new(config: EmulatorConfig) -> Self {
        let emulator = Self {
            catalogue: Catalogue::new(config.models, config.seed, config.warm_after),
            ledger: Arc::new(Ledger::new(config.units, config.release_after)),
            attempts: Attempts::default(),
            switches: Switches::default(),
            issued_ids: AtomicU64::new(0),
            config,
        };
        for switch in &emulator.config.switches {
            emulator.set(*switch);
        }
        emulator
    }

    fn set(&self, switch: Switch) {
        self.switches
            .set(switch, |units| self.ledger.set_limit(units));
    }

    /// 32 hexadecimal digits no other answer of this emulator carries.
    fn unique_hex(&self) -> String {
        let count = self.issued_ids.fetch_add(1, Ordering::Relaxed);
        let high = dice::fingerprint(&[&self.config.seed.to_le_bytes(), &count.to_le_bytes()]);
        // The plain count in the low half is what makes the whole unique; mixing keeps it from
        // looking like one.
        format!("{high:016x}{:016x}", dice::mix(count))
    }
}
