//! The limits for a minute of keys, shared with other gateways by a Redis.
//!
//! Redis decides each call of a key with such a limit, so that the limit holds exactly, however many
//! gateways there are. The call waits for it, at most [`ANSWER_MAX`]. While Redis is away, no call
//! waits: each gateway allows its share of the limit, by the number of gateways that were there last,
//! and tells Redis later what was used.
//!
//! - `name`: which limit.
//! - `question`: what Redis is asked, and answers that come too late.
//! - `corrections`: what Redis does not know yet.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::{Instant as TokioInstant, sleep, timeout, timeout_at};

use super::rate::{MINUTE_NS, Rate, correction, part, state};
use crate::{
    cluster::{
        message::MemberId,
        redis::{Candidate, Problem, Redis},
    },
    error::RateState,
};
use corrections::Corrections;
pub(super) use name::Name;
use question::{LateAnswers, Question};

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
    /// Whether the log says that it is there.
    is_logged_there: AtomicBool,
    /// How many gateways there were when Redis was there last.
    gateways: AtomicU64,
    corrections: Corrections,
    late: LateAnswers,
}

/// Limits that may be shared from some time on.
pub(super) type Sharing = Arc<OnceLock<SharedRates>>;

impl SharedRates {
    /// Limits that are shared through `redis` while [`run`](Self::run) runs.
    pub fn new(redis: Redis) -> Self {
        Self(Arc::new(Shared {
            corrections: Corrections::new(redis.clone()),
            redis,
            member: MemberId(fastrand::u64(..)),
            is_there: AtomicBool::new(false),
            is_logged_there: AtomicBool::new(true),
            gateways: AtomicU64::new(1),
            late: LateAnswers::new(),
        }))
    }

    /// Looks whether Redis is there, and tells it what it does not know. Never completes.
    pub async fn run(self) {
        let correct = |name, by_ns| self.0.corrections.add(name, by_ns);
        tokio::join!(self.keep_watching(), self.0.late.read(correct));
    }

    async fn keep_watching(&self) {
        loop {
            match self.watch().await {
                Ok(()) => self.set_there(),
                Err(problem) => self.set_away(&problem),
            }
            self.correct_until(TokioInstant::now() + WATCH_INTERVAL)
                .await;
        }
    }

    /// Tells Redis what it does not know, whenever there is something.
    async fn correct_until(&self, until: TokioInstant) {
        // There may always be something.
        while TokioInstant::now() < until {
            if timeout_at(until, self.0.corrections.added()).await.is_err() {
                return;
            }
            sleep(CORRECTIONS_WAIT).await;
            if self.is_there()
                && let Err(problem) = self.0.corrections.send().await
            {
                self.set_away(&problem);
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
        self.0.corrections.send().await
    }

    /// Tells Redis what it does not know, and leaves the others. Call it when [`run`](Self::run) was
    /// dropped.
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn end(&self) -> Result<(), Problem> {
        self.0.corrections.send().await?;
        self.0.redis.resign(self.0.member).await
    }

    /// Counts `amount` at `now`, if a `limit` in a minute of all gateways allows it. `rate` is what
    /// this gateway knows of it. If the result is dropped before it is ready, nothing is counted.
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
            let mut question = self.ask(name, part_ns);
            match timeout(ANSWER_MAX, question.answer()).await {
                Ok(Ok(advance)) => {
                    rate.set_ahead(advance.ahead_ns, TokioInstant::now().into_std());
                    let state = state(limit, advance.ahead_ns, part_ns);
                    return if advance.fits { Ok(state) } else { Err(state) };
                }
                Ok(Err(problem)) => self.set_away(&problem),
                Err(_) => {
                    self.set_away(&Late);
                    let taken = self.take_of_share(rate, limit, amount, now);
                    // Redis probably counts the call all the same.
                    question.decided(taken.is_ok());
                    return taken;
                }
            }
        }
        let taken = self.take_of_share(rate, limit, amount, now)?;
        let by_ns = i64::try_from(part_ns).unwrap_or(i64::MAX);
        self.0.corrections.add(name, by_ns);
        Ok(taken)
    }

    /// Asks Redis whether a limit allows a call that takes `part_ns`.
    fn ask(&self, name: Name, part_ns: u64) -> Question<'_> {
        let (redis, text) = (self.0.redis.clone(), name.text());
        let answer = async move { redis.advance(&text, part_ns, MINUTE_NS).await };
        Question::new(&self.0.late, name, part_ns, answer)
    }

    /// Counts `amount` if this gateway's share of the `limit` allows it. A larger amount than the
    /// share takes the whole share, and at the end of the call what it has used: see
    /// [`RateState::counted_limit`].
    fn take_of_share(
        &self,
        rate: &Rate,
        limit: u64,
        amount: u64,
        now: Instant,
    ) -> Result<RateState, RateState> {
        let gateways = self.0.gateways.load(Ordering::Relaxed);
        let share = (limit / gateways).max(1);
        let of_limit = |state: RateState| state.as_share_of(limit);
        let taken = rate.take(share, amount.min(share), now);
        taken.map(of_limit).map_err(of_limit)
    }

    /// Corrects what was counted for a call of all gateways: see [`Rate::settle`].
    pub(super) fn settle(&self, name: Name, limit: u64, taken: u64, used: u64, ago: Duration) {
        let (owed_ns, free_ns) = correction(limit, taken, used, ago);
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let by_ns = signed(owed_ns) - signed(free_ns);
        self.0.corrections.add(name, by_ns);
    }

    fn is_there(&self) -> bool {
        self.0.is_there.load(Ordering::Acquire)
    }

    fn set_there(&self) {
        self.0.is_there.store(true, Ordering::Release);
        if !self.0.is_logged_there.swap(true, Ordering::AcqRel) {
            tracing::info!(
                gateways = self.0.gateways.load(Ordering::Relaxed),
                "limits of keys are shared again"
            );
        }
    }

    fn set_away(&self, problem: &dyn fmt::Display) {
        self.0.is_there.store(false, Ordering::Release);
        if self.0.is_logged_there.swap(false, Ordering::AcqRel) {
            tracing::warn!(
                gateways = self.0.gateways.load(Ordering::Relaxed),
                "limits of keys are not shared: {problem}. Each gateway allows its share"
            );
        }
    }
}

/// Why Redis counts as away if a call has waited for too long.
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis has not answered a call within {ANSWER_MAX:?}")
    }
}

mod corrections;
mod name;
mod question;
#[cfg(test)]
mod tests;
