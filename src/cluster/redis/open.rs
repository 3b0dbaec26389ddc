//! Opens connections: to one server, to the primary that Sentinels name, or to a Redis Cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    io::tcp::TcpSettings,
};
use secrecy::ExposeSecret;
use socket2::TcpKeepalive;
use tokio::time::timeout;

use super::{
    look::ServerKind,
    problem::{Problem, ProblemKind},
};
use crate::config::{RedisHost, RedisKind, RedisUrl};

/// The longest wait for a connection that can be used.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait for an answer of Redis.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time between two signs of life that the system asks for on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The largest number of commands that wait to be sent on a connection. Further ones wait for room.
const PIPELINE_COMMANDS_MAX: usize = 1024;

/// The oldest version that works: 6.2.
const VERSION_MIN: (u32, u32) = (6, 2);

/// A connection to Redis. Cheap to clone; all clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Server(MultiplexedConnection),
    /// To the nodes of a Redis Cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Opens a connection and checks it. An answer may take `response_timeout`.
    pub(super) async fn open(url: &RedisUrl, response_timeout: Duration) -> Result<Self, Problem> {
        let opening = async {
            let mut connection = Self::open_unchecked(url, response_timeout).await?;
            connection.check(url).await?;
            Ok(connection)
        };
        match timeout(CONNECT_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Problem::new(
                url,
                ProblemKind::Unreachable,
                "it does not answer",
            )),
        }
    }

    async fn open_unchecked(url: &RedisUrl, response_timeout: Duration) -> Result<Self, Problem> {
        let problem = |error: RedisError| Problem::of_opening(url, &error);
        match &url.kind {
            RedisKind::Single => {
                let host = url.hosts.first().ok_or_else(|| Problem::not_redis(url))?;
                Self::server(url, host, credentials(url), response_timeout)
                    .await
                    .map_err(problem)
            }
            RedisKind::Sentinel { service } => {
                let primary = primary(url, service).await?;
                Self::server(url, &primary, credentials(url), response_timeout)
                    .await
                    .map_err(problem)
            }
            RedisKind::Cluster => Self::cluster(url, response_timeout).await.map_err(problem),
        }
    }

    /// To `host` alone, as the user and to the database of `redis`.
    pub(super) async fn server(
        url: &RedisUrl,
        host: &RedisHost,
        redis: RedisConnectionInfo,
        response_timeout: Duration,
    ) -> RedisResult<Self> {
        let client = Client::open(place(url, host, redis)?)?;
        let config = config(response_timeout);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Self::Server(connection.await?))
    }

    async fn cluster(url: &RedisUrl, response_timeout: Duration) -> RedisResult<Self> {
        let nodes = url.hosts.iter();
        let nodes: Vec<_> = nodes
            .map(|host| place(url, host, credentials(url)))
            .collect::<RedisResult<_>>()?;
        let client = ClusterClientBuilder::new(nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(response_timeout)
            .overall_response_timeout(Some(response_timeout))
            .retries(1)
            .tcp_settings(tcp_settings())
            .build()?;
        Ok(Self::Cluster(client.get_async_connection().await?))
    }

    /// Sends a command and returns its answer.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// The answer to `INFO` for a section, in a Redis Cluster of any node.
    pub(super) async fn information(&mut self, section: &str) -> RedisResult<String> {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => {
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                text(&connection.route_command(command, any).await?)
            }
        }
    }

    /// Checks that this is Redis, of which version and of which kind. A user may be allowed
    /// everything but to see that: then what is missing shows later.
    async fn check(&mut self, url: &RedisUrl) -> Result<(), Problem> {
        let information = match self.information("server").await {
            Ok(information) => information,
            Err(error) => {
                let problem = Problem::of_opening(url, &error);
                return match problem.kind() {
                    ProblemKind::AccessDenied if error.code() == Some("NOPERM") => Ok(()),
                    _ => Err(problem),
                };
            }
        };
        check_version(url, &information)?;
        let (Some(host), RedisKind::Single) = (url.hosts.first(), &url.kind) else {
            return Ok(());
        };
        match ServerKind::of(&information) {
            Some(ServerKind::Sentinel) => Err(ServerKind::Sentinel.problem(url, host)),
            Some(ServerKind::Cluster) if self.is_one_of_several().await => {
                Err(ServerKind::Cluster.problem(url, host))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is one of several nodes of a Redis Cluster. The only node has all keys, so it does
    /// not matter how it is reached.
    async fn is_one_of_several(&mut self) -> bool {
        let mut command = redis::cmd("CLUSTER");
        command.arg("INFO");
        let information: RedisResult<String> = self.query(&command).await;
        let information = information.unwrap_or_default();
        let size = field(&information, "cluster_size").and_then(|size| size.parse::<u32>().ok());
        size.is_some_and(|size| size > 1)
    }
}

/// A line of `INFO`.
pub(super) fn field<'i>(information: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = information.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim)
}

fn text(value: &Value) -> RedisResult<String> {
    Ok(redis::from_redis_value_ref(value)?)
}

/// Checks the version in the answer to `INFO server`.
fn check_version(url: &RedisUrl, information: &str) -> Result<(), Problem> {
    let version = field(information, "redis_version").ok_or_else(|| Problem::not_redis(url))?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
        return Err(Problem::not_redis(url));
    };
    if (major, minor) >= VERSION_MIN {
        return Ok(());
    }
    let what = format!("its version is {major}.{minor}, which is too old");
    Err(Problem::new(url, ProblemKind::TooOld, &what))
}

