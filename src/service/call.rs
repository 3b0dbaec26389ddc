//! What comes with a request besides its message: from gRPC metadata and HTTP headers, which are
//! the same thing.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::{
    active_calls::{ActiveCalls, CallGuard},
    inflight_bytes::{Held, Share},
    report::Facts,
    validate,
};
use crate::{
    admission::{self, Caller, Priority},
    error::{Error, ErrorCode, Kind, Result},
    proto::v1::limits,
    telemetry,
};

/// The longest deadline that is kept; a longer one is as good as none.
pub(super) const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) const FALLBACK: &str = "x-featherwire-fallback";

/// How many fallbacks one call may name.
const FALLBACKS_MAX: usize = limits::GATEWAY_OPTIONS_FALLBACKS.max;

pub(super) const PRIORITY: &str = "x-featherwire-priority";

pub(super) const UNARY_VIA_STREAM: &str = "x-featherwire-unary-via-stream";

pub(super) const REST_TIMEOUT: &str = "x-request-timeout-ms";

/// How long a request's body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// A request's body took too long.
pub fn body_timeout() -> Error {
    Error::new(
        ErrorCode::RequestTimeout,
        "The request's body took too long to arrive: send it faster, or allow more time",
    )
}

/// Who sends a call's answer, and gives it up when nobody reads it at the caller's deadline.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// The deadline turns out to be no later than this.
    fn keep(&self, deadline: Instant);
}

/// What the server knows of a call before anything of it is read. It comes among the request's
/// extensions.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its head had come: deadlines count from here.
    pub at: Instant,
    /// The calls among which it runs.
    pub running: ActiveCalls,
    /// Who sends the answer, if anybody watches that: the deadline may be told by what is not read
    /// yet.
    pub keeper: Option<Arc<dyn Keeper>>,
}

/// One call of one caller, from its arrival to its one end: finished, failed, or cancelled, which
/// is what it is when it's dropped before one of the others.
#[derive(Debug)]
pub struct Call {
    /// When it came: its times count from here.
    pub(super) arrived_at: Instant,
    /// When the caller stops waiting: from `grpc-timeout`, `x-request-timeout-ms` or the request's
    /// own option.
    pub deadline: Option<Instant>,
    /// What `x-request-timeout-ms` says.
    pub(super) rest_timeout: Option<Duration>,
    /// Whether a unary chat answer is streamed upstream and added up: from
    /// `x-featherwire-unary-via-stream`. This and what follows may come from the request's own
    /// options too.
    pub unary_via_stream: Option<bool>,
    /// The models that may answer in place of the one asked for, in order: from
    /// `x-featherwire-fallback`.
    pub fallbacks: Option<Vec<String>>,
    /// Its class among those that wait for units, if it says one: from `x-featherwire-priority`.
    pub priority: Option<Priority>,
    /// Whether its answer has a report in it. There is no header for that: the headers are a report
    /// themselves.
    pub(super) wants_report: bool,
    /// What such a report says.
    pub(super) facts: Facts,
    /// Whose call it is.
    pub caller: Caller,
    /// The bytes of its body, as far as they have arrived; none if nobody counts them.
    body: Option<Arc<Share>>,
    /// Where it stands in the queue for units.
    pub queue_position: admission::QueuePosition,
    /// The call's id in logs: `x-request-id`.
    pub request_id: Option<HeaderValue>,
    guard: CallGuard,
    pub(super) keeper: Option<Arc<dyn Keeper>>,
    /// How long it has waited for units, in milliseconds.
    waited_ms: AtomicU64,
    has_ended: AtomicBool,
}

impl Call {
    /// Reads what comes with a request besides its message. One without an [`Arrival`] arrived now,
    /// and is among no others.
    ///
    /// # Errors
    /// Invalid, if a header of ours has a value that isn't one of its own.
    pub fn new(headers: &HeaderMap, extensions: &Extensions) -> Result<Self> {
        let arrival = extensions.get::<Arrival>();
        let arrived_at = arrival.map_or_else(Instant::now, |arrival| arrival.at);
        Ok(Self {
            arrived_at,
            rest_timeout: rest_timeout(headers)?,
            deadline: timeout(headers)?.map(|timeout| arrived_at + timeout),
            unary_via_stream: headers.get(UNARY_VIA_STREAM).map(boolean).transpose()?,
            fallbacks: fallbacks(headers)?,
            priority: headers.get(PRIORITY).map(priority).transpose()?,
            wants_report: false,
            facts: Facts::default(),
            caller: extensions.get().copied().unwrap_or_default(),
            body: extensions.get().cloned(),
            queue_position: admission::QueuePosition::default(),
            request_id: headers.get(telemetry::REQUEST_ID).cloned(),
            guard: arrival
                .map(|arrival| arrival.running.clone())
                .unwrap_or_default()
                .begin(),
            keeper: arrival.and_then(|arrival| arrival.keeper.clone()),
            waited_ms: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        })
    }

