//! Configuration: every option with its flag, its environment variable and its default. Nothing
//! else reads the environment; the doc comments here are what `--help` prints.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::telemetry::Filter;

mod address;
mod dotenv;
mod memory;
mod names;
mod naming;
mod proxy;
mod values;

pub(crate) use address::address;
use address::base_url;
pub use dotenv::Dotenv;
pub use names::Names;
pub use naming::{Alias, AliasList, Glob, MODEL_BYTES_MAX};
use naming::{alias_list, glob};
pub use proxy::proxy;
pub(crate) use values::switch;
use values::{connections, duration, fallback, rate, size, weight};

/// The groups of options in `--help`.
pub(crate) mod heading {
    pub const LISTENING: &str = "Listening";
    pub const CALLERS: &str = "Keys and callers";
    pub const MODELS: &str = "Models and fail-over";
    pub const UNITS: &str = "Units and queue";
    pub const UPSTREAM: &str = "Upstream";
    pub const TIMEOUTS: &str = "Time-outs";
    pub const EMULATOR: &str = "Emulator";
    pub const GATEWAY: &str = "Gateway";
    pub const LOGGING: &str = "Logging";
}

/// How to reach Featherless, and how long to wait for it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::UPSTREAM)]
pub struct Upstream {
    /// The account's API key, from featherless.ai. Prefer the variable (or `.env`): flags show in
    /// process lists
    #[arg(
        long,
        env = "FEATHERLESS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub featherless_api_key: Option<SecretString>,

    /// Where the API is
    #[arg(
        long,
        env = "FEATHERLESS_BASE_URL",
        value_name = "URL",
        default_value = "https://api.featherless.ai/v1",
        value_parser = base_url
    )]
    pub featherless_base_url: reqwest::Url,

    /// The name of your application, sent upstream as `X-Title`
    #[arg(
        long,
        env = "FEATHERWIRE_APP_TITLE",
        value_name = "NAME",
        default_value = "Featherwire"
    )]
    pub app_title: String,

    /// The address of your application, sent upstream as `HTTP-Referer`
    #[arg(long, env = "FEATHERWIRE_APP_URL", value_name = "URL")]
    pub app_url: Option<String>,

    /// Longest wait for a connection to the upstream
    #[arg(
        long,
        env = "FEATHERWIRE_CONNECT_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub connect_timeout: Duration,

    /// Longest wait for the first token of an answer, from when the request is sent; for an answer
    /// that isn't streamed, for its headers
    #[arg(
        long,
        env = "FEATHERWIRE_FIRST_TOKEN_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub first_token_timeout: Duration,

    /// How often to ask again when no model has worked on the request, as when Featherless can't be
    /// reached or has no room: only before anything of the answer has come, and never beyond a
    /// fifth of all traffic. 0 for not at all
    #[arg(
        long,
        env = "FEATHERWIRE_RETRIES",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(..=10)
    )]
    pub retries: u32,

    /// About how long to wait before asking again; twice as long each further time, unless
    /// Featherless says how long
    #[arg(
        long,
        env = "FEATHERWIRE_RETRY_WAIT",
        value_name = "TIME",
        default_value = "250ms",
        value_parser = duration
    )]
    pub retry_wait: Duration,

    /// Longest silence between two pieces of an answer; comments, which some servers send to keep a
    /// connection alive, don't break it
    #[arg(
        long,
        env = "FEATHERWIRE_IDLE_TIMEOUT",
        value_name = "TIME",
        default_value = "60s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub idle_timeout: Duration,
}

