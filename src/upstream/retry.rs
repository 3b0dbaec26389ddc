//! When to ask upstream again, and how long to wait before.
//!
//! Only for what another try can cure, only before anything of the answer has come, only within the caller's deadline,
//! and only from a budget: a share of live traffic, so that an outage is not multiplied by those who knock again.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use crate::error::{Error, Kind};

/// How much of the traffic of the last [`BUDGET_WINDOW`] may be retries.
const BUDGET_SHARE: f32 = 0.2;
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries per second that are always allowed, however little traffic there is.
const BUDGET_FLOOR_PER_SECOND: u32 = 2;

/// A connection that is closed without a word within this time was closed before the request was worked on.
const CLOSED_SOON: Duration = Duration::from_secs(2);

/// The longest wait between two tries. An upstream that asks for a longer one is not asked again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How much is added to a wait that upstream told, of the wait that would have been without.
const SPREAD_OF_TOLD: f64 = 0.25;

/// How to try again. Cheap to clone; all clones share one budget.
#[derive(Clone)]
pub(super) struct Policy {
    tries_max: u32,
    wait: Duration,
    budget: Arc<TpsBudget>,
}

/// What another try could cure.
enum Cure {
    None,
    /// Once: a second time it would be the request's own doing.
    Once,
    /// As often as is allowed.
    Yes,
}

impl Policy {
    /// At most so many retries for one request, the first of them after about this wait, each further one after twice
    /// the wait of the one before.
    pub(super) fn new(retries_max: u32, wait: Duration) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR_PER_SECOND, BUDGET_SHARE);
        Self { tries_max: retries_max, wait, budget: Arc::new(budget) }
    }

    /// A request begins: it pays into the budget.
    pub(super) fn begin(&self) {
        self.budget.deposit();
    }

    /// How long to wait before the next try, or none if this was the last one. `retries` is how many there have been.
    /// `tried_for` is how long the last try took.
    pub(super) fn wait(
        &self,
        retries: u32,
        tried_for: Duration,
        error: &Error,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let allowed = match cure(error, tried_for) {
            Cure::None => 0,
            Cure::Once => self.tries_max.min(1),
            Cure::Yes => self.tries_max,
        };
        if retries >= allowed {
            return None;
        }
        let backoff = self.wait.saturating_mul(1 << retries.min(16)).min(WAIT_MAX);
        // Between a half and one and a half of it, so that those who failed together don't come back together: not even
        // those who were all told the same time.
        let spread = backoff.mul_f64(0.5 + fastrand::f64()).min(WAIT_MAX);
        let wait = error.retry_after().map_or(spread, |told| told.max(spread) + spread.mul_f64(SPREAD_OF_TOLD));
        let fits = error.retry_after().unwrap_or_default() <= WAIT_MAX
            && deadline.is_none_or(|deadline| Instant::now() + wait < deadline);
        (fits && self.budget.withdraw()).then_some(wait)
    }
}

fn cure(error: &Error, tried_for: Duration) -> Cure {
    match error.code() {
        // The caller's own doing, under whatever name the upstream gives it.
        _ if error.kind() == Kind::Invalid => Cure::None,
        // Nothing was done, or there was no room to do it in.
        "upstream_unreachable" | "connect_timeout" | "no_capacity" | "upstream_rate_limited" => Cure::Yes,
        // At once: an idle connection that was being closed. Later: who knows what was done, and would be done again.
        "upstream_closed" if tried_for < CLOSED_SOON => Cure::Yes,
        "upstream_error" => Cure::Once,
        // Refusals stay refusals. Time-outs are not tried again on the same route: it was silent once for long enough.
        _ => Cure::None,
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("tries_max", &self.tries_max).field("wait", &self.wait).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &'static str) -> Error {
        Error::new(Kind::Upstream, code, "")
    }

    fn policy() -> Policy {
        Policy::new(3, Duration::from_millis(100))
    }

    #[tokio::test]
    async fn waits_double_and_end() {
        let policy = policy();
        for (retries, middle) in [(0, 100), (1, 200), (2, 400)] {
            let wait = policy.wait(retries, Duration::ZERO, &error("no_capacity"), None).unwrap();
            let middle = Duration::from_millis(middle);
            assert!(wait >= middle / 2 && wait <= middle * 3 / 2, "{wait:?} around {middle:?}");
        }
        assert!(policy.wait(3, Duration::ZERO, &error("no_capacity"), None).is_none());
        assert!(policy.wait(0, Duration::ZERO, &error("upstream_error"), None).is_some());
        assert!(policy.wait(1, Duration::ZERO, &error("upstream_error"), None).is_none());
        let late = policy.wait(0, Duration::from_secs(90), &error("upstream_closed"), None);
        assert!(late.is_none(), "an answer may have been in the making");
        let named = Error::new(Kind::Invalid, "no_capacity", "");
        assert!(policy.wait(0, Duration::ZERO, &named, None).is_none(), "a refusal stays one, whatever its name");
        for refused in ["model_not_ready", "model_not_found", "forbidden", "first_token_timeout", "upstream_bad_answer"]
        {
            assert!(policy.wait(0, Duration::ZERO, &error(refused), None).is_none(), "{refused}");
        }
    }

    #[tokio::test]
    async fn upstreams_own_wait_is_kept_or_not_waited_for_at_all() {
        let busy = |seconds| error("no_capacity").with_retry_after(Duration::from_secs(seconds));
        let wait = policy().wait(0, Duration::ZERO, &busy(2), None).unwrap().as_millis();
        assert!((2000..2100).contains(&wait), "{wait}: not before, and not all at once");
        let wait = policy().wait(2, Duration::ZERO, &busy(0), None).unwrap().as_millis();
        assert!((200..800).contains(&wait), "{wait}: not without any wait");
        assert_eq!(policy().wait(0, Duration::ZERO, &busy(60), None), None);
        let soon = Some(Instant::now() + Duration::from_secs(1));
        assert_eq!(policy().wait(0, Duration::ZERO, &busy(2), soon), None, "not past the caller's deadline");
    }

    #[tokio::test]
    async fn an_outage_is_not_multiplied() {
        let policy = policy();
        let mut retries = 0;
        for _ in 0..1000 {
            policy.begin();
            retries += u32::from(policy.wait(0, Duration::ZERO, &error("upstream_unreachable"), None).is_some());
        }
        assert!((200..=250).contains(&retries), "a fifth, and the floor: {retries}");
    }
}
