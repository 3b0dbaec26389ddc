//! The options of `featherwire serve`.

use std::{
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{
    account::{self, Account},
    address::{self, address},
    cluster::Cluster,
    database::{Database, DatabaseLocation},
    emulator::EmulatorOptions,
    heading,
    ledger::Ledger,
    memory,
    models::Models,
    tls::{IsLoopback, Tls},
    tracing::Tracing,
    units::Units,
    upstream::Upstream,
    values::{connections, duration, is_header_token, size, switch, workers},
};
use crate::workers::WORKERS_MAX;

/// The options of `featherwire serve`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::CALLERS)]
pub struct Serve {
    /// Address and port of the one listener: gRPC, gRPC-Web, Connect and REST
    #[arg(
        long,
        env = "FEATHERWIRE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000",
        value_parser = address,
        help_heading = heading::LISTENING
    )]
    pub listen: SocketAddr,

    /// Address and port for the administration (`/admin/v1/…` and `featherwire.admin.v1`) and for
    /// `/metrics`, which then answer only there. `/metrics` needs no key there. Unset: at --listen,
    /// like all else
    #[arg(
        long,
        env = "FEATHERWIRE_ADMIN_LISTEN",
        value_name = "ADDRESS",
        value_parser = address,
        help_heading = heading::LISTENING
    )]
    pub admin_listen: Option<SocketAddr>,

    /// Threads that serve connections. Each has its own connections to the upstream. Unset: one for
    /// each core
    #[arg(
        long,
        env = "FEATHERWIRE_WORKERS",
        value_name = "N",
        value_parser = workers,
        help_heading = heading::LISTENING
    )]
    pub workers: Option<usize>,

    /// Answer from the built-in emulator: no key, no network, no cost
    #[arg(
        long,
        env = "FEATHERWIRE_EMULATOR",
        value_parser = switch,
        help_heading = heading::EMULATOR
    )]
    pub emulator: bool,

    /// Keys that callers must send, comma-separated, such as `gw_live_…`. Without keys every caller
    /// is accepted, and the gateway listens only on a loopback address. Prefer the variable (or
    /// `.env`): flags are visible in process lists
    #[arg(
        long,
        env = "FEATHERWIRE_API_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        value_delimiter = ','
    )]
    pub api_keys: Vec<SecretString>,

    /// The origins of web pages that may call from a browser, comma-separated, `*` for any. Unset:
    /// any if callers need a key, otherwise only pages of this machine
    #[arg(
        long,
        env = "FEATHERWIRE_CORS_ORIGINS",
        value_name = "ORIGINS",
        value_delimiter = ',',
        value_parser = address::origin
    )]
    pub cors_origins: Vec<String>,

    /// Count calls and tokens in `/metrics` also for each key, by its name
    #[arg(
        long,
        env = "FEATHERWIRE_METRICS_KEY_LABEL",
        value_parser = switch,
        help_heading = heading::LOGGING
    )]
    pub metrics_key_label: bool,

    /// Largest request
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_REQUEST_BYTES",
        value_name = "SIZE",
        default_value = "32MiB",
        value_parser = size
    )]
    pub max_request_bytes: ByteSize,

    /// Largest sum of all requests in memory that are not sent upstream yet, including those that
    /// wait for units. Beyond it, calls fail with `too_many_request_bytes`. A single request may be
    /// larger, up to --max-request-bytes. Unset: a quarter of the memory of the machine, or of the
    /// control group that the gateway runs in
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_INFLIGHT_REQUEST_BYTES",
        value_name = "SIZE",
        value_parser = size
    )]
    pub max_inflight_request_bytes: Option<ByteSize>,

    /// Request a stream from Featherless also for unary chat answers, and combine its chunks into
    /// one answer. Featherless's front end ends a call that is silent for about 100 s. The header
    /// or metadata `x-featherwire-unary-via-stream` (`true` or `false`) overrides this for one call
    #[arg(
        long,
        env = "FEATHERWIRE_UNARY_VIA_STREAM",
        value_parser = switch,
        help_heading = heading::MODELS
    )]
    pub unary_via_stream: bool,

    /// Longest wait for a caller who does not read the answer. Then its stream (HTTP/2) or
    /// connection is closed
    #[arg(
        long,
        env = "FEATHERWIRE_WRITE_TIMEOUT",
        value_name = "TIME",
        default_value = "2m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub write_timeout: Duration,

    /// Longest time that a connection may be without an open call. Then it is closed, over HTTP/2
    /// after a GOAWAY. For a connection on which no call has sent a gateway key, the limit is at
    /// most 30 seconds
    #[arg(
        long,
        env = "FEATHERWIRE_IDLE_CONNECTION_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub idle_connection_timeout: Duration,

    /// The largest age of a connection, about: it differs by up to a tenth from one connection to
    /// the next. Then it takes no new calls, over HTTP/2 after a GOAWAY, and its client connects
    /// again, perhaps to another instance. Without it, connections have no largest age
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_CONNECTION_AGE",
        value_name = "TIME",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub max_connection_age: Option<Duration>,

    /// Longest time that running answers may continue after `--max-connection-age`. Then they end
    /// with the error `draining`
    #[arg(
        long,
        env = "FEATHERWIRE_MAX_CONNECTION_AGE_GRACE",
        value_name = "TIME",
        default_value = "1h",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub max_connection_age_grace: Duration,

    /// The largest number of open connections on which no call has sent a gateway key yet, and at
    /// most a quarter of the file descriptors. Beyond it, the connection that has been idle the
    /// longest is closed
    #[arg(
        long,
        env = "FEATHERWIRE_UNAUTHENTICATED_CONNECTIONS",
        value_name = "N",
        default_value_t = 1024,
        value_parser = connections
    )]
    pub unauthenticated_connections: usize,

    /// Longest time that running answers may continue after SIGTERM or Ctrl-C. Then they end with
    /// the error `draining`
    #[arg(
        long,
        env = "FEATHERWIRE_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "30s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub drain_timeout: Duration,

    /// The certificates.
    #[command(flatten)]
    pub tls: Tls,

    /// The database with the keys.
    #[command(flatten)]
    pub database: Database,

    /// The records of calls.
    #[command(flatten)]
    pub ledger: Ledger,

    /// The upstream.
    #[command(flatten)]
    pub upstream: Upstream,

    /// The accounts of the configuration file. Empty: the one of [`Serve::upstream`].
    #[arg(skip)]
    pub accounts: Vec<Account>,

    /// The models.
    #[command(flatten)]
    pub models: Models,

    /// The account's units.
    #[command(flatten)]
    pub units: Units,

    /// Several gateways.
    #[command(flatten)]
    pub cluster: Cluster,

    /// The traces.
    #[command(flatten)]
    pub tracing: Tracing,

    /// The built-in emulator.
    #[command(flatten)]
    pub emulator_options: EmulatorOptions,
}

