//! What gateways with the same account share of it, through Redis: its queue and its circuits.

use super::Accounts;
use crate::{cluster::redis::Redis, config, service::circuit::SharedCircuits};

impl Accounts {
    /// The circuits of models of each account, as other gateways with that account share them.
    pub(in crate::service) fn share_circuits(&self, config: &config::Serve) -> Vec<SharedCircuits> {
        let Some(url) = &config.cluster.redis_url else {
            return Vec::new();
        };
        let shared = self.list().iter().filter_map(|account| {
            let name = cluster_name(config, account.index)?;
            Some(account.circuits.share(Redis::new(url, &name)))
        });
        shared.collect()
    }
}

/// The Redis of the cluster of an account. `None` without a cluster, or if there is nothing to
/// share.
pub(super) fn redis(config: &config::Serve, index: usize) -> Option<Redis> {
    let url = config.cluster.redis_url.as_ref()?;
    let has_units = match account(config, index) {
        Some(account) => account.units != Some(0),
        None => match config.units.units {
            Some(units) => units > 0,
            // Without a key no plan tells a limit.
            None => config.upstream.api_key().is_some(),
        },
    };
    let name = cluster_name(config, index).filter(|_| has_units)?;
    Some(Redis::new(url, &name))
}

/// The name of the cluster of an account. `None` for an account without a key, unless the cluster
/// has a name: the same URL may be another server on another machine.
fn cluster_name(config: &config::Serve, index: usize) -> Option<String> {
    let (has_key, name) = match account(config, index) {
        Some(account) => (
            account.featherless_api_key.is_some(),
            config.cluster.name_of_account(account, &config.upstream),
        ),
        None => (
            config.upstream.api_key().is_some(),
            config.cluster.name(&config.upstream),
        ),
    };
    (has_key || config.cluster.cluster_name.is_some()).then_some(name)
}

/// The table of an account. `None` for the only account, if the options describe it.
fn account(config: &config::Serve, index: usize) -> Option<&config::Account> {
    config.accounts.get(index).filter(|_| !config.emulator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::Directory,
        service::upstreams::Upstreams,
        upstream::{Catalogue, ModelNames},
    };

    #[derive(clap::Parser)]
    struct Options {
        #[command(flatten)]
        serve: config::Serve,
    }

    /// Whether the units, and the circuits, of the first account are shared.
    fn shares(more: &[&str], accounts: &[config::Account]) -> (bool, bool) {
        let flags = ["serve", "--redis-url", "redis://redis.example"];
        let flags = flags.iter().chain(more);
        let mut config = <Options as clap::Parser>::parse_from(flags).serve;
        config.accounts = accounts.to_vec();
        let upstreams = Upstreams::new(&config).unwrap();
        let (sources, of_account) = upstreams.sources();
        let catalogue = Catalogue::of(sources, ModelNames::default());
        let keys = Directory::new(&[], &[]);
        let has_redis = redis(&config, 0).is_some();
        let accounts = Accounts::new(upstreams, &catalogue, &of_account, &keys, &config);
        (has_redis, !accounts.share_circuits(&config).is_empty())
    }

    #[tokio::test]
    async fn accounts_without_a_key_share_nothing_unless_the_cluster_has_a_name() {
        let keyless = config::Account {
            units: Some(8),
            ..config::Account::new("own")
        };
        let with_key = config::Account {
            featherless_api_key: Some("s3cr3t".into()),
            ..keyless.clone()
        };
        let name = "--cluster-name=production";
        let keyless = [keyless];
        assert_eq!(shares(&[], &keyless), (false, false));
        assert_eq!(shares(&[name], &keyless), (true, true));
        assert_eq!(shares(&[], &[with_key]), (true, true));
        assert_eq!(shares(&["--units=8"], &[]), (false, false));
        assert_eq!(shares(&["--units=8", name], &[]), (true, true));
        let key = "--featherless-api-key=s3cr3t";
        assert_eq!(shares(&["--units=8", key], &[]), (true, true));
        assert_eq!(shares(&["--units=0", key], &[]), (false, true));
    }
}
