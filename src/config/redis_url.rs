//! Where a Redis is.

use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// What a URL may look like.
const EXPECTED: &str = "expected a URL such as redis://user:password@host:6379/0, rediss://host \
                        (with TLS), redis-sentinel://host:26379,host:26379/service/0 or \
                        redis-cluster://host:6379,host:6379";

/// The port of Redis.
const PORT: u16 = 6379;

/// The port of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// The largest number of hosts in a URL.
const HOSTS_MAX: usize = 64;

/// The number of the highest database that is accepted. Redis has 16 unless it is configured.
const DATABASE_MAX: i64 = 65_535;

/// The URL of a Redis. Its `Debug` and `Display` show no password.
#[derive(Clone)]
pub struct RedisUrl {
    /// How the hosts belong together.
    pub kind: RedisKind,
    /// Whether connections have TLS.
    pub has_tls: bool,
    /// At least one.
    pub hosts: Vec<RedisHost>,
    /// The user, if it is not the default one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The number of the database.
    pub database: i64,
}

/// How the hosts of a URL belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// One server.
    Single,
    /// Sentinels, which know the server that is the primary of this service now.
    Sentinel {
        /// The name of the service.
        service: String,
    },
    /// Nodes of a Redis Cluster.
    Cluster,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHost {
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What messages call the Redis, such as "the Redis at host:6379".
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RedisKind::Single => f.write_str("the Redis at ")?,
            RedisKind::Sentinel { service } => {
                write!(f, "the Redis {service} of the Sentinels at ")?;
            }
            RedisKind::Cluster => f.write_str("the Redis Cluster at ")?,
        }
        for (place, host) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{host}")?;
        }
        Ok(())
    }
}

/// Shows neither user nor password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// Parses the URL of a Redis. An error does not repeat it, because it may contain a password.
pub(super) fn redis_url(text: &str) -> Result<RedisUrl, String> {
    parse(text.trim()).map_err(|what| format!("{what}: {EXPECTED}"))
}

fn parse(text: &str) -> Result<RedisUrl, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("this is no URL of Redis")?;
    let (has_tls, kind) = match scheme {
        "redis" | "valkey" => (false, RedisKind::Single),
        "rediss" | "valkeys" => (true, RedisKind::Single),
        "redis-sentinel" => (false, sentinel()),
        "rediss-sentinel" => (true, sentinel()),
        "redis-cluster" => (false, RedisKind::Cluster),
        "rediss-cluster" => (true, RedisKind::Cluster),
        _ => return Err("this is no URL of Redis"),
    };
    check_encoding(rest)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    let (user, password) = match credentials {
        Some(text) => user_and_password(text)?,
        None => (None, None),
    };
    let port = match kind {
        RedisKind::Sentinel { .. } => SENTINEL_PORT,
        RedisKind::Single | RedisKind::Cluster => PORT,
    };
    let hosts: Vec<_> = hosts
        .split(',')
        .map(|text| host(text.trim(), port))
        .collect::<Result<_, _>>()?;
    if hosts.len() > HOSTS_MAX {
        return Err("the URL has more than 64 hosts");
    }
    if kind == RedisKind::Single && hosts.len() > 1 {
        return Err("the URL has several hosts, which only Sentinels and a Redis Cluster have");
    }
    let (kind, database) = match kind {
        RedisKind::Sentinel { .. } => {
            let (service, database) = path.split_once('/').unwrap_or((path, ""));
            let service = decoded(service)?;
            if service.is_empty() {
                return Err("the name of the service is missing after the hosts of the Sentinels");
            }
            (RedisKind::Sentinel { service }, database)
        }
        other => (other, path),
    };
    let database = match database.trim_end_matches('/') {
        "" => 0,
        number => number
            .parse()
            .ok()
            .filter(|number| (0..=DATABASE_MAX).contains(number))
            .ok_or("what follows the last / is not the number of a database")?,
    };
    if kind == RedisKind::Cluster && database != 0 {
        return Err("a Redis Cluster has only database 0");
    }
    Ok(RedisUrl {
        kind,
        has_tls,
        hosts,
        user,
        password,
        database,
    })
}

/// Checks for characters that end the password too early. After the hosts, no `@` has a meaning.
fn check_encoding(after_scheme: &str) -> Result<(), &'static str> {
    let before_hosts = after_scheme
        .rsplit_once('@')
        .map_or("", |(before, _)| before);
    match before_hosts.contains(['/', '?', '#']) {
        true => Err(
            "the user or the password has a /, ? or # that is not percent-encoded: write %2F for \
             /, %3F for ?, %23 for #, %40 for @ and %25 for %",
        ),
        false if after_scheme.contains(['?', '#']) => Err(
            "the URL has a ? or a #, but it takes no parameters: in a password, write %3F and %23",
        ),
        false => Ok(()),
    }
}

fn sentinel() -> RedisKind {
    RedisKind::Sentinel {
        service: String::new(),
    }
}

