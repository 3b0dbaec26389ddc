//! What can go wrong with Redis, in words for the owner of the gateway.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use secrecy::ExposeSecret;

use crate::config::RedisUrl;

/// The largest part of a message of Redis that is repeated, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// An error of Redis. `Display` says what happened and what to do. It contains no password.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    message: String,
}

/// The kind of an error of Redis. It tells who can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It cannot be reached, or cannot do its work now. Later it may.
    Unreachable,
    /// It refuses the user or the password, or does not allow the user to do what is needed.
    AccessDenied,
    /// Its version is too old.
    TooOld,
    /// It is something else than Redis, or not the kind of Redis that the URL says.
    NotRedis,
    /// A message is longer than allowed. Nothing was sent.
    TooLarge,
    /// Its answer is unexpected: a bug, or a Redis that others use in the same way.
    Other,
}

impl ProblemKind {
    /// Whether it may pass without anybody doing something.
    pub fn is_transient(self) -> bool {
        self == Self::Unreachable
    }

    /// What to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "Check that it runs, and FEATHERWIRE_REDIS_URL (--redis-url)",
            Self::AccessDenied => {
                "Check the user, the password and what the user may do in FEATHERWIRE_REDIS_URL \
                 (--redis-url)"
            }
            Self::TooOld => {
                "Use Redis 6.2 or newer, or Valkey, and set FEATHERWIRE_REDIS_URL (--redis-url)"
            }
            Self::NotRedis => "Correct FEATHERWIRE_REDIS_URL (--redis-url)",
            Self::TooLarge | Self::Other => "",
        }
    }
}

impl Problem {
    pub(super) fn new(url: &RedisUrl, kind: ProblemKind, what: &str) -> Self {
        let what = what.trim_end_matches('.');
        let message = match kind.advice() {
            "" => format!("{url}: {what}"),
            advice => format!("{url}: {what}. {advice}"),
        };
        Self { kind, message }
    }

    /// An error of the client or of Redis.
    pub(super) fn of(url: &RedisUrl, error: &RedisError) -> Self {
        let (kind, what) = described(error);
        Self::new(url, kind, &without_password(url, what))
    }

    /// An error before the connection was usable: what is no Redis may answer anything.
    pub(super) fn of_opening(url: &RedisUrl, error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::not_redis(url),
            ErrorKind::Server(ServerErrorKind::ResponseError) if is_database(error) => Self::new(
                url,
                ProblemKind::NotRedis,
                "it has no database with the number in the URL",
            ),
            _ => Self::of(url, error),
        }
    }

    pub(super) fn not_redis(url: &RedisUrl) -> Self {
        Self::new(url, ProblemKind::NotRedis, "what answers there is no Redis")
    }

    /// Its kind.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Whether a connection on which the error occurred must be replaced. After a timeout it may be
/// dead without a sign. A server that only reads was replaced as the primary.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Io
                | ErrorKind::Parse
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}

/// Whether a stream or a script is refused because the user may not use it.
fn described(error: &RedisError) -> (ProblemKind, String) {
    use ServerErrorKind as Server;
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => {
            (ProblemKind::Unreachable, "it does not answer".to_owned())
        }
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => {
            (ProblemKind::Unreachable, shortened(&error.to_string()))
        }
        ErrorKind::AuthenticationFailed => (
            ProblemKind::AccessDenied,
            "it refuses the user or the password".to_owned(),
        ),
        ErrorKind::Server(Server::NoPerm) => (
            ProblemKind::AccessDenied,
            "the user may not do what is needed: the commands of hashes, sorted sets, streams and \
             scripts, for the keys featherwire:*"
                .to_owned(),
        ),
        ErrorKind::Server(Server::Moved | Server::Ask | Server::CrossSlot) => (
            ProblemKind::NotRedis,
            "it is a node of a Redis Cluster, so the URL must begin with redis-cluster:// or \
             rediss-cluster://"
                .to_owned(),
        ),
        ErrorKind::Server(
            Server::BusyLoading
            | Server::ClusterDown
            | Server::TryAgain
            | Server::MasterDown
            | Server::ReadOnly,
        ) => (ProblemKind::Unreachable, server_says(error)),
        _ => match error.code() {
            Some("NOAUTH") => (
                ProblemKind::AccessDenied,
                "it requires a password".to_owned(),
            ),
            Some("WRONGPASS") => (
                ProblemKind::AccessDenied,
                "it refuses the user or the password".to_owned(),
            ),
            // No memory, no disk, or not enough replicas.
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY") => {
                (ProblemKind::Unreachable, server_says(error))
            }
            _ => (ProblemKind::Other, server_says(error)),
        },
    }
}

/// What the server says, with its code.
fn server_says(error: &RedisError) -> String {
    let code = error.code().unwrap_or_else(|| error.category());
    match error.detail() {
        Some(detail) => shortened(&format!("{code} {detail}")),
        None => shortened(code),
    }
}

fn is_database(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("DB index") || text.contains("database")
}

/// A server that is no Redis may repeat what it was sent.
fn without_password(url: &RedisUrl, text: String) -> String {
    let password = url
        .password
        .as_ref()
        .map(|password| password.expose_secret());
    match password {
        Some(password) => text.replace(password, "…"),
        None => text,
    }
}

fn shortened(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.take(DETAIL_CHARS_MAX).collect()
}