impl Serve {
    /// Checks the options together.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check(&self) -> Result<(), String> {
        if let Some(key) = self
            .api_keys
            .iter()
            .find(|key| !is_header_token(key.expose_secret()))
        {
            let length = key.expose_secret().len();
            return Err(format!(
                "FEATHERWIRE_API_KEYS (--api-keys) has an empty key, or a key with a character \
                 that a header cannot contain (a key of {length} bytes): use visible ASCII without \
                 spaces, and commas between keys, for example \
                 FEATHERWIRE_API_KEYS=gw_live_a,gw_live_b. To require no key, unset the variable"
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
        self.cluster.check(&self.units)?;
        self.models.check()?;
        let admin_listen = self.admin_listen.map(|address| address.ip().is_loopback());
        self.tls.check(admin_listen.map(IsLoopback))?;
        self.tracing.settings()?;
        // The emulator replaces the upstream, so the options of the upstream are not used.
        if self.emulator {
            return Ok(());
        }
        let has_key = self.upstream.api_key().is_some();
        account::check(&self.accounts, has_key, self.units.units.is_some())?;
        self.upstream.check()
    }

    /// Checks the address to listen on, for a gateway that has keys or is open to all callers.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check_listen(&self, is_open: bool) -> Result<(), String> {
        if !is_open || self.listen.ip().is_loopback() {
            return Ok(());
        }
        Err(format!(
            "without gateway keys, everyone who can reach {} could use your Featherless units. \
             Therefore the gateway listens only on a loopback address: create a key with \
             `featherwire keys create`, set FEATHERWIRE_API_KEYS=gw_live_… (--api-keys; any text \
             that is hard to guess), or FEATHERWIRE_LISTEN=127.0.0.1:{} (--listen)",
            self.listen,
            self.listen.port()
        ))
    }

    /// Checks the address of the administration, for a gateway that has an admin key or not.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check_admin_listen(&self, has_admin: bool) -> Result<(), String> {
        match self.admin_listen {
            Some(address) if address == self.listen && address.port() != 0 => Err(format!(
                "FEATHERWIRE_ADMIN_LISTEN (--admin-listen) and FEATHERWIRE_LISTEN (--listen) are \
                 both {address}: choose another port for one of them, or unset the first"
            )),
            Some(address) if !address.ip().is_loopback() && !has_admin => Err(format!(
                "without an admin key, nobody may manage keys from other machines. Therefore the \
                 administration listens only on a loopback address: {}create a key with \
                 `featherwire keys create --admin admin --name NAME`, or set \
                 FEATHERWIRE_ADMIN_LISTEN=127.0.0.1:{} (--admin-listen) instead of {address}",
                match self.database()? {
                    // It is empty at each start.
                    DatabaseLocation::Memory => {
                        "set FEATHERWIRE_DATABASE_URL=sqlite:PATH (--database-url) instead of a \
                         database in memory and "
                    }
                    DatabaseLocation::File(_) | DatabaseLocation::Postgres(_) => "",
                },
                address.port()
            )),
            _ => Ok(()),
        }
    }

    /// Where the database with the keys is.
    ///
    /// # Errors
    /// See [`Database::location`].
    pub fn database(&self) -> Result<DatabaseLocation, String> {
        let Database {
            database_url,
            data_dir,
        } = &self.database;
        if self.emulator && database_url.is_none() && data_dir.is_none() {
            return Ok(DatabaseLocation::Memory);
        }
        self.database.location()
    }

    /// Where records of calls are kept while the database is away. `None` for a database that keeps
    /// nothing itself, and without a place for files.
    pub fn spill_directory(&self) -> Option<PathBuf> {
        match self.database().ok()? {
            DatabaseLocation::Memory => None,
            DatabaseLocation::File(path) => match path.parent() {
                Some(parent) if parent != Path::new("") => Some(parent.to_owned()),
                _ => Some(PathBuf::from(".")),
            },
            DatabaseLocation::Postgres(_) => self.database.directory(),
        }
    }

    /// How many threads serve connections.
    pub fn workers(&self) -> usize {
        let cores = || {
            available_parallelism()
                .map_or(1, NonZero::get)
                .min(WORKERS_MAX)
        };
        self.workers.unwrap_or_else(cores)
    }

    /// The largest sum of the sizes of all requests in memory, in bytes.
    pub fn inflight_request_bytes_max(&self) -> usize {
        let configured = self.max_inflight_request_bytes.map(|max| max.as_u64());
        let bytes = configured.unwrap_or_else(memory::default_for_requests);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}
