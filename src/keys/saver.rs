//! Exchanges with the database what keys spend of their budgets: it adds what was spent here, and
//! leases what may be spent here.
//!
//! A call waits for an exchange only if the gateway has leased too little for it: about once for
//! each key and process if this is the only gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{
    account::Statement,
    clock::{UnixMs, milliseconds, now},
    repository::{CLOCK_TOLERANCE, Exchange, ExchangeError, Repository},
    spending::Spending,
    spending_news::SpendingNews,
};
use crate::{store::Presence, throttle::Throttle};

/// The time between two exchanges if no call waits for one. It is what a crash can lose.
const SAVE_EVERY: Duration = Duration::from_millis(100);

/// The least time between two exchanges.
const PAUSE: Duration = Duration::from_millis(20);

/// The time between two rounds, in which all leases are renewed and shared again.
const ROUND_EVERY: Duration = Duration::from_secs(1);

/// How many rounds pass until the only gateway gives back what no call uses.
const REST_ROUNDS: u32 = 10;

/// The longest time without an exchange after which the database still counts as a database
/// that has answered all the time.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// How many accounts one exchange has at most. An exchange may have to be repeated as it is, so it
/// must not be too large for a slow database.
const ACCOUNTS_MAX: usize = 256;

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
    /// The keys with leases that the round has not come to yet.
    due: BTreeSet<Uuid>,
    /// Whether leases that no call uses are given back in this round.
    may_rest: bool,
    gateways: u64,
    /// Whether leases of other gateways may have to end.
    has_lost: bool,
    round: u32,
    /// Since when each exchange has succeeded, without a break.
    well_since: Option<Instant>,
    /// The end of the last exchange that has succeeded.
    heard_at: Option<Instant>,
    is_failing: bool,
    warnings: Throttle,
    /// Whether the log has told of the present failures.
    is_told: bool,
    is_clock_wrong: bool,
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
            due: BTreeSet::new(),
            may_rest: false,
            gateways: 1,
            has_lost: false,
            round: 0,
            well_since: None,
            heard_at: None,
            is_failing: false,
            warnings: Throttle::new(),
            is_told: false,
            is_clock_wrong: false,
            lease_time,
            presence,
        }
    }

    /// Runs until `end`. Then it saves what is left, and gives all leases back.
    pub(super) async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let (mut last, mut round_at) = (Instant::now(), Instant::now() + ROUND_EVERY);
        loop {
            let has_rounds = !self.holders.is_empty()
                || self.unknown.is_some()
                || self.has_lost
                || self.is_failing;
            let is_round = tokio::select! {
                biased;
                () = &mut end => break,
                () = std::future::ready(()), if !self.due.is_empty() => false,
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
                self.begin_round();
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
        self.due.clear();
        while self.unknown.is_some() || self.news.length() > 0 {
            self.exchange(false).await;
            if self.is_failing {
                tracing::warn!("what keys have spent at last was not saved");
                return;
            }
        }
        if self.number > 0
            && let Err(error) = self.repository.leave(self.gateway).await
        {
            tracing::debug!(%error, "leases of budgets were not given back, and end by time");
        }
    }

    /// Begins a round: all leases are renewed by the next exchanges.
    fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.may_rest = self.gateways > 1 || self.round.is_multiple_of(REST_ROUNDS);
        self.due.extend(self.holders.keys());
    }

    /// One exchange. `is_round`: even if there is nothing to save, because another gateway may be
    /// lost, and because only an exchange tells that the database is back.
    async fn exchange(&mut self, is_round: bool) {
        let batch = match self.unknown.take() {
            Some(batch) => batch,
            None => self.next_batch(),
        };
        if batch.is_empty() && !(is_round && (self.has_lost || self.is_failing)) {
            return;
        }
        let began = Instant::now();
        if self.heard_at.is_none_or(|at| began > at + SILENCE_MAX) {
            // After an outage, all gateways are silent until their next attempt.
            self.well_since = None;
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
        let error = match self.repository.exchange(&exchange).await {
            Ok(exchanged) => {
                self.hold_leases(began);
                self.compare_clocks(exchanged.now);
                if exchanged.is_new {
                    self.holders
                        .values()
                        .for_each(|spending| spending.lose_leases());
                }
                self.gateways = exchanged.gateways;
                self.has_lost = exchanged.has_lost;
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
            Err(ExchangeError::NotSaved(error)) => {
                for (spending, statement) in &batch {
                    spending.take_back(statement);
                }
                Some(error.to_string())
            }
            Err(ExchangeError::Unknown(error)) => {
                self.unknown = Some(batch);
                Some(error.to_string())
            }
        };
        if error.is_some() {
            self.hold_leases_if_alone();
        }
        self.report(error);
    }

    /// Days of budgets begin by the clock of the database, if that of this machine is wrong.
    fn compare_clocks(&mut self, of_database: UnixMs) {
        let offset = of_database.saturating_sub(now());
        let is_wrong = offset.abs() > milliseconds(CLOCK_TOLERANCE);
        self.news
            .set_clock_offset(if is_wrong { offset } else { 0 });
        if is_wrong && !self.is_clock_wrong {
            tracing::warn!(
                seconds = offset / 1000,
                "the clocks of this machine and of the database differ: days of budgets begin by \
                 that of the database"
            );
        }
        self.is_clock_wrong = is_wrong;
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

    /// The statements of keys with news, and of keys with leases that are due, at most
    /// [`ACCOUNTS_MAX`].
    fn next_batch(&mut self) -> Batch {
        self.number = self.number.saturating_add(1);
        let mut room = ACCOUNTS_MAX;
        let mut has_room = |spending: &Arc<Spending>| {
            let left = room.checked_sub(spending.accounts());
            room = left.unwrap_or(room);
            left.is_some()
        };
        let news = self.news.take_while(&mut has_room);
        let mut keys: BTreeMap<_, _> = news
            .into_iter()
            .map(|spending| (spending.key(), (self.due.remove(&spending.key()), spending)))
            .collect();
        while let Some(id) = self.due.first()
            && self.holders.get(id).is_none_or(&mut has_room)
            && let Some(id) = self.due.pop_first()
        {
            if let Some(spending) = self.holders.get(&id) {
                keys.insert(id, (true, Arc::clone(spending)));
            }
        }
        let mut batch = Batch::new();
        for (is_due, spending) in keys.into_values() {
            let mut statements = spending.states_to_save(is_due && self.may_rest, is_due);
            statements.sort_unstable_by_key(|statement| statement.name);
            let lines = statements.into_iter();
            batch.extend(lines.map(|statement| (Arc::clone(&spending), statement)));
        }
        batch
    }

    /// Wakes the calls that wait. Logs failures, at most one a minute, and their end.
    fn report(&mut self, error: Option<String>) {
        self.is_failing = error.is_some();
        self.repository.note_spending(!self.is_failing);
        if let Some(error) = error {
            if self.warnings.lets_through() {
                self.is_told = true;
                let unknown = self.unknown.as_ref().map_or(0, Vec::len);
                tracing::warn!(
                    error,
                    waiting = self.news.length() + unknown,
                    "what keys spend cannot be saved now: calls go on with what is leased"
                );
            } else {
                tracing::debug!(error, "what keys spend still cannot be saved");
            }
            self.well_since = None;
        } else {
            if std::mem::take(&mut self.is_told) {
                tracing::info!("what keys spend is saved again");
            }
            let now = Instant::now();
            self.well_since.get_or_insert(now);
            self.heard_at = Some(now);
        }
        self.news.end_exchange(self.is_failing);
    }
}

#[cfg(test)]
mod tests;
