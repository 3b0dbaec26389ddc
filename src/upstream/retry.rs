//! When to ask upstream again, and how long to wait before.
//!
//! Only for what another try can cure, only before anything of the answer has come, only within the
//! caller's deadline, and only from a budget: a share of live traffic, so that an outage is not
//! multiplied by those who knock again.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use crate::error::{Error, Retry};

/// How much of the traffic of the last [`BUDGET_WINDOW`] may be retries.
const BUDGET_SHARE: f32 = 0.2;
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries per second that are always allowed, however little traffic there is.
const BUDGET_FLOOR_PER_SECOND: u32 = 2;

/// A connection that is closed without a word within this time was closed before the request was
/// worked on.
const CLOSED_SOON: Duration = Duration::from_secs(2);

/// The longest wait between two tries. An upstream that asks for a longer one is not asked again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How much is added to a wait that upstream told, of the wait that would have been without.
const SPREAD_OF_TOLD: f64 = 0.25;

/// How to try again. Cheap to clone; all clones share one budget.
#[derive(Clone)]
pub(super) struct Policy {
    retries_max: u32,
    wait: Duration,
    budget: Arc<TpsBudget>,
}

/// The tries of one request.
#[derive(Debug)]
pub struct Tries<'a> {
    policy: &'a Policy,
    /// No retry may begin after this.
    until: Instant,
    is_single: bool,
    /// With a longer wait before the next try, the last one's error is handed out, and the caller
    /// waits.
    wait_max: Duration,
    later: Option<Duration>,
    retries: u32,
    began: Instant,
    last_began: Instant,
}

impl Tries<'_> {
    /// When the first of them began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether there is to be no further one.
    pub(super) fn ask_once(&mut self, is_single: bool) {
        self.is_single = is_single;
    }

    /// After an error: how long to wait until the same may be asked again by these tries, if that
    /// is for the caller to wait.
    pub fn take_later(&mut self) -> Option<Duration> {
        self.later.take()
    }

    /// The caller has waited, and this much longer than it was told to: that time counts for no
    /// clock.
    pub fn go_on(&mut self, longer: Duration) {
        self.began += longer;
        self.until += longer;
        self.last_began = Instant::now();
    }

    /// Waits until the next try may begin.
    ///
    /// # Errors
    /// This error of the last try, if there is no further one, or if the caller is to wait for it.
    pub(super) async fn again(&mut self, error: Error) -> Result<(), Error> {
        if self.is_single {
            return Err(error);
        }
        let wait = self.policy.wait(
            self.retries,
            self.last_began.elapsed(),
            &error,
            Some(self.until),
        );
        let Some(wait) = wait else { return Err(error) };
        self.retries += 1;
        // Want of descriptors concerns every call at that time, and the log has been told.
        if !error.is_out_of_descriptors() {
            tracing::info!(
                code = error.code(),
                cause = error.cause(),
                self.retries,
                ?wait,
                "asking upstream again"
            );
        }
        if wait > self.wait_max {
            self.later = Some(wait);
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        self.last_began = Instant::now();
        Ok(())
    }
}

