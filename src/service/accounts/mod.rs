//! The accounts that a gateway asks: one, or several of `[[account]]` in the configuration file.
//! Each has its own upstream, units, feed and circuits of models.
//!
//! - This file: the accounts, and which of them may be asked for a model.
//! - `turn`: the accounts that one call asks for one model, the best one first.
//! - `sharing`: what gateways with the same account share of it.
//! - `gated`: which models an account may not use.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    circuit::{self, CircuitPass, Circuits},
    feed::Feed,
    units::Units,
    upstreams::{Upstream, Upstreams},
};
use crate::{
    config::{self, Glob},
    error::{AccountFault, Error, ErrorCode, Health, Result},
    keys::{Directory, Identity},
    upstream::{Catalogue, Client, catalogue::Snapshot},
};

mod gated;
mod sharing;
mod turn;

use gated::Gated;
use sharing::redis;
pub(super) use turn::Turn;

/// A set of accounts: a bit for the index of each.
type Set = u64;

/// All accounts.
const ALL: Set = Set::MAX;

/// The accounts of a gateway, at least one. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Accounts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    list: Box<[UpstreamAccount]>,
    catalogue: Catalogue,
    /// Whether an upstream refuses an account, by the names of the accounts.
    circuits: Circuits,
    gated: Gated,
}

/// One account, and all that the gateway has for it.
#[derive(Debug)]
pub(super) struct UpstreamAccount {
    index: usize,
    pub(super) name: Arc<str>,
    pub(super) client: Client,
    pub(super) units: Units,
    pub(super) feed: Feed,
    /// The circuits of its models.
    pub(super) circuits: Circuits,
    weight: u32,
    models: Box<[Glob]>,
    has_feed: bool,
    /// The index of its upstream in the catalogue.
    source: usize,
}

impl UpstreamAccount {
    /// The bit of its upstream in the sources of models.
    pub(super) fn source_bit(&self) -> u64 {
        bit(self.source)
    }

    /// Whether its upstream tells how its units are used.
    pub(super) fn has_feed(&self) -> bool {
        self.has_feed
    }
}

/// The accounts that the key of a call may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed(Set);

/// Whether the upstream accepts an account, as one request finds out.
#[derive(Debug)]
pub(super) struct AccountPass(Option<CircuitPass>);

impl AccountPass {
    /// Records the result of the request.
    pub(super) fn record<T>(self, result: &Result<T>) {
        let Some(pass) = self.0 else { return };
        match result {
            Ok(_) => pass.record_success(),
            Err(error) if error.account_fault() == AccountFault::Refused => {
                pass.record_failure(error.code(), Instant::now());
            }
            // It read the request.
            Err(error) if error.health() == Health::Up => pass.record_success(),
            Err(_) => drop(pass),
        }
    }
}

impl Accounts {
    /// The accounts at `upstreams`, with all their models in `catalogue`, in which `sources` has
    /// the index of the upstream of each. Call it within a Tokio runtime.
    pub(super) fn new(
        upstreams: Upstreams,
        catalogue: &Catalogue,
        sources: &[usize],
        keys: &Directory,
        config: &config::Serve,
    ) -> Self {
        let are_several = upstreams.count() > 1;
        let accounts = upstreams.into_list().into_iter().zip(sources).enumerate();
        let accounts = accounts.map(|(index, (upstream, source))| {
            let Upstream {
                name,
                client,
                weight,
                models,
                units,
                ..
            } = upstream;
            // The log names an account as the metrics do: only if there are several.
            let in_log = if are_several { &*name } else { "" };
            let feed = match units {
                None => Feed::new(client.clone()),
                Some(_) => Feed::empty(),
            };
            let of_account = config::Units {
                units: units.or(config.units.units),
                ..config.units.clone()
            };
            UpstreamAccount {
                index,
                units: Units::new(
                    in_log,
                    client.clone(),
                    catalogue.clone(),
                    feed.clone(),
                    keys.clone(),
                    &of_account,
                    redis(config, index),
                    units.map(|_| *source),
                ),
                feed,
                client,
                circuits: circuits_of_models(in_log, &config.models),
                name,
                weight,
                has_feed: units.is_none(),
                models: models.into(),
                source: *source,
            }
        });
        Self(Arc::new(Shared {
            list: accounts.collect(),
            catalogue: catalogue.clone(),
            circuits: Circuits::of_accounts(config.models.circuit_wait),
            gated: Gated::default(),
        }))
    }

