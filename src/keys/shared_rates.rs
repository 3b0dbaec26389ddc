//! The limits for a minute of keys, shared with other gateways by a Redis.
//!
//! Redis decides each call of a key with such a limit, so that the limit holds exactly, however many
//! gateways there are. The call waits for it, at most [`ANSWER_MAX`]. While Redis is away, no call
//! waits: each gateway allows its share of the limit, by the number of gateways that were there last,
//! and tells Redis later what was used.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant as TokioInstant, sleep, timeout, timeout_at},
};
use uuid::Uuid;

use super::rate::{MINUTE_NS, Rate, correction, part, state};
use crate::{
    cluster::{
        message::MemberId,
        redis::{Candidate, Problem, Redis},
    },
    error::{RateState, RateUnit},
};

/// The longest wait of a call for the answer of Redis. After it, Redis counts as away.
const ANSWER_MAX: Duration = Duration::from_millis(100);

/// How often Redis is asked whether it is there, and how many gateways there are.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How long corrections wait for others, to be sent together.
const CORRECTIONS_WAIT: Duration = Duration::from_millis(50);

/// Limits that are shared. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct SharedRates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    redis: Redis,
    /// This gateway, among those that share.
    member: MemberId,
    is_there: AtomicBool,
    /// How many gateways there were when Redis was there last.
    gateways: AtomicU64,
    /// What Redis does not know yet, in nanoseconds: at most one number for each limit of a key.
    corrections: Mutex<HashMap<Name, i64>>,
    has_corrections: Notify,
}

/// Limits that may be shared from some time on.
pub(super) type Sharing = Arc<OnceLock<SharedRates>>;

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// The key.
    pub(super) key: Uuid,
    /// What the limit counts.
    pub(super) of: RateUnit,
}

impl Name {
    fn text(self) -> String {
        let of = match self.of {
            RateUnit::Requests => "requests",
            RateUnit::Tokens => "tokens",
        };
        format!("{}:{of}", self.key)
    }
}

impl SharedRates {
    /// Limits that are shared through `redis` while [`run`](Self::run) runs.
    pub fn new(redis: Redis) -> Self {
        Self(Arc::new(Shared {
            redis,
            member: MemberId(fastrand::u64(..)),
            is_there: AtomicBool::new(false),
            gateways: AtomicU64::new(1),
            corrections: Mutex::default(),
            has_corrections: Notify::new(),
        }))
    }

    /// Looks whether Redis is there, and tells it what it does not know. Never completes.
    pub async fn run(self) {
        let mut was_there = true;
        loop {
            let is_there = match self.watch().await {
                Ok(()) => true,
                Err(problem) => {
                    if was_there {
                        tracing::warn!(
                            gateways = self.gateways(),
                            "limits of keys are not shared: {problem}. Each gateway allows its share"
                        );
                    }
                    false
                }
            };
            self.set_there(is_there);
            if is_there && !was_there {
                tracing::info!(
                    gateways = self.gateways(),
                    "limits of keys are shared again"
                );
            }
            was_there = is_there;
            self.correct_until(TokioInstant::now() + WATCH_INTERVAL)
                .await;
        }
    }

    /// Tells Redis what it does not know, whenever there is something.
    async fn correct_until(&self, until: TokioInstant) {
        let has_some = || timeout_at(until, self.0.has_corrections.notified());
        while has_some().await.is_ok() {
            sleep(CORRECTIONS_WAIT).await;
            if self.is_there() && self.send_corrections().await.is_err() {
                self.set_there(false);
            }
        }
    }

    async fn watch(&self) -> Result<(), Problem> {
        let candidate = Candidate {
            member: self.0.member,
            known_epoch: None,
            // There is nothing to lead. It only counts the gateways.
            may_lead: false,
            note: Bytes::new(),
            view: None,
        };
        let members = self.0.redis.campaign(candidate).await?.members.len();
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        self.0.gateways.store(members.max(1), Ordering::Relaxed);
        self.send_corrections().await
    }

    /// Tells Redis what it does not know, and leaves the others.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn end(&self) -> Result<(), Problem> {
        self.send_corrections().await?;
        self.0.redis.resign(self.0.member).await
    }

    async fn send_corrections(&self) -> Result<(), Problem> {
        let corrections = std::mem::take(&mut *self.corrections());
        if corrections.is_empty() {
            return Ok(());
        }
        let named = corrections.iter().map(|(name, by)| (name.text(), *by));
        let named: Vec<_> = named.collect();
        let sent = self.0.redis.correct(&named).await;
        if sent.is_err() {
            for (name, by_ns) in corrections {
                self.add(name, by_ns);
            }
        }
        sent
    }

    /// Counts `amount` at `now`, if a `limit` in a minute of all gateways allows it. `rate` is what
    /// this gateway knows of it.
    pub(super) async fn take(
        &self,
        rate: &Rate,
        name: Name,
        limit: u64,
        amount: u64,
        now: Instant,
    ) -> Result<RateState, RateState> {
        let part_ns = part(limit, amount);
        if self.is_there() {
            let text = name.text();
            let advance = self.0.redis.advance(&text, part_ns, MINUTE_NS);
            if let Ok(Ok(advance)) = timeout(ANSWER_MAX, advance).await {
                rate.set_ahead(advance.ahead_ns, TokioInstant::now().into_std());
                let state = state(limit, advance.ahead_ns, part_ns);
                return if advance.fits { Ok(state) } else { Err(state) };
            }
            self.set_there(false);
        }
        let share = (limit / self.gateways()).max(1);
        let taken = rate.take(share, amount.min(share), now)?;
        self.correct(name, i64::try_from(part_ns).unwrap_or(i64::MAX));
        Ok(taken)
    }

    /// Corrects what was counted for a call of all gateways: see [`Rate::settle`].
    pub(super) fn settle(&self, name: Name, limit: u64, taken: u64, used: u64, ago: Duration) {
        let (owed_ns, free_ns) = correction(limit, taken, used, ago);
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        self.correct(name, signed(owed_ns) - signed(free_ns));
    }

    fn correct(&self, name: Name, by_ns: i64) {
        if by_ns != 0 {
            self.add(name, by_ns);
            self.0.has_corrections.notify_one();
        }
    }

    fn add(&self, name: Name, by_ns: i64) {
        let mut corrections = self.corrections();
        let sum = corrections.entry(name).or_default();
        *sum = sum.saturating_add(by_ns);
    }

    fn is_there(&self) -> bool {
        self.0.is_there.load(Ordering::Acquire)
    }

    fn set_there(&self, is_there: bool) {
        self.0.is_there.store(is_there, Ordering::Release);
    }

    fn gateways(&self) -> u64 {
        self.0.gateways.load(Ordering::Relaxed)
    }

    fn corrections(&self) -> MutexGuard<'_, HashMap<Name, i64>> {
        // No code panics while it holds the lock.
        let corrections = self.0.corrections.lock();
        corrections.unwrap_or_else(PoisonError::into_inner)
    }
}
