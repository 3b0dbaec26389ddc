//! What answers at the URL, if it is not what the URL says: a server with TLS or without, or another
//! kind of Redis. Otherwise the operator reads only that a server does not answer, or which command it
//! does not know.

use std::{sync::Arc, time::Duration};

use redis::RedisConnectionInfo;
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use super::{
    open::{Connection, credentials, field},
    problem::{Problem, ProblemKind},
};
use crate::{
    config::{RedisHost, RedisKind, RedisUrl},
    tls_client,
};

/// The longest time for all of this.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// What each Redis answers, with a password or without. It has no secret.
const PING: &[u8] = b"PING\r\n";

/// How answers to [`PING`] begin: with a word, or with an error.
const STARTS_OF_ANSWER: &[u8] = b"+-";

/// How records of TLS begin: a handshake, or an alert.
const STARTS_OF_TLS: &[u8] = &[0x16, 0x15];

/// Which kind of Redis a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerKind {
    Single,
    Sentinel,
    Cluster,
}

impl ServerKind {
    /// By the answer to `INFO server`.
    pub(super) fn of(information: &str) -> Option<Self> {
        match field(information, "redis_mode")? {
            "standalone" => Some(Self::Single),
            "sentinel" => Some(Self::Sentinel),
            "cluster" => Some(Self::Cluster),
            _ => None,
        }
    }

    /// The problem if the URL says another kind.
    pub(super) fn problem(self, url: &RedisUrl, host: &RedisHost) -> Problem {
        let (what, rest) = match self {
            Self::Single => ("a single Redis", ""),
            Self::Sentinel => (
                "a Sentinel",
                " and end with /SERVICE, the name of the service",
            ),
            Self::Cluster => ("a node of a Redis Cluster", ""),
        };
        let scheme = scheme(self, url.has_tls);
        let what =
            format!("the server at {host} is {what}, so the URL must begin with {scheme}{rest}");
        Problem::new(url, ProblemKind::NotRedis, &what)
    }
}

/// The kind that the URL says.
fn expected(url: &RedisUrl) -> ServerKind {
    match url.kind {
        RedisKind::Single => ServerKind::Single,
        RedisKind::Sentinel { .. } => ServerKind::Sentinel,
        RedisKind::Cluster => ServerKind::Cluster,
    }
}

fn scheme(kind: ServerKind, has_tls: bool) -> &'static str {
    match (kind, has_tls) {
        (ServerKind::Single, false) => "redis://",
        (ServerKind::Single, true) => "rediss://",
        (ServerKind::Sentinel, false) => "redis-sentinel://",
        (ServerKind::Sentinel, true) => "rediss-sentinel://",
        (ServerKind::Cluster, false) => "redis-cluster://",
        (ServerKind::Cluster, true) => "rediss-cluster://",
    }
}

/// The reason of `problem`, if it is what answers at the URL. Otherwise `problem`.
pub(super) async fn reason(url: &RedisUrl, problem: Problem) -> Problem {
    use ProblemKind as Kind;
    let (has_kind, has_tls) = match problem.kind() {
        Kind::Unreachable => (false, true),
        Kind::NotRedis => (true, true),
        Kind::Other => (true, false),
        // A Sentinel takes no password.
        Kind::AccessDenied => (url.kind == RedisKind::Single, false),
        Kind::TooOld | Kind::TooLarge => (false, false),
    };
    // One server that is silent must leave time for the others, and one look for the other one.
    let looks = u32::try_from(url.hosts.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(2);
    let share = LOOK_TIMEOUT / looks.max(1);
    for host in &url.hosts {
        if has_kind && let Ok(Some(reason)) = timeout(share, look_at_kind(url, host)).await {
            return reason;
        }
        if has_tls && let Some(reason) = look_at_tls(url, host, share).await {
            return reason;
        }
    }
    problem
}

/// A problem if the server has TLS and the URL says that it has none, or the other way round. None
/// if it takes both: then it is something else. Waits for `share` at most.
async fn look_at_tls(url: &RedisUrl, host: &RedisHost, share: Duration) -> Option<Problem> {
    let hello = client_hello(host)?;
    let (plain, tls) = tokio::join!(
        timeout(share, first_byte(host, PING)),
        timeout(share, first_byte(host, &hello)),
    );
    let is_one_of = |answer: Result<Option<u8>, Elapsed>, starts: &[u8]| {
        answer.is_ok_and(|first| first.is_some_and(|first| starts.contains(&first)))
    };
    let takes_plain = is_one_of(plain, STARTS_OF_ANSWER);
    let takes_tls = is_one_of(tls, STARTS_OF_TLS);
    let what = match (url.has_tls, takes_plain, takes_tls) {
        (true, true, false) => "does not speak TLS",
        (false, false, true) => "speaks TLS",
        _ => return None,
    };
    let scheme = scheme(expected(url), !url.has_tls);
    let what = format!("the server at {host} {what}, so the URL must begin with {scheme}");
    Some(Problem::new(url, ProblemKind::NotRedis, &what))
}

/// The first byte that the server answers to `question`.
async fn first_byte(host: &RedisHost, question: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect((host.host.as_str(), host.port))
        .await
        .ok()?;
    stream.write_all(question).await.ok()?;
    stream.read_u8().await.ok()
}

/// The first message of a handshake.
fn client_hello(host: &RedisHost) -> Option<Vec<u8>> {
    let config = tls_client::config(tls_client::Trust::Nothing).ok()?;
    let config = Arc::new(config.with_no_client_auth());
    let name = ServerName::try_from(host.host.clone()).ok()?;
    let mut connection = ClientConnection::new(config, name).ok()?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).ok()?;
    Some(hello)
}

/// A problem if the server is of another kind than the URL says.
async fn look_at_kind(url: &RedisUrl, host: &RedisHost) -> Option<Problem> {
    let without = RedisConnectionInfo::default;
    let users = match url.kind {
        // The password is that of the primary.
        RedisKind::Sentinel { .. } => vec![without()],
        RedisKind::Single => vec![without()],
        RedisKind::Cluster => vec![credentials(url), without()],
    };
    for user in users {
        let opened = Connection::server(url, host, user, LOOK_TIMEOUT).await;
        let Ok(mut connection) = opened else {
            continue;
        };
        let Ok(information) = connection.information("server").await else {
            continue;
        };
        return ServerKind::of(&information)
            .filter(|kind| *kind != expected(url))
            .map(|kind| kind.problem(url, host));
    }
    None
}
