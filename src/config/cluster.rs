//! The options for several gateways that share one queue.

use clap::Args;
use ring::digest::{Context, SHA256};
use secrecy::ExposeSecret;

use super::{
    account::Account,
    heading,
    redis_url::{RedisUrl, redis_url},
    units::Units,
    upstream::Upstream,
};

/// The largest length of the name of a cluster, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How much of the digest of an account is in the name of its cluster, in bytes: enough that two
/// accounts never have the same.
const NAME_DIGEST_BYTES: usize = 16;

/// The options for several gateways that share one queue.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::CLUSTER)]
pub struct Cluster {
    /// The Redis (6.2 or newer) or Valkey through which the gateways of an account share one queue:
    /// `redis://USER:PASSWORD@HOST:PORT/DB`, with TLS `rediss://…`. `redis-sentinel://` and
    /// `redis-cluster://` (with TLS `rediss-…`) take several hosts, comma-separated. Unset: this
    /// gateway has a queue of its own
    #[arg(
        long,
        env = "FEATHERWIRE_REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = redis_url
    )]
    pub redis_url: Option<RedisUrl>,

    /// The name of the cluster in Redis. Gateways with the same name share one queue. Unset: a name
    /// made from the base URL and the API key of the account, so that gateways of one account meet.
    /// Set it if they use different API keys of one account
    #[arg(
        long,
        env = "FEATHERWIRE_CLUSTER_NAME",
        value_name = "NAME",
        value_parser = name
    )]
    pub cluster_name: Option<String>,
}

/// The largest queue of a cluster. A gateway tells a new leader of all its waiting calls in one
/// message.
const QUEUE_LIMIT_MAX: usize = 20_000;

impl Cluster {
    /// Checks the options together with those of the units.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub(super) fn check(&self, units: &Units) -> Result<(), String> {
        if self.redis_url.is_some() && units.queue_limit > QUEUE_LIMIT_MAX {
            return Err(format!(
                "FEATHERWIRE_QUEUE_LIMIT (--queue-limit) is {}, and the queue of a cluster \
                 (--redis-url) can have at most {QUEUE_LIMIT_MAX} calls: lower it",
                units.queue_limit
            ));
        }
        Ok(())
    }

    /// The name of the cluster in Redis. If none is set, it is made from the base URL and the API key
    /// of `upstream`, so that clusters of different accounts never meet. It does not reveal the key.
    pub fn name(&self, upstream: &Upstream) -> String {
        if let Some(name) = &self.cluster_name {
            return name.clone();
        }
        let key = upstream.api_key().map(|key| key.expose_secret().trim());
        let url = upstream.featherless_base_url.as_str();
        let mut hash = Context::new(&SHA256);
        for part in ["featherwire cluster", url, key.unwrap_or_default()] {
            // The length keeps the parts apart.
            hash.update(&part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hash = hash.finish();
        let start = hash.as_ref().iter().take(NAME_DIGEST_BYTES);
        let start: String = start.map(|byte| format!("{byte:02x}")).collect();
        format!("account-{start}")
    }
}

impl Cluster {
    /// The same for one of several accounts, whose other options are those of `common`. If a name is
    /// set, it has the name of the account after a point.
    pub fn name_of_account(&self, account: &Account, common: &Upstream) -> String {
        match &self.cluster_name {
            Some(name) => format!("{name}.{}", account.name),
            None => self.name(&account.upstream(common)),
        }
    }

    /// The name under which gateways share the limits of keys, whichever accounts they use. It has a
    /// character that no name of a cluster has.
    pub fn name_for_keys(&self) -> String {
        let name = self.cluster_name.as_deref().unwrap_or_default();
        format!("keys:{name}")
    }
}

/// Parses the name of a cluster. It is a part of names in Redis, in which braces have a meaning.
fn name(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.trim() {
        name if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_fit) => {
            Ok(name.to_owned())
        }
        _ => Err(format!(
            "expected 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, such as production"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Options {
        #[command(flatten)]
        cluster: Cluster,
        #[command(flatten)]
        upstream: Upstream,
        #[command(flatten)]
        units: Units,
    }

    #[test]
    fn gateways_of_one_account_meet_and_those_of_two_accounts_do_not() {
        let name_of = |key: &str, url: &str, more: &[&str]| {
            let flags = [
                "test",
                "--featherless-api-key",
                key,
                "--featherless-base-url",
                url,
            ];
            let flags = flags.into_iter().chain(more.iter().copied());
            let options = <Options as clap::Parser>::parse_from(flags);
            options.cluster.name(&options.upstream)
        };
        let (url, other_url) = ("https://a.example/v1", "https://b.example/v1");
        let own = name_of("fl-secret", url, &[]);
        assert_eq!(own, name_of("fl-secret", url, &[]));
        assert!(name(&own).is_ok() && !own.contains("secret"), "{own}");
        assert_ne!(own, name_of("fl-other", url, &[]));
        assert_ne!(own, name_of("fl-secret", other_url, &[]));
        let named = name_of("fl-other", url, &["--cluster-name", "production"]);
        assert_eq!(named, "production");
        let flags = ["test", "--featherless-base-url", url];
        let mut options = <Options as clap::Parser>::parse_from(flags);
        let account = Account {
            featherless_api_key: Some("fl-secret".into()),
            ..Account::new("main")
        };
        let of_account = options.cluster.name_of_account(&account, &options.upstream);
        assert_eq!(
            of_account, own,
            "an account has one queue, however it is configured"
        );
        options.cluster.cluster_name = Some("production".to_owned());
        let of_account = options.cluster.name_of_account(&account, &options.upstream);
        assert_eq!(of_account, "production.main");
    }

    #[test]
    fn the_queue_of_a_cluster_has_a_largest_length() {
        let check = |limit: &str, more: &[&str]| {
            let flags = ["test", "--queue-limit", limit].into_iter();
            let options = <Options as clap::Parser>::parse_from(flags.chain(more.iter().copied()));
            options.cluster.check(&options.units)
        };
        let with_redis = ["--redis-url", "redis://redis.example"];
        assert!(check("1000000", &[]).is_ok());
        assert!(check("20000", &with_redis).is_ok());
        let error = check("20001", &with_redis).unwrap_err();
        assert!(error.contains("at most 20000"), "{error}");
    }

    #[test]
    fn the_name_of_a_cluster_has_no_character_with_a_meaning_in_redis() {
        for good in ["production", " eu-1.main_2 ", "a"] {
            assert_eq!(name(good).as_deref(), Ok(good.trim()));
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", " ", "a b", "{a}", "a:b", "ä", "a\nb", &long] {
            assert!(
                name(bad).unwrap_err().contains("such as production"),
                "{bad:?}"
            );
        }
    }
}