    /// One account with these units.
    pub fn only(
        client: Client,
        catalogue: &Catalogue,
        units: Units,
        config: &config::Models,
    ) -> Self {
        let account = UpstreamAccount {
            index: 0,
            name: super::upstreams::DEFAULT_NAME.into(),
            feed: Feed::new(client.clone()),
            client,
            units,
            circuits: circuits_of_models("", config),
            weight: 1,
            models: Box::default(),
            has_feed: true,
            source: 0,
        };
        Self(Arc::new(Shared {
            list: Box::new([account]),
            catalogue: catalogue.clone(),
            circuits: Circuits::of_accounts(config.circuit_wait),
            gated: Gated::default(),
        }))
    }

    /// All accounts, in the order of the configuration.
    pub(super) fn list(&self) -> &[UpstreamAccount] {
        &self.0.list
    }

    /// The allowed account with this name. Without a name, the first one.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if none of them has it.
    pub(super) fn named(&self, allowed: Allowed, name: &str) -> Result<&UpstreamAccount> {
        let mut list = self.visible(allowed);
        let found = list.find(|account| name.is_empty() || *account.name == *name);
        found.ok_or_else(|| {
            let names: Vec<_> = self
                .visible(allowed)
                .map(|account| &*account.name)
                .collect();
            let problem = format!(
                "the gateway has no account of this name: expected one of {}",
                names.join(", ")
            );
            Error::invalid("account", problem)
        })
    }

    /// The first allowed account of each upstream that tells how its units are used, or of each
    /// upstream if none does. Only Featherless has a search.
    pub(super) fn with_search(&self, allowed: Allowed) -> Vec<&UpstreamAccount> {
        let of_feeds = self.members(allowed.0).filter(|account| account.has_feed);
        match of_each_upstream(of_feeds) {
            none if none.is_empty() => of_each_upstream(self.members(allowed.0)),
            some => some,
        }
    }

    /// For each upstream, the first of the allowed accounts that are asked for `model`.
    pub(super) fn with_model(&self, allowed: Allowed, model: &str) -> Vec<&UpstreamAccount> {
        of_each_upstream(self.members(self.asked_for(allowed, model)))
    }

    /// Whether one of the allowed accounts at the upstream of `account` is asked for `model`, by
    /// their patterns.
    pub(super) fn accepts(&self, allowed: Allowed, account: &UpstreamAccount, model: &str) -> bool {
        let mut asked = self.members(self.asked_for(allowed, model));
        asked.any(|other| other.source == account.source)
    }

    /// Those of the accounts that the key may use.
    pub(super) fn visible(&self, allowed: Allowed) -> impl Iterator<Item = &UpstreamAccount> {
        self.members(allowed.0)
    }

    /// What must be said of a key that is `pinned` to accounts of which the gateway lacks some.
    pub(super) fn unknown(&self, pinned: &[String]) -> Option<String> {
        let known = self.list().iter().map(|account| &*account.name);
        config::unknown_accounts("This gateway", known, pinned)
    }

    /// Whether there is more than one account.
    pub(super) fn are_several(&self) -> bool {
        self.list().len() > 1
    }

    /// Leaves the clusters of all accounts, if there are some.
    pub(super) async fn leave_cluster(&self) {
        join_all(self.list().iter().map(|account| account.units.leave())).await;
    }

    /// The circuits of accounts: whether an upstream refuses one.
    pub(super) fn circuits(&self) -> &Circuits {
        &self.0.circuits
    }

    /// Takes over the timeouts of `config`, for requests that begin from now on.
    pub(super) fn set_timeouts(&self, config: &config::Upstream) {
        for account in self.list() {
            account.client.set_timeouts(config);
        }
    }

    /// The accounts that a key may use.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if the gateway has none of them.
    pub(super) fn allowed(&self, identity: &Identity) -> Result<Allowed> {
        let names = &identity.limits().accounts;
        if names.is_empty() {
            return Ok(Allowed(ALL));
        }
        let accounts = self.list().iter();
        let accounts = accounts.filter(|account| names.iter().any(|it| **it == *account.name));
        match accounts.fold(0, |set, account| set | bit(account.index)) {
            0 => Err(no_account_of(identity)),
            set => Ok(Allowed(set)),
        }
    }