/// The user and the password before the `@`, with a colon between them. Either may be empty, but a
/// user needs a password.
#[allow(clippy::type_complexity)]
fn user_and_password(text: &str) -> Result<(Option<String>, Option<SecretString>), &'static str> {
    let (user, password) = text
        .split_once(':')
        .ok_or("the password is missing after the user, or the : before the password")?;
    let (user, password) = (decoded(user)?, decoded(password)?);
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let (user, password) = (given(user), given(password));
    if user.is_some() && password.is_none() {
        return Err("the password is missing after the user");
    }
    Ok((user, password.map(SecretString::from)))
}

fn host(text: &str, default_port: u16) -> Result<RedisHost, &'static str> {
    const NOT_A_HOST: &str = "the host or its port is missing or wrong. In a user or a password, \
                              write %40 for @, %2F for /, %3A for : and %25 for %";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(NOT_A_HOST)?;
            let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
            (Some(host).filter(|_| is_address), port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let is_name = |host: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        !host.is_empty() && host.chars().all(is_fit)
    };
    let host = host.filter(|host| is_name(host)).ok_or(NOT_A_HOST)?;
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => Some(default_port),
    };
    Ok(RedisHost {
        host: host.to_owned(),
        port: port.ok_or(NOT_A_HOST)?,
    })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "a part of the URL is not UTF-8 text")?;
    match decoded.chars().any(char::is_control) {
        true => Err("the URL has a control character"),
        false => Ok(decoded.into_owned()),
    }
}

impl std::str::FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        redis_url(text)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// Each part, to compare.
    fn parts(text: &str) -> Result<String, String> {
        let url = redis_url(text)?;
        let password = url
            .password
            .as_ref()
            .map_or("", |text| text.expose_secret());
        let user = url.user.as_deref().unwrap_or_default();
        let (tls, database) = (url.has_tls, url.database);
        Ok(format!("{url} | {tls} | {user}:{password} | {database}"))
    }

    #[test]
    fn a_url_names_one_server_or_sentinels_or_a_cluster() {
        for (text, expected) in [
            ("redis://h", "the Redis at h:6379 | false | : | 0"),
            (" redis://h:1/ ", "the Redis at h:1 | false | : | 0"),
            ("valkey://h/3", "the Redis at h:6379 | false | : | 3"),
            (
                "rediss://:p%40%2F:@127.0.0.1:2/15",
                "the Redis at 127.0.0.1:2 | true | :p@/: | 15",
            ),
            (
                "redis://u:p@[::1]:3",
                "the Redis at [::1]:3 | false | u:p | 0",
            ),
            (
                "redis-sentinel://u:p@a,b:2/main/4",
                "the Redis main of the Sentinels at a:26379, b:2 | false | u:p | 4",
            ),
            (
                "rediss-cluster://a:1,b",
                "the Redis Cluster at a:1, b:6379 | true | : | 0",
            ),
        ] {
            assert_eq!(parts(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_explained_and_never_repeated() {
        for (text, fix) in [
            ("", "no URL"),
            ("secret:6379", "no URL"),
            ("http://secret", "no URL"),
            ("redis:secret", "no URL"),
            ("redis://", "host or its port"),
            ("redis://u:secret@", "host or its port"),
            ("redis://h:0", "host or its port"),
            ("redis://h:99999", "host or its port"),
            ("redis://::1", "host or its port"),
            ("redis://[secret]:1", "host or its port"),
            ("redis://h secret", "host or its port"),
            ("redis://secret@h", "password is missing"),
            ("redis://secret:@h", "password is missing"),
            ("redis://u:%FFsecret@h", "UTF-8"),
            ("redis://u:%0Asecret@h", "control character"),
            // Each of these characters would end the password before it is at its end.
            ("redis://u:secret/1@h", "%2F for /"),
            ("redis://u:12/secret@h:1/0", "%2F for /"),
            ("redis://:secret@1/secret@h", "%2F for /"),
            ("redis-sentinel://:12/secret@h/main/0", "%2F for /"),
            ("redis-cluster://:12/secret@h,h", "%2F for /"),
            ("redis://u:secret?@h", "%3F for ?"),
            ("redis://u:secret#secret@h", "%23 for #"),
            ("rediss://u:secret@h#insecure", "no parameters"),
            ("redis://u:secret@h?timeout=1s", "no parameters"),
            ("redis://u:secret@h/db", "number of a database"),
            ("redis://u:secret@h/-1", "number of a database"),
            ("redis://u:secret@h,h", "several hosts"),
            ("redis-sentinel://u:secret@h", "service is missing"),
            ("redis-sentinel://u:secret@h//0", "service is missing"),
            ("redis-cluster://u:secret@h/1", "only database 0"),
        ] {
            let message = redis_url(text).unwrap_err();
            assert!(message.contains(fix), "{text}: {message}");
            assert!(
                message.contains("such as") && !message.contains("secret"),
                "{text}: {message}"
            );
        }
    }

    #[test]
    fn what_is_printed_of_a_url_has_no_password() {
        let url = redis_url("redis-cluster://user:secret@h:1").unwrap();
        let printed = format!("{url} {url:?}");
        assert!(!printed.contains("secret") && !printed.contains("user"));
    }
}
