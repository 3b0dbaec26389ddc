//! Exchanges with the database what keys spend of their budgets: it adds what was spent here, and
//! leases what may be spent here.
//!
//! A call waits for an exchange only if the gateway has leased too little for it: about once for
//! each key and process if this is the only gateway.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::{
    account::Statement,
    repository::{Exchange, ExchangeError, Repository},
    spending::Spending,
    spending_news::SpendingNews,
};
use crate::store::Presence;

/// The time between two exchanges if no call waits for one. It is what a crash can lose.
const SAVE_EVERY: Duration = Duration::from_millis(100);

/// The least time between two exchanges.
const PAUSE: Duration = Duration::from_millis(20);

/// The time between two rounds, in which all leases are renewed and shared anew.
const ROUND_EVERY: Duration = Duration::from_secs(1);

/// How many rounds pass until the only gateway gives back what no call uses.
const REST_ROUNDS: u32 = 10;

/// The longest time for one exchange. A database that has stopped answers neither yes nor no.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many keys one exchange saves at most.
const KEYS_MAX: usize = 500;

/// The task's state.
pub(super) struct Saver {
    gateway: Uuid,
    news: SpendingNews,
    repository: Repository,
    /// The number of the last exchange.
    number: i64,
    /// An exchange whose outcome is not known.
    unknown: Option<Batch>,
    /// The keys with leases.
    holders: BTreeMap<Uuid, Arc<Spending>>,
    gateways: u64,
    round: u32,
    /// Since when each exchange has succeeded.
    well_since: Option<Instant>,
    is_failing: bool,
    /// The leases of a gateway end that has not written for so long.
    lease_time: Duration,
    /// Tells whether there are other gateways. `None` if that is not known.
    presence: Option<Arc<Presence>>,
}

/// The statements of one exchange.
type Batch = Vec<(Arc<Spending>, Statement)>;

impl Saver {
    pub(super) fn new(
        news: SpendingNews,
        repository: Repository,
        lease_time: Duration,
        presence: Option<Arc<Presence>>,
    ) -> Self {
        Self {
            gateway: Uuid::now_v7(),
            news,
            repository,
            number: 0,
            unknown: None,
            holders: BTreeMap::new(),
            gateways: 1,
            round: 0,
            well_since: None,
            is_failing: false,
            lease_time,
            presence,
        }
    }