/// How to serve.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::CALLERS)]
pub struct Serve {
    /// Address and port of the one listener: gRPC, gRPC-Web and REST
    #[arg(
        long,
        env = "FEATHERWIRE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000",
        value_parser = address,
        help_heading = heading::LISTENING
    )]
    pub listen: SocketAddr,

    /// Answer from the built-in emulator: no key, no network, no cost
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR",
        value_parser = switch,
        help_heading = heading::EMULATOR
    )]
    pub emulator: bool,

    /// Keys that callers must show, comma-separated, such as `gw_live_…`. Without any, everybody is
    /// let in, and only a loopback address is listened on. Prefer the variable (or `.env`): flags
    /// show in process lists
    #[arg(
        long,
        env = "FEATHERWIRE_API_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        value_delimiter = ','
    )]
    pub api_keys: Vec<SecretString>,

    /// Web pages of these origins may call from a browser, comma-separated, `*` for any. Unset: any
    /// if callers need a key, else those on this machine
    #[arg(
        long,
        env = "FEATHERWIRE_CORS_ORIGINS",
        value_name = "ORIGINS",
        value_delimiter = ',',
        value_parser = address::origin
    )]
    pub cors_origins: Vec<String>,

    /// Largest request
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_REQUEST_BYTES",
        value_name = "SIZE",
        default_value = "32MiB",
        value_parser = size
    )]
    pub max_request_bytes: ByteSize,

    /// Largest sum of all requests that have come and are not upstream yet, those among them that
    /// wait for units; beyond it calls get the error `too_many_request_bytes`. One request alone
    /// may be larger, up to --max-request-bytes. Unset: a quarter of the memory of the machine, or
    /// of the control group that it runs in
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_INFLIGHT_REQUEST_BYTES",
        value_name = "SIZE",
        value_parser = size
    )]
    pub max_inflight_request_bytes: Option<ByteSize>,

    /// Ask upstream for a stream even when the caller wants a whole chat answer, and add it up: a
    /// long silent call dies behind the upstream's front end after about 100 s. A call may say
    /// otherwise by the header or metadata `x-featherwire-unary-via-stream: true` or `false`
    #[arg(
        long,
        env = "FEATHERWIRE_UNARY_VIA_STREAM",
        value_parser = switch,
        help_heading = heading::MODELS
    )]
    pub unary_via_stream: bool,

    /// Longest wait for a caller who doesn't read its answer; its stream (HTTP/2) or connection is
    /// then closed
    #[arg(
        long,
        env = "FEATHERWIRE_WRITE_TIMEOUT",
        value_name = "TIME",
        default_value = "2m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub write_timeout: Duration,

    /// How long a connection may have no call open before it is closed; over HTTP/2 its client is
    /// told first (GOAWAY). A connection on which no call has shown a gateway key has 30 seconds at
    /// most
    #[arg(
        long,
        env = "FEATHERWIRE_IDLE_CONNECTION_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub idle_connection_timeout: Duration,

    /// How many connections may be open on which no call has shown a gateway key yet, but no more
    /// than a quarter of the file descriptors. Beyond it, the one that has been idle for the
    /// longest is closed
    #[arg(
        long,
        env = "FEATHERWIRE_UNAUTHENTICATED_CONNECTIONS",
        value_name = "N",
        default_value_t = 1024,
        value_parser = connections
    )]
    pub unauthenticated_connections: usize,

    /// How long running answers may go on after SIGTERM or Ctrl-C; then they end with the error
    /// `draining`
    #[arg(
        long,
        env = "FEATHERWIRE_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "30s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub drain_timeout: Duration,

    /// The upstream.
    #[command(flatten)]
    pub upstream: Upstream,

    /// Its models.
    #[command(flatten)]
    pub models: Models,

    /// The account's units.
    #[command(flatten)]
    pub units: Units,

    /// The built-in emulator.
    #[command(flatten)]
    pub pace: EmulatorPace,
}

/// How to share out the account's concurrency units.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::UNITS)]
pub struct Units {
    /// The concurrency units that this gateway may use at a time; 0 for no bound. Unset: what the
    /// account's plan has, less what other processes use, as Featherless tells all the time
    #[arg(long, env = "FEATHERWIRE_UNITS", value_name = "N")]
    pub units: Option<u32>,

    /// How many calls may wait for units
    #[arg(
        long,
        env = "FEATHERWIRE_QUEUE_LIMIT",
        value_name = "N",
        default_value_t = 10_000
    )]
    pub queue_limit: usize,

    /// Longest wait for units
    #[arg(
        long,
        env = "FEATHERWIRE_QUEUE_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub queue_timeout: Duration,

    /// The shares of the gateway keys when units are short, comma-separated, in the order of the
    /// keys; 1 for those not named
    #[arg(
        long,
        env = "FEATHERWIRE_KEY_WEIGHTS",
        value_name = "WEIGHTS",
        value_delimiter = ',',
        value_parser = weight
    )]
    pub key_weights: Vec<u32>,
}

