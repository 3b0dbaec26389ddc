//! What can go wrong with Redis, in words for the owner of the gateway.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use secrecy::ExposeSecret;

use crate::config::{RedisKind, RedisUrl};

/// The largest part of a message of Redis that is repeated, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// An error of Redis. `Display` says what happened and what to do. It contains no password.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    message: String,
    may_be_done: bool,
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
        Self {
            kind,
            message,
            may_be_done: false,
        }
    }

    /// An error of the client or of Redis.
    pub(super) fn of(url: &RedisUrl, error: &RedisError) -> Self {
        let (kind, mut what) = described(error);
        let is_down = error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown);
        if is_down && url.kind == RedisKind::Single {
            what = format!(
                "it is a node of a Redis Cluster, which does not work now ({what}), and whose URL \
                 begins with redis-cluster:// or rediss-cluster://"
            );
        }
        Self::new(url, kind, &repeatable(url, &what))
    }

    /// An error after a command was sent.
    pub(super) fn of_command(url: &RedisUrl, error: &RedisError) -> Self {
        Self {
            may_be_done: may_be_done(error),
            ..Self::of(url, error)
        }
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

    /// Whether Redis may have done what was asked, or may do it later. `false` if it has not got it,
    /// or has refused it.
    pub fn may_be_done(&self) -> bool {
        self.may_be_done
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

/// Whether a command may have run, or may run later, although it has this error. A script that fails
/// in its middle has done the rest.
fn may_be_done(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Server(ServerErrorKind::ResponseError)
    )
}

/// The kind of an error, and what has happened. The text may repeat what was sent.
fn described(error: &RedisError) -> (ProblemKind, String) {
    use ServerErrorKind as Server;
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => {
            (ProblemKind::Unreachable, "it does not answer".to_owned())
        }
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => {
            (ProblemKind::Unreachable, error.to_string())
        }
        ErrorKind::AuthenticationFailed => (
            ProblemKind::AccessDenied,
            "it refuses the user or the password".to_owned(),
        ),
        ErrorKind::Server(Server::NoPerm) => (
            ProblemKind::AccessDenied,
            "the user may not use a command or a key that is needed: the keys are featherwire:*, \
             and docs/scale.md names the commands"
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
        Some(detail) => format!("{code} {detail}"),
        None => code.to_owned(),
    }
}

fn is_database(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("DB index") || text.contains("database")
}

/// What may be repeated of a text of the server or the client: one line, without the password, and
/// not too long. A server that is no Redis may repeat what it was sent.
fn repeatable(url: &RedisUrl, text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control()).collect();
    // Before it is shortened: a part of the password must not stay at the end.
    let visible = match &url.password {
        Some(password) => visible.replace(password.expose_secret(), "…"),
        None => visible,
    };
    visible.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_the_password_is_repeated_wherever_the_text_is_cut() {
        let url: RedisUrl = "redis://:s3cr3t@h".parse().unwrap();
        for before in DETAIL_CHARS_MAX - 8..=DETAIL_CHARS_MAX {
            let text = format!("{}s3cr3t, it says", "x".repeat(before));
            let told = repeatable(&url, &text);
            assert!(!told.contains("s3"), "{told}");
            assert!(told.chars().count() <= DETAIL_CHARS_MAX, "{told}");
        }
    }
}