    /// A call of the gateway's own, without a deadline.
    pub fn own() -> Self {
        Self {
            arrived_at: Instant::now(),
            deadline: None,
            rest_timeout: None,
            unary_via_stream: None,
            fallbacks: None,
            priority: None,
            wants_report: false,
            facts: Facts::default(),
            caller: Caller::default(),
            body: None,
            queue_position: admission::QueuePosition::default(),
            request_id: None,
            guard: ActiveCalls::default().begin(),
            keeper: None,
            waited_ms: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Waits for a request's body, until the caller's deadline or for [`BODY_TIMEOUT`].
    ///
    /// # Errors
    /// Timeout.
    pub async fn receive<T>(&self, body: impl Future<Output = T>) -> Result<T> {
        let limit = Instant::now() + BODY_TIMEOUT;
        match self.deadline.filter(|deadline| *deadline < limit) {
            Some(deadline) => timeout_at(deadline, body)
                .await
                .map_err(|_| Error::deadline_exceeded("the request had arrived")),
            None => timeout_at(limit, body).await.map_err(|_| body_timeout()),
        }
    }

    /// The bytes of its body, as far as they have arrived; none if nobody counts them.
    pub fn body(&self) -> Option<&Share> {
        self.body.as_deref()
    }

    /// Takes the bytes of its body over: for what becomes of them.
    pub(super) fn hold_body(&self) -> Option<Held> {
        self.body.as_ref().map(|body| body.hold())
    }

    /// Does the whole of a call's work: until its end, its deadline, or the end of all calls.
    ///
    /// # Errors
    /// The work's own, Timeout, or Unavailable; logged on the way, with the cause, which the caller
    /// doesn't get to see.
    pub(super) async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = self.begin(work).await;
        if result.is_ok() {
            self.finish();
        }
        result
    }

    /// The same for work that only begins an answer: its end is told to [`finish`](Self::finish) or
    /// [`fail`](Self::fail) later.
    pub(super) async fn begin<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = match self.deadline {
            Some(deadline) => {
                let work = async {
                    timeout_at(deadline, work).await.unwrap_or_else(|_| {
                        Err(Error::deadline_exceeded("the answer was complete"))
                    })
                };
                self.guard.unless_over(work).await
            }
            None => self.guard.unless_over(work).await,
        };
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }

    /// The check of a request, before any work. A refusal ends the call.
    ///
    /// # Errors
    /// The check's own.
    pub fn refuse<T>(&self, check: Result<T>) -> Result<T> {
        check.inspect_err(|error| self.fail(error))
    }

    /// Adds a wait for units to those of this call, and gives their sum in milliseconds.
    pub(super) fn has_waited(&self, wait: Duration) -> u64 {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.waited_ms
            .fetch_add(wait, Ordering::Relaxed)
            .saturating_add(wait)
    }

