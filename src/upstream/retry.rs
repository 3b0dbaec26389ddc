//! Whether to send a request again, and how long to wait before.
//!
//! A request is sent again only if another attempt can cure the error, only before anything of the
//! answer has arrived, and only within the caller's deadline. A budget limits the retries to a
//! share of the live traffic, so that retries do not multiply an outage.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use super::options::{RequestOptions, SentRequests};
use crate::{
    clock,
    error::{Error, Retry},
};

/// The largest share of the traffic that may be retries.
const BUDGET_SHARE: f32 = 0.2;

/// The time over which the share is measured.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries per second that are always allowed, however little traffic there is.
const BUDGET_FLOOR_PER_SECOND: u32 = 2;

/// If upstream closes the connection within this time and sends nothing, it has not worked on the
/// request.
const EARLY_CLOSE_MAX: Duration = Duration::from_secs(2);

/// The longest wait between two attempts. If upstream asks for a longer one, there is no retry.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The share of the gateway's own wait that is added to a wait that upstream asks for.
const RETRY_AFTER_SPREAD: f64 = 0.25;

/// When requests are retried. Cheap to clone: all clones share one budget.
#[derive(Clone)]
pub(super) struct Policy {
    retries_max: u32,
    wait: Duration,
    budget: Arc<TpsBudget>,
}

/// The attempts of one request.
#[derive(Debug)]
pub struct Attempts<'a> {
    policy: &'a Policy,
    /// No retry begins after this time.
    until: Instant,
    no_retries: bool,
    /// Is told how attempts fail.
    sent: Option<&'a SentRequests>,
    /// If the wait before the next attempt is longer than this, the error is returned and the
    /// caller waits.
    wait_max: Duration,
    later: Option<Duration>,
    retries: u32,
    began: Instant,
    last_began: Instant,
}

impl Attempts<'_> {
    /// When the first attempt began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// With `no_retries`, there is no further attempt.
    pub(super) fn set_no_retries(&mut self, no_retries: bool) {
        self.no_retries = no_retries;
    }

    /// After an error: how long the caller must wait before it sends the same request again with
    /// these attempts. `None` if it must not.
    pub fn take_later(&mut self) -> Option<Duration> {
        self.later.take()
    }

    /// Continues after the caller has waited. It waited `longer` than it was told to; that time
    /// does not count for the timeouts.
    pub fn go_on(&mut self, longer: Duration) {
        self.began += longer;
        self.until += longer;
        self.last_began = Instant::now();
    }

    /// Waits until the next attempt may begin. `error` is the error of the last one.
    ///
    /// # Errors
    /// `error`, if there is no further attempt, or if the caller must wait for it.
    pub(super) async fn wait_for_next(&mut self, error: Error) -> Result<(), Error> {
        if let Some(sent) = self.sent {
            sent.record_error(&error);
        }
        if self.no_retries {
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
        if let Some(sent) = self.sent {
            sent.note_retry(&error, wait);
        }
        // A lack of descriptors concerns every call at that time, and has its own log line.
        if !error.is_out_of_descriptors() {
            tracing::info!(
                code = error.code(),
                cause = error.cause(),
                retries = self.retries,
                wait_ms = clock::milliseconds(wait),
                "retrying the upstream request"
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
    /// At most `retries_max` retries for one request. The first one comes after about `wait`, each
    /// further one after about twice the previous wait.
    pub(super) fn new(retries_max: u32, wait: Duration) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR_PER_SECOND, BUDGET_SHARE);
        Self {
            retries_max,
            wait,
            budget: Arc::new(budget),
        }
    }

    /// The attempts of a request that starts now, which adds to the budget. It may be retried until
    /// `until`, or never if its options say so. The caller does the waits that are longer than
    /// `wait_max`.
    pub(super) fn attempts<'a>(
        &'a self,
        until: impl FnOnce(Instant) -> Instant,
        options: RequestOptions<'a>,
        wait_max: Duration,
    ) -> Attempts<'a> {
        self.budget.deposit();
        let began = Instant::now();
        let (later, retries) = (None, 0);
        Attempts {
            policy: self,
            until: until(began),
            no_retries: options.no_retries,
            sent: options.sent,
            wait_max,
            later,
            retries,
            began,
            last_began: began,
        }
    }

    /// How long to wait before the next attempt. `None` if there is none. `retries` is the number
    /// of retries so far, `tried_for` the duration of the last attempt.
    fn wait(
        &self,
        retries: u32,
        tried_for: Duration,
        error: &Error,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let allowed = match error.retry() {
            Retry::Yes => self.retries_max,
            Retry::IfSoon if tried_for < EARLY_CLOSE_MAX => self.retries_max,
            Retry::Once => self.retries_max.min(1),
            Retry::IfSoon | Retry::Never => 0,
        };
        if retries >= allowed {
            return None;
        }
        let backoff = self.wait.saturating_mul(1 << retries.min(16)).min(WAIT_MAX);
        // Between half and one and a half times the backoff, so that requests that failed together
        // do not come back together, even if upstream asked all of them for the same wait.
        let spread = backoff.mul_f64(0.5 + fastrand::f64()).min(WAIT_MAX);
        let wait = error.retry_after().map_or(spread, |asked| {
            asked.max(spread) + spread.mul_f64(RETRY_AFTER_SPREAD)
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
    use crate::{error::ErrorCode, upstream::error::ErrorReply};

    fn error(code: ErrorCode) -> Error {
        Error::new(code, "")
    }

    fn reply(status: u16) -> Error {
        let status = http::StatusCode::from_u16(status).unwrap();
        ErrorReply {
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
            let _ = policy.attempts(|now| now, RequestOptions::default(), Duration::MAX);
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