    /// Runs until `end`. Then it saves what is left, and gives all leases back.
    pub(super) async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let (mut last, mut round_at) = (Instant::now(), Instant::now() + ROUND_EVERY);
        loop {
            let has_rounds = !self.holders.is_empty() || self.unknown.is_some();
            let is_round = tokio::select! {
                biased;
                () = &mut end => break,
                () = sleep_until(round_at), if has_rounds => true,
                () = self.news.exchange_wanted() => false,
                () = self.news.changed() => {
                    tokio::select! {
                        () = sleep_until(last + SAVE_EVERY) => {}
                        () = self.news.exchange_wanted() => {}
                    }
                    false
                }
            };
            sleep_until(last + PAUSE).await;
            let is_whole = is_round || Instant::now() >= round_at;
            if is_whole {
                round_at = Instant::now() + ROUND_EVERY;
                self.round = self.round.wrapping_add(1);
            }
            self.exchange(is_whole).await;
            last = Instant::now();
            if self.is_failing {
                sleep(SAVE_EVERY).await;
            }
        }
        self.end().await;
    }

    async fn end(mut self) {
        while self.unknown.is_some() || self.news.has_some() {
            self.exchange(false).await;
            if self.is_failing {
                tracing::warn!("what keys have spent at last was not saved");
                return;
            }
        }
        if !self.holders.is_empty()
            && let Err(error) = self.repository.leave(self.gateway).await
        {
            tracing::debug!(%error, "leases of budgets were not given back, and end by time");
        }
    }

    /// One exchange. `is_whole`: for all keys with leases.
    async fn exchange(&mut self, is_whole: bool) {
        let batch = match self.unknown.take() {
            Some(batch) => batch,
            None => self.next_batch(is_whole),
        };
        if batch.is_empty() {
            return;
        }
        let statements: Vec<_> = batch
            .iter()
            .map(|(spending, statement)| (spending.key(), *statement))
            .collect();
        let exchange = Exchange {
            gateway: self.gateway,
            number: self.number,
            statements: &statements,
            lease_time: self.lease_time,
            may_end_leases: self
                .well_since
                .is_some_and(|since| since.elapsed() >= self.lease_time),
        };
        let began = Instant::now();
        let result = timeout(EXCHANGE_TIMEOUT, self.repository.exchange(&exchange)).await;
        let error = match result {
            Ok(Ok(exchanged)) => {
                self.hold_leases(began);
                if exchanged.is_new {
                    self.holders
                        .values()
                        .for_each(|spending| spending.lose_leases());
                }
                self.gateways = exchanged.gateways;
                for ((spending, statement), granted) in batch.iter().zip(&exchanged.granted) {
                    spending.take(statement, granted);
                    if spending.has_lease() {
                        self.holders.insert(spending.key(), Arc::clone(spending));
                    } else {
                        self.holders.remove(&spending.key());
                    }
                }
                None
            }
            Ok(Err(ExchangeError::NotSaved(error))) => {
                for (spending, statement) in &batch {
                    spending.take_back(statement);
                }
                Some(error.to_string())
            }
            Ok(Err(ExchangeError::Unknown(error))) => {
                self.unknown = Some(batch);
                Some(error.to_string())
            }
            Err(_) => {
                self.unknown = Some(batch);
                Some(format!("it has not answered for {EXCHANGE_TIMEOUT:?}"))
            }
        };
        if error.is_some() {
            self.hold_leases_if_alone();
        }
        self.report(error);
    }

    /// Others do not get the leases of this gateway before `lease_time` after `heard`, when the
    /// database heard of it at the earliest. It stops giving them out before, because clocks differ
    /// and because what it has given out last takes some time.
    fn hold_leases(&self, heard: Instant) {
        let margin = self.lease_time / 6;
        let until = heard + self.lease_time.saturating_sub(margin);
        self.news.fence().move_to(until);
    }

    /// A database that is only locked or full does not stop the calls of the only gateway. One that
    /// starts later ends no leases before it has used the database for `lease_time`.
    fn hold_leases_if_alone(&self) {
        let now = Instant::now();
        if self
            .presence
            .as_ref()
            .is_some_and(|other| other.is_still_alone())
        {
            self.hold_leases(now);
        }
    }

    /// The statements of the keys with news, and of all that have leases if it is `is_whole`.
    fn next_batch(&mut self, is_whole: bool) -> Batch {
        self.number = self.number.saturating_add(1);
        let may_rest = is_whole && (self.gateways > 1 || self.round.is_multiple_of(REST_ROUNDS));
        let news = self.news.take(KEYS_MAX);
        let mut keys: BTreeMap<_, _> = news
            .into_iter()
            .map(|spending| (spending.key(), spending))
            .collect();
        if is_whole {
            keys.extend(self.holders.iter().map(|(id, key)| (*id, Arc::clone(key))));
        }
        let mut batch = Batch::new();
        for spending in keys.into_values() {
            let mut statements = spending.states_to_save(may_rest, is_whole);
            statements.sort_unstable_by_key(|statement| statement.name);
            let lines = statements.into_iter();
            batch.extend(lines.map(|statement| (Arc::clone(&spending), statement)));
        }
        batch
    }

    /// Wakes the calls that wait. Logs the first failure and the end of failures.
    fn report(&mut self, error: Option<String>) {
        let is_failing = error.is_some();
        match error {
            None if self.is_failing => tracing::info!("what keys spend is saved again"),
            None => {}
            Some(error) if !self.is_failing => tracing::warn!(
                error,
                "what keys spend cannot be saved now: calls go on with what is leased"
            ),
            Some(error) => tracing::debug!(error, "what keys spend still cannot be saved"),
        }
        self.is_failing = is_failing;
        if is_failing {
            self.well_since = None;
        } else {
            self.well_since.get_or_insert_with(Instant::now);
        }
        self.news.end_exchange(is_failing);
    }
}

#[cfg(test)]
mod tests;