impl Policy {
    /// At most so many retries for one request, the first of them after about this wait, each
    /// further one after twice the wait of the one before.
    pub(super) fn new(retries_max: u32, wait: Duration) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR_PER_SECOND, BUDGET_SHARE);
        Self {
            retries_max,
            wait,
            budget: Arc::new(budget),
        }
    }

    /// A request begins: it pays into the budget. It may be tried again until `until`; or, if it
    /// `is_single`, never. Its caller waits for longer waits than `wait_max`.
    pub(super) fn begin(
        &self,
        until: impl FnOnce(Instant) -> Instant,
        is_single: bool,
        wait_max: Duration,
    ) -> Tries<'_> {
        self.budget.deposit();
        let began = Instant::now();
        let (later, retries) = (None, 0);
        Tries {
            policy: self,
            until: until(began),
            is_single,
            wait_max,
            later,
            retries,
            began,
            last_began: began,
        }
    }

    /// How long to wait before the next try, or none if this was the last one. `retries` is how
    /// many there have been. `tried_for` is how long the last try took.
    fn wait(
        &self,
        retries: u32,
        tried_for: Duration,
        error: &Error,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let allowed = match error.retry() {
            Retry::Yes => self.retries_max,
            Retry::IfSoon if tried_for < CLOSED_SOON => self.retries_max,
            Retry::Once => self.retries_max.min(1),
            Retry::IfSoon | Retry::Never => 0,
        };
        if retries >= allowed {
            return None;
        }
        let backoff = self.wait.saturating_mul(1 << retries.min(16)).min(WAIT_MAX);
        // Between a half and one and a half of it, so that those who failed together don't come
        // back together: not even those who were all told the same time.
        let spread = backoff.mul_f64(0.5 + fastrand::f64()).min(WAIT_MAX);
        let wait = error.retry_after().map_or(spread, |told| {
            told.max(spread) + spread.mul_f64(SPREAD_OF_TOLD)
        });
        let fits = error.retry_after().unwrap_or_default() <= WAIT_MAX
            && deadline.is_none_or(|deadline| Instant::now() + wait < deadline);
        (fits && self.budget.withdraw()).then_some(wait)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("retries_max", &self.retries_max)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorCode, Reply};

    fn error(code: ErrorCode) -> Error {
        Error::new(code, "")
    }

    fn reply(status: u16) -> Error {
        let status = http::StatusCode::from_u16(status).unwrap();
        Reply {
            status,
            headers: &http::HeaderMap::new(),
            body: b"",
            model: None,
        }
        .into()
    }

    fn policy() -> Policy {
        Policy::new(3, Duration::from_millis(100))
    }

    #[tokio::test]
    async fn waits_double_and_end() {
        let policy = policy();
        for (retries, middle) in [(0, 100), (1, 200), (2, 400)] {
            let wait = policy
                .wait(retries, Duration::ZERO, &reply(503), None)
                .unwrap();
            let middle = Duration::from_millis(middle);
            assert!(
                wait >= middle / 2 && wait <= middle * 3 / 2,
                "{wait:?} around {middle:?}"
            );
        }
        assert!(policy.wait(3, Duration::ZERO, &reply(503), None).is_none());
        assert!(policy.wait(0, Duration::ZERO, &reply(500), None).is_some());
        assert!(policy.wait(1, Duration::ZERO, &reply(500), None).is_none());
        let late = policy.wait(
            0,
            Duration::from_secs(90),
            &error(ErrorCode::UpstreamClosed),
            None,
        );
        assert!(late.is_none(), "an answer may have been in the making");
        let named = error(ErrorCode::UpstreamRefused).with_foreign_code("no_capacity");
        assert!(
            policy.wait(0, Duration::ZERO, &named, None).is_none(),
            "a refusal stays one, whatever its name"
        );
        for refused in [
            ErrorCode::ModelNotReady,
            ErrorCode::ModelNotFound,
            ErrorCode::Forbidden,
            ErrorCode::FirstTokenTimeout,
            ErrorCode::UpstreamBadAnswer,
        ] {
            assert!(
                policy
                    .wait(0, Duration::ZERO, &error(refused), None)
                    .is_none(),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn upstreams_own_wait_is_kept_or_not_waited_for_at_all() {
        let busy = |seconds| reply(503).with_retry_after(Duration::from_secs(seconds));
        let wait = policy()
            .wait(0, Duration::ZERO, &busy(2), None)
            .unwrap()
            .as_millis();
        assert!(
            (2000..2100).contains(&wait),
            "{wait}: not before, and not all at once"
        );
        let wait = policy()
            .wait(2, Duration::ZERO, &busy(0), None)
            .unwrap()
            .as_millis();
        assert!((200..800).contains(&wait), "{wait}: not without any wait");
        assert_eq!(policy().wait(0, Duration::ZERO, &busy(60), None), None);
        let soon = Some(Instant::now() + Duration::from_secs(1));
        assert_eq!(
            policy().wait(0, Duration::ZERO, &busy(2), soon),
            None,
            "not past the caller's deadline"
        );
    }

    #[tokio::test]
    async fn an_outage_is_not_multiplied() {
        let policy = policy();
        let mut retries = 0;
        for _ in 0..1000 {
            let _ = policy.begin(|now| now, false, Duration::MAX);
            retries += u32::from(
                policy
                    .wait(
                        0,
                        Duration::ZERO,
                        &error(ErrorCode::UpstreamUnreachable),
                        None,
                    )
                    .is_some(),
            );
        }
        assert!(
            (200..=250).contains(&retries),
            "a fifth, and the floor: {retries}"
        );
    }
}