    /// How long the call has waited for units so far.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_millis(self.waited_ms.load(Ordering::Relaxed))
    }

    /// Completes when all calls are to end.
    pub(super) fn poll_over(&self, context: &mut Context<'_>) -> Poll<Error> {
        self.guard.poll_over(context)
    }

    /// Whether all calls are to end.
    pub(super) fn is_over(&self) -> bool {
        self.guard.is_over()
    }

    /// The answer is complete.
    pub(super) fn finish(&self) {
        self.end("finished");
    }

    /// The call has failed.
    pub(super) fn fail(&self, error: &Error) {
        self.log(error);
        self.end("failed");
    }

    fn end(&self, end: &str) {
        if !self.has_ended.swap(true, Ordering::Relaxed) {
            tracing::debug!(id = self.id(), end, "call ended");
        }
    }

    fn id(&self) -> &str {
        self.request_id
            .as_ref()
            .and_then(|id| id.to_str().ok())
            .unwrap_or_default()
    }

    fn log(&self, error: &Error) {
        let (cause, id) = (error.cause(), self.id());
        let upstream_id = error.upstream_request_id().unwrap_or_default();
        match error.kind() {
            // The caller's own doing, and told to the caller. Messages may quote the upstream, so
            // they stay out.
            Kind::Invalid
            | Kind::NotFound
            | Kind::Unauthenticated
            | Kind::TooLarge
            | Kind::Cancelled => {
                tracing::debug!(id, upstream_id, code = error.code(), cause, "refused");
            }
            _ if error.is_draining() => {
                tracing::debug!(id, code = error.code(), "ended by the drain")
            }
            // It concerns every call at that time, and the log has been told.
            _ if error.is_out_of_descriptors() => {
                tracing::debug!(id, code = error.code(), cause, "failed")
            }
            Kind::Internal => {
                tracing::error!(id, upstream_id, code = error.code(), cause, "failed")
            }
            _ => tracing::warn!(id, upstream_id, code = error.code(), cause, "failed"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

/// How long the caller is ready to wait, from `grpc-timeout` or `x-request-timeout-ms`: the shorter
/// of the two.
///
/// # Errors
/// Invalid, for a value that isn't one.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>> {
    let grpc = headers.get("grpc-timeout").map(|value| {
        grpc_timeout(value).ok_or_else(|| {
            Error::invalid(
                "grpc-timeout",
                "expected up to 8 digits and one of H M S m u n",
            )
        })
    });
    let timeout = [grpc.transpose()?, rest_timeout(headers)?]
        .into_iter()
        .flatten()
        .min();
    Ok(timeout.filter(|timeout| *timeout < DEADLINE_MAX))
}

fn rest_timeout(headers: &HeaderMap) -> Result<Option<Duration>> {
    let timeout = headers.get(REST_TIMEOUT).map(|value| {
        milliseconds(value).ok_or_else(|| {
            Error::invalid(REST_TIMEOUT, "expected a positive number of milliseconds")
        })
    });
    timeout.transpose()
}

fn priority(value: &HeaderValue) -> Result<Priority> {
    match value.as_bytes() {
        b"interactive" => Ok(Priority::Interactive),
        b"default" => Ok(Priority::Default),
        b"batch" => Ok(Priority::Batch),
        _ => Err(Error::invalid(
            PRIORITY,
            "expected interactive, default or batch",
        )),
    }
}

/// Model ids with commas between them, or `none`, which also turns off the fallbacks that the
/// configuration has.
fn fallbacks(headers: &HeaderMap) -> Result<Option<Vec<String>>> {
    let invalid = |problem: &str| Error::invalid(FALLBACK, problem);
    let mut fallbacks = None::<Vec<String>>;
    for value in headers.get_all(FALLBACK) {
        let value = value
            .to_str()
            .map_err(|_| invalid("expected model ids in ASCII, with commas between them"))?;
        let list = fallbacks.get_or_insert_default();
        if value.trim() == "none" {
            continue;
        }
        for id in value.split(',').map(str::trim) {
            validate::model(id)
                .map_err(|_| invalid("expected model ids with commas between them, or none"))?;
            list.push(id.to_owned());
        }
        if list.len() > FALLBACKS_MAX {
            return Err(invalid(&format!("at most {FALLBACKS_MAX} models")));
        }
    }
    Ok(fallbacks)
}

/// `TimeoutValue TimeoutUnit` of the gRPC over HTTP/2 specification.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn boolean(value: &HeaderValue) -> Result<bool> {
    match value.as_bytes() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Error::invalid(UNARY_VIA_STREAM, "expected true or false")),
    }
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let milliseconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_specification_says() {
        let read = |text: &'static str| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            read("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "123456789n",
            "1.5S",
            " 1S",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn the_sooner_of_two_timeouts_counts_and_a_bad_one_is_refused() {
        let mut headers = HeaderMap::new();
        let call = |headers: &HeaderMap| Call::new(headers, &Extensions::new());
        assert!(call(&headers).unwrap().deadline.is_none());
        headers.insert("grpc-timeout", HeaderValue::from_static("1H"));
        headers.insert("x-request-timeout-ms", HeaderValue::from_static("50"));
        let deadline = call(&headers).unwrap().deadline.unwrap();
        assert!(deadline <= Instant::now() + Duration::from_millis(50));
        headers.insert("x-request-timeout-ms", HeaderValue::from_static("soon"));
        assert_eq!(
            call(&headers).unwrap_err().param(),
            Some("x-request-timeout-ms")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_counts_from_the_calls_arrival() {
        let mut extensions = Extensions::new();
        let arrived_at = Instant::now();
        extensions.insert(Arrival {
            at: arrived_at,
            running: ActiveCalls::default(),
            keeper: None,
        });
        tokio::time::advance(Duration::from_secs(3)).await;
        let headers = HeaderMap::from_iter([(
            "grpc-timeout".parse().unwrap(),
            HeaderValue::from_static("5S"),
        )]);
        let call = Call::new(&headers, &extensions).unwrap();
        assert_eq!(call.deadline, Some(arrived_at + Duration::from_secs(5)));
        let late = call
            .run(std::future::pending::<Result<()>>())
            .await
            .unwrap_err();
        assert_eq!(late.code(), "deadline_exceeded");
        assert_eq!(arrived_at.elapsed(), Duration::from_secs(5));
    }
}
