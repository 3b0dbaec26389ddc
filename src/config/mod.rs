//! Configuration: every option with its flag, its environment variable and its default. Nothing
//! else reads the environment. The doc comments of the options are what `--help` prints.
//!
//! Each group of options has a file: [`serve`](Serve), [`upstream`](Upstream),
//! [`account`](Account), [`models`](Models), [`units`](Units), [`cluster`](Cluster), [`tls`](Tls),
//! [`emulator`](EmulatorOptions), [`gateway`](Gateway),
//! [`health`](HealthPlace), [`terminal`](ChatHistory), [`tracing`](Tracing) and
//! [`logging`](Logging).

mod account;
mod address;
mod cluster;
mod database;
mod dotenv;
mod emulator;
mod fallback;
mod file;
mod gateway;
pub(crate) mod heading;
mod health;
mod ledger;
mod live;
mod logging;
mod memory;
mod models;
mod names;
mod naming;
mod proxy;
mod redis_url;
pub(crate) mod regular_file;
mod serve;
mod setting;
mod sources;
mod terminal;
mod tls;
mod tls_file;
mod tracing;
mod units;
mod upstream;
mod values;

pub use account::{
    ACCOUNTS_MAX, Account, check as check_accounts, check_account_name, unknown_accounts,
};
pub(crate) use address::address;
pub use cluster::Cluster;
pub use database::{Database, DatabaseLocation};
pub use dotenv::Dotenv;
pub use emulator::EmulatorOptions;
pub use fallback::Fallback;
pub use file::ConfigFile;
pub use gateway::{AdminPlace, Gateway, GatewayTls};
pub use health::HealthPlace;
pub use ledger::Ledger;
pub use live::{AT_RESTART, LIVE, Live, ReloadStatus};
pub use logging::Logging;
pub use models::Models;
pub use names::Names;
pub use naming::{Alias, AliasList, Glob, MODEL_BYTES_MAX};
pub use proxy::proxy;
pub use redis_url::{RedisHost, RedisKind, RedisUrl};
pub use serve::Serve;
pub use setting::{CONFIG_VARIABLE, Kind, Setting, Settings, quoted};
pub use sources::{Environment, Found, Origin, Sources};
pub use terminal::{ChatHistory, allows_colours, is_dumb};
pub use tls::{CertificateKey, CertificateName, IsLoopback, Tls, TlsFiles};
pub use tls_file::TlsFile;
pub(crate) use tls_file::problem_of_pair;
pub use tracing::{Given, SamplerName, TracesExporter, Tracing};
pub use units::Units;
pub use upstream::Upstream;