/// What to do when models fail. The default does nothing.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::MODELS)]
pub struct Models {
    /// Other models that answer when this one fails before the caller has seen anything of its
    /// answer: no capacity, cold, silent, broken, gated, not on the plan, or the context too long.
    /// In order; may be given more than once (in the variable: with semicolons between). A call's
    /// own list, in the header or metadata `x-featherwire-fallback`, counts instead
    #[arg(
        long = "fallback",
        env = "FEATHERWIRE_FALLBACKS",
        value_name = "MODEL=OTHER,…",
        value_delimiter = ';',
        value_parser = fallback
    )]
    pub fallbacks: Vec<Fallback>,

    /// Longest wait for the first token (or the headers) of a model that another one follows, if
    /// that is shorter than `--first-token-timeout`. The default is a little less than the time
    /// after which Featherless's front end ends silent calls, so that it gives up nothing that
    /// would have come
    #[arg(
        long,
        env = "FEATHERWIRE_FALLBACK_FIRST_TOKEN_TIMEOUT",
        value_name = "TIME",
        default_value = "90s",
        value_parser = duration
    )]
    pub fallback_first_token_timeout: Duration,

    /// Other names for models: shown in lists, and taken wherever a model's id is. May be given
    /// more than once (in the variable: with commas or semicolons between)
    #[arg(
        long = "alias",
        env = "FEATHERWIRE_ALIASES",
        value_name = "NAME=MODEL",
        value_parser = alias_list
    )]
    pub aliases: Vec<AliasList>,

    /// The models that lists, searches and suggestions show, besides the aliases: ids with `*` for
    /// any text and `?` for any character, comma-separated. Others can be asked for all the same.
    /// Unset: all
    #[arg(
        long = "expose-models",
        env = "FEATHERWIRE_EXPOSE_MODELS",
        value_name = "GLOB,…",
        value_delimiter = ',',
        value_parser = glob
    )]
    pub expose_models: Vec<Glob>,

    /// After so many failures in a row, a model is left alone for a while, and calls for it go to
    /// their fallbacks or fail at once; 0 for never
    #[arg(
        long,
        env = "FEATHERWIRE_CIRCUIT_FAILURES",
        value_name = "N",
        default_value_t = 5
    )]
    pub circuit_failures: u32,

    /// How long a model is left alone before it's tried again; twice as long after each try that
    /// fails, up to 2 minutes
    #[arg(
        long,
        env = "FEATHERWIRE_CIRCUIT_WAIT",
        value_name = "TIME",
        default_value = "15s",
        value_parser = duration
    )]
    pub circuit_wait: Duration,
}

/// A model, and those that may answer in its place.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The model that is asked for.
    pub model: String,
    /// Those that may answer instead, in order.
    pub others: Vec<String>,
}

/// How the emulator behaves, wherever it runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::EMULATOR)]
pub struct EmulatorPace {
    /// The emulator's tokens per second; 0 for as fast as possible
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND",
        value_name = "RATE",
        default_value_t = 40.0,
        value_parser = rate
    )]
    pub tokens_per_second: f64,

    /// The emulator's concurrency units; 0 for no limit
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_UNITS",
        value_name = "N",
        default_value_t = 8
    )]
    pub emulator_units: u32,

    /// The emulator's seed: the same seed and request give the same answer
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_SEED",
        value_name = "N",
        default_value_t = 0
    )]
    pub emulator_seed: u64,

    /// How many made-up models the emulator's catalogue has besides the well-known ones
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_MODELS",
        value_name = "N",
        default_value_t = 0
    )]
    pub emulator_models: usize,

    /// How long a cold model of the emulator takes to load, from the first request for it
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_WARM_AFTER",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration
    )]
    pub emulator_warm_after: Duration,

    /// How long the units of a cancelled request stay in use at the emulator
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR_RELEASE_AFTER",
        value_name = "TIME",
        default_value = "200ms",
        value_parser = duration
    )]
    pub emulator_release_after: Duration,

    /// What is wrong with the emulator's feed of units, its plan or its catalogue, comma-separated,
    /// such as `feed=ping,models=null-entry`; `featherwire emulator --help` lists all
    #[arg(
        long = "emulator-switch",
        env = "FEATHERWIRE_EMULATOR_SWITCHES",
        value_name = "NAME=VALUE,…",
        value_delimiter = ','
    )]
    pub emulator_switches: Vec<crate::emulator::Switch>,
}