    /// Whether one of these accounts may be asked for `model`, which is in this `copy` of the
    /// catalogue.
    pub(super) fn may_have(&self, allowed: Allowed, model: &str, copy: &Snapshot) -> bool {
        let sources = copy.sources(model);
        let mut accounts = self.members(self.asked_for(allowed, model));
        accounts.any(|account| sources & bit(account.source) != 0)
    }

    /// Checks whether one of these accounts may be asked for `model` now or soon.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) if none of them has the model;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the circuits of all are open.
    pub(super) fn check(&self, allowed: Allowed, model: &str, now: Instant) -> Result<()> {
        if let [only] = self.list()
            && only.models.is_empty()
        {
            return only.circuits.check(model, now);
        }
        let eligible = self.eligible(allowed, model, self.0.catalogue.current().as_deref());
        let is_only = eligible.count_ones() == 1;
        let mut failure = None;
        for account in self.members(eligible) {
            let checked = match is_only {
                true => Ok(()),
                false => self.circuits().check(&account.name, now),
            };
            match checked.and_then(|()| account.circuits.check(model, now)) {
                Ok(()) => return Ok(()),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| no_account_has(model)))
    }

    /// Those of the allowed accounts that can be asked for `model`: by their patterns, and by the
    /// lists of their upstreams in this `copy` of the catalogue.
    fn eligible(&self, allowed: Allowed, model: &str, copy: Option<&Snapshot>) -> Set {
        let by_patterns = self.asked_for(allowed, model);
        let sources = copy.map_or(0, |copy| copy.sources(model));
        let listed = self.members(by_patterns);
        let listed = listed.filter(|account| sources & bit(account.source) != 0);
        match listed.fold(0, |set, account| set | bit(account.index)) {
            // The catalogue may be incomplete, so a model that it does not have is asked for too.
            0 => by_patterns,
            listed => listed,
        }
    }

    /// Those of the allowed accounts that are asked for `model`, by their patterns.
    fn asked_for(&self, allowed: Allowed, model: &str) -> Set {
        let accounts = self.members(allowed.0);
        let accounts = accounts.filter(|account| {
            account.models.is_empty() || account.models.iter().any(|glob| glob.matches(model))
        });
        accounts.fold(0, |set, account| set | bit(account.index))
    }

    fn members(&self, set: Set) -> impl Iterator<Item = &UpstreamAccount> {
        let list = self.list().iter();
        list.filter(move |account| set & bit(account.index) != 0)
    }
}

/// The first account of each upstream.
fn of_each_upstream<'a>(
    accounts: impl Iterator<Item = &'a UpstreamAccount>,
) -> Vec<&'a UpstreamAccount> {
    let mut first: Vec<&UpstreamAccount> = Vec::new();
    for account in accounts {
        if !first.iter().any(|other| other.source == account.source) {
            first.push(account);
        }
    }
    first
}

fn circuits_of_models(account: &str, config: &config::Models) -> Circuits {
    let settings = circuit::Settings {
        failures: config.circuit_failures,
        wait: config.circuit_wait,
    };
    Circuits::new(account, settings)
}

/// The bit of an index. There are at most as many accounts as a set has bits.
fn bit(index: usize) -> Set {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    1_u64.checked_shl(index).unwrap_or_default()
}

fn no_account_of(identity: &Identity) -> Error {
    let names = identity.limits().accounts.join(", ");
    let message = format!(
        "The key {} may use only the accounts {names}, and this gateway has none of them: an \
         administrator must change the accounts of the key (`featherwire keys update --accounts`), \
         or the gateway's configuration",
        identity.name()
    );
    Error::new(ErrorCode::BadConfiguration, message)
}

pub(super) fn no_account_has(model: &str) -> Error {
    let message = format!(
        "No account of the gateway has the model {model}. Ids are case-sensitive; GET \
         /v1/models?q=… or `featherwire models --search …` finds them"
    );
    Error::new(ErrorCode::ModelNotFound, message).with_param("model")
}
