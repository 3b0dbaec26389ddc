//! The upstreams of a gateway: one account, or those of `[[account]]` in the configuration file.

use std::sync::Arc;

use crate::{
    config::{self, Glob},
    error::Result,
    upstream::{CatalogueSource, Client},
};

/// The name of the only account of a gateway without `[[account]]`.
pub(super) const DEFAULT_NAME: &str = "default";

/// The upstreams of a gateway, at least one.
#[derive(Clone, Debug)]
pub struct Upstreams(Vec<Upstream>);

/// One account at its upstream.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) client: Client,
    /// Its base URL: accounts with the same one have the same models.
    base_url: String,
    pub(super) weight: u32,
    /// The models that it is asked for. Empty for all.
    pub(super) models: Vec<Glob>,
    /// Its units, if the configuration tells them.
    pub(super) units: Option<u32>,
}

impl From<Client> for Upstreams {
    /// One account.
    fn from(client: Client) -> Self {
        Self(vec![Upstream {
            name: DEFAULT_NAME.into(),
            client,
            base_url: String::new(),
            weight: 1,
            models: Vec::new(),
            units: None,
        }])
    }
}

impl Upstreams {
    /// Those of `config`: its accounts, or else its one upstream.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) as for [`Client::new`].
    pub fn new(config: &config::Serve) -> Result<Self> {
        let common = &config.upstream;
        if config.emulator || config.accounts.is_empty() {
            return Client::new(common).map(Self::from);
        }
        let accounts = config.accounts.iter().map(|account| {
            let upstream = account.upstream(common);
            Ok(Upstream {
                name: account.name.as_str().into(),
                client: Client::new(&upstream)?,
                base_url: upstream.featherless_base_url.to_string(),
                weight: account.weight,
                models: account.models.clone(),
                units: account.units,
            })
        });
        accounts.collect::<Result<_>>().map(Self)
    }

    /// Whether one of them has a key, or needs none.
    pub fn has_key(&self) -> bool {
        self.0.iter().any(|upstream| upstream.client.has_key())
    }

    /// How many accounts there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_list(self) -> Vec<Upstream> {
        self.0
    }

    /// Where the models come from, and for each account the index of its place in that list.
    pub(super) fn sources(&self) -> (Vec<CatalogueSource>, Vec<usize>) {
        let mut urls: Vec<&str> = Vec::new();
        let mut sources: Vec<CatalogueSource> = Vec::new();
        let of_account = self.0.iter().map(|upstream| {
            let place = urls.iter().position(|url| *url == upstream.base_url);
            let place = place.unwrap_or_else(|| {
                urls.push(&upstream.base_url);
                sources.push(CatalogueSource::default());
                urls.len() - 1
            });
            if let Some(source) = sources.get_mut(place) {
                source.add(upstream.client.clone(), &upstream.models);
            }
            place
        });
        let of_account = of_account.collect();
        (sources, of_account)
    }
}
