//! What gateways share through a Redis, besides the queue: the limits for a minute of keys, and the
//! circuits of models.

use tokio::task::JoinSet;

use crate::{
    cluster::redis::Redis,
    config,
    keys::{Directory, SharedRates},
    service::Services,
};

/// What is shared, if there is a Redis.
pub(super) struct Sharing(Option<(SharedRates, JoinSet<()>)>);

impl Sharing {
    /// Shares the limits of `keys` and the circuits of `services`, if `config` names a Redis, until
    /// it is dropped.
    pub(super) fn start(config: &config::Serve, keys: &Directory, services: &Services) -> Self {
        let Some(url) = &config.cluster.redis_url else {
            return Self(None);
        };
        let rates = SharedRates::new(Redis::new(url, &config.cluster.name_for_keys()));
        keys.share_rates(rates.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(rates.clone().run());
        for circuits in services.share_circuits(config) {
            tasks.spawn(circuits.run());
        }
        Self(Some((rates, tasks)))
    }

    /// Tells other gateways what the last calls have used, and leaves them.
    pub(super) async fn end(self) {
        let Some((rates, mut tasks)) = self.0 else {
            return;
        };
        tasks.shutdown().await;
        if let Err(problem) = rates.end().await {
            tracing::debug!(%problem, "other gateways do not learn what the last calls have used");
        }
    }
}