/// What to log.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// What to log, to standard error: off, error, warn, info (what `serve` does unless told
    /// otherwise), debug (a line for every call) or trace. For one library: its name and a level,
    /// such as warn,hyper=debug
    #[arg(
        long,
        env = "FEATHERWIRE_LOG",
        value_name = "LEVEL",
        global = true,
        help_heading = heading::LOGGING
    )]
    pub log: Option<Filter>,
}

/// How to reach a running gateway: for the commands that are its clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::GATEWAY)]
pub struct Gateway {
    /// Where the gateway is; http:// may be left out
    #[arg(
        long,
        env = "FEATHERWIRE_GATEWAY",
        value_name = "URL",
        default_value = "http://127.0.0.1:8000",
        value_parser = address::gateway
    )]
    pub gateway: String,

    /// The key to show it. Unset: the first of FEATHERWIRE_API_KEYS
    #[arg(
        long,
        env = "FEATHERWIRE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub api_key: Option<SecretString>,

    #[arg(
        long,
        env = "FEATHERWIRE_API_KEYS",
        hide_env_values = true,
        value_delimiter = ',',
        hide = true
    )]
    api_keys: Vec<SecretString>,
}

impl Serve {
    /// What can't be seen from one option alone.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        if let Some(key) = self
            .api_keys
            .iter()
            .find(|key| !is_header_token(key.expose_secret()))
        {
            let length = key.expose_secret().len();
            return Err(format!(
                "FEATHERWIRE_API_KEYS (--api-keys) has an empty key, or one with a character that \
                 a header can't carry (one of {length} bytes): separate keys by commas alone, use \
                 visible ASCII, and unset the variable to ask for no key; for example \
                 FEATHERWIRE_API_KEYS=gw_live_a,gw_live_b"
            ));
        }
        if self.units.key_weights.len() > self.api_keys.len() {
            return Err(format!(
                "FEATHERWIRE_KEY_WEIGHTS (--key-weights) has {} weights for the {} gateway keys \
                 of FEATHERWIRE_API_KEYS (--api-keys): give at most one for each key, in the \
                 keys' order, such as 3,1",
                self.units.key_weights.len(),
                self.api_keys.len()
            ));
        }
        if self.api_keys.is_empty() && !self.listen.ip().is_loopback() {
            return Err(format!(
                "without gateway keys anybody who can reach {} could spend your Featherless \
                 units, so only loopback addresses are listened on: set \
                 FEATHERWIRE_API_KEYS=gw_live_… (--api-keys; any text that is hard to guess), or \
                 FEATHERWIRE_LISTEN=127.0.0.1:{} (--listen)",
                self.listen,
                self.listen.port()
            ));
        }
        self.models.check()?;
        // The emulator takes the upstream's place, so that nothing of the upstream's configuration
        // is used.
        if self.emulator {
            Ok(())
        } else {
            self.upstream.check()
        }
    }
}

impl Upstream {
    /// What can't be seen from one option alone.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("APP_TITLE", Some(&self.app_title)),
            ("APP_URL", self.app_url.as_ref()),
        ] {
            if value.is_some_and(|value| http::HeaderValue::from_str(value).is_err()) {
                let flag = name.to_lowercase().replace('_', "-");
                return Err(format!(
                    "FEATHERWIRE_{name} (--{flag}) has a line end or another character that a \
                     header can't carry: write it as plain text, such as Featherwire"
                ));
            }
        }
        match self.api_key() {
            Some(key) if !is_header_token(key.expose_secret()) => Err(
                "FEATHERLESS_API_KEY (--featherless-api-key) has a character that a header \
                     can't carry: copy it again, without spaces or line ends"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// The API key, if one is set: `FEATHERLESS_API_KEY=` in an unedited `.env` is none.
    pub fn api_key(&self) -> Option<&SecretString> {
        self.featherless_api_key
            .as_ref()
            .filter(|key| !key.expose_secret().trim().is_empty())
    }
}

impl Gateway {
    /// The key to show the gateway, if any.
    pub fn key(&self) -> Option<&SecretString> {
        self.api_key.as_ref().or(self.api_keys.first())
    }
}

fn is_header_token(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}