/// Asks the Sentinels, one after the other, which server is the primary now.
async fn primary(url: &RedisUrl, service: &str) -> Result<RedisHost, Problem> {
    let mut problem = Problem::not_redis(url);
    for sentinel in &url.hosts {
        match ask_sentinel(url, sentinel, service).await {
            Ok(Some((host, port))) => return Ok(RedisHost { host, port }),
            Ok(None) => {
                let what = format!("the Sentinel at {sentinel} knows no service {service}");
                problem = Problem::new(url, ProblemKind::NotRedis, &what);
            }
            Err(error) => problem = problem_of_sentinel(url, sentinel, &error),
        }
    }
    Err(problem)
}

fn problem_of_sentinel(url: &RedisUrl, sentinel: &RedisHost, error: &RedisError) -> Problem {
    let problem = Problem::of_opening(url, error);
    let (kind, what) = match problem.kind() {
        ProblemKind::AccessDenied => (
            ProblemKind::AccessDenied,
            "requires a password, and a Sentinel must need none",
        ),
        // It does not know the command.
        ProblemKind::Other => (
            ProblemKind::NotRedis,
            "is no Sentinel. The URL of a single Redis begins with redis:// or rediss://, that of a \
             Redis Cluster with redis-cluster:// or rediss-cluster://",
        ),
        _ => return problem,
    };
    Problem::new(url, kind, &format!("the server at {sentinel} {what}"))
}

async fn ask_sentinel(
    url: &RedisUrl,
    sentinel: &RedisHost,
    service: &str,
) -> RedisResult<Option<(String, u16)>> {
    // A silent Sentinel must leave time for the others.
    let share = CONNECT_TIMEOUT / (u32::try_from(url.hosts.len()).unwrap_or(u32::MAX) + 1);
    let client = Client::open(place(url, sentinel, RedisConnectionInfo::default())?)?;
    let config = config(share).set_connection_timeout(Some(share));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await?;
    redis::cmd("SENTINEL")
        .arg("get-master-addr-by-name")
        .arg(service)
        .query_async(&mut connection)
        .await
}

/// Where and how to connect to `host`.
fn place(
    url: &RedisUrl,
    host: &RedisHost,
    redis: RedisConnectionInfo,
) -> RedisResult<ConnectionInfo> {
    let RedisHost { host, port } = host.clone();
    let address = match url.has_tls {
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        false => ConnectionAddr::Tcp(host, port),
    };
    Ok(address
        .into_connection_info()?
        .set_tcp_settings(tcp_settings())
        .set_redis_settings(redis))
}

/// The user, the password and the database.
pub(super) fn credentials(url: &RedisUrl) -> RedisConnectionInfo {
    let mut redis = RedisConnectionInfo::default()
        .set_db(url.database)
        .set_lib_name("featherwire", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &url.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &url.password {
        redis = redis.set_password(password.expose_secret());
    }
    redis
}

fn config(response_timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
        .set_pipeline_buffer_size(PIPELINE_COMMANDS_MAX)
}

fn tcp_settings() -> TcpSettings {
    // A connection that waits for messages sends nothing by which a dead peer would show.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_6_2_is_too_old() {
        let url: RedisUrl = "redis://h".parse().unwrap();
        let check = |version: &str| {
            let information = format!("# Server\r\nredis_version:{version}\r\nredis_mode:x\r\n");
            check_version(&url, &information).map_err(|problem| problem.kind())
        };
        for version in ["6.2.0", "7.0.15", "10.0", "6.10.1", "255.255.255"] {
            assert_eq!(check(version), Ok(()), "{version}");
        }
        for version in ["6.0.16", "5.0.7", "2.8"] {
            assert_eq!(check(version), Err(ProblemKind::TooOld), "{version}");
        }
        assert_eq!(check("new"), Err(ProblemKind::NotRedis));
        let nothing = check_version(&url, "").unwrap_err();
        assert_eq!(nothing.kind(), ProblemKind::NotRedis);
        let old = check_version(&url, "redis_version:5.0.7").unwrap_err();
        assert!(old.to_string().contains("5.0") && old.to_string().contains("6.2"));
    }
}
