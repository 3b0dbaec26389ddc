//! The life cycle of a call, from its arrival to its end.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::{
    active_calls::{ActiveCalls, CallGuard, ConnectionCut},
    body_timeout,
    headers::{MAX_TOKENS, RequestHeaders},
    inflight_bytes::{ByteShare, HeldBytes},
    record::Subject,
    stats::CallStats,
};
use crate::{
    admission::{Priority, QueuePosition},
    error::{Error, ErrorCode, Kind, RateState, RateUnit, Result},
    keys::{Allowance, Identity},
    ledger::{Door, Ending, Ledger, Rpc},
    telemetry::{CallTrace, Observation},
};

/// Is told the deadline of a call. The server implements it to stop sending a response that its
/// caller does not read.
pub trait DeadlineObserver: fmt::Debug + Send + Sync {
    /// The deadline is not later than `deadline`.
    fn set_deadline(&self, deadline: Instant);
}

/// What the server knows of a call before it reads the request. It is among the request's
/// extensions.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When the head of the request had come. Deadlines count from here.
    pub at: Instant,
    /// The active calls of the server.
    pub active_calls: ActiveCalls,
    /// Is set when the connection of the call ends.
    pub connection_cut: ConnectionCut,
    /// Takes the record of the call.
    pub ledger: Ledger,
    /// Is told how the call ended, for the log, the metrics and the traces.
    pub observation: Option<Observation>,
    /// Is told a deadline that the request's message sets.
    pub deadline_observer: Option<Arc<dyn DeadlineObserver>>,
}

/// One call of one caller. It ends once: finished, failed, or cancelled if it is dropped before.
///
/// ```
/// # use featherwire::{keys::Identity, service::Call};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut headers = http::HeaderMap::new();
/// headers.insert("grpc-timeout", http::HeaderValue::from_static("2S"));
/// let mut extensions = http::Extensions::new();
/// extensions.insert(Identity::gateway());
/// let call = Call::new(&headers, &extensions).unwrap();
/// assert!(call.deadline.is_some());
/// # }
/// ```
#[derive(Debug)]
pub struct Call {
    /// When it arrived. Its times count from here.
    pub(super) arrived_at: Instant,
    /// When the caller stops waiting: by `grpc-timeout`, `x-request-timeout-ms` or the option
    /// `timeout_ms` of the request.
    pub deadline: Option<Instant>,
    /// The value of `x-request-timeout-ms`.
    pub(super) header_timeout: Option<Duration>,
    /// Whether a unary chat answer is streamed upstream and accumulated. This and the next two come
    /// from a header or from the options of the request.
    pub unary_via_stream: Option<bool>,
    /// The models that may answer in place of the one asked for, in order.
    pub fallbacks: Option<Vec<String>>,
    /// The class in the queue for units.
    pub priority: Option<Priority>,
    /// Whether the answer contains a report of the call. There is no header for this, because the
    /// response headers tell the same.
    pub(super) wants_report: bool,
    /// Whether a stream tells how the call waits for units.
    pub(super) wants_queue: bool,
    pub(super) stats: CallStats,
    /// The caller.
    pub identity: Identity,
    /// The state of the caller's limit of calls, if it has one.
    pub(super) rate: Option<RateState>,
    /// The protocol of the call.
    pub door: Door,
    /// What is called, if models answer such calls. The ledger keeps a record of these.
    pub rpc: Option<Rpc>,
    pub(super) ledger: Ledger,
    /// What the record names.
    pub(super) subject: Mutex<Subject>,
    /// What the call may use of its key's limits. `None` if they need no count, and after the end.
    allowance: Mutex<Option<Box<Allowance>>>,
    /// The bytes of the request body; `None` if they are not counted.
    body: Option<Arc<ByteShare>>,
    /// The position in the queue for units. It is not watched, unless a door replaces it.
    pub queue_position: QueuePosition,
    pub(super) observation: Option<Observation>,
    guard: CallGuard,
    connection_cut: Option<ConnectionCut>,
    pub(super) deadline_observer: Option<Arc<dyn DeadlineObserver>>,
    has_ended: AtomicBool,
}

impl Call {
    /// A call with these headers, by the [`Identity`] among the extensions. Without an [`Arrival`]
    /// among them it has arrived now, and no drain ends it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if one of the gateway's own headers has a value that is not valid for it.
    /// [`Kind::Internal`] without an identity: a route that calls a service has the layer for
    /// authentication, which adds it.
    pub fn new(headers: &HeaderMap, extensions: &Extensions) -> Result<Self> {
        let Some(identity) = extensions.get::<Identity>() else {
            return Err(Error::internal("the request has not been authenticated"));
        };
        Ok(Self::from_parts(
            identity.clone(),
            RequestHeaders::parse(headers)?,
            extensions,
        ))
    }

    /// A call of the gateway itself, without a deadline.
    pub fn internal() -> Self {
        Self::from_parts(
            Identity::gateway(),
            RequestHeaders::default(),
            &Extensions::new(),
        )
    }

    fn from_parts(identity: Identity, headers: RequestHeaders, extensions: &Extensions) -> Self {
        let arrival = extensions.get::<Arrival>();
        let arrived_at = arrival.map_or_else(Instant::now, |arrival| arrival.at);
        let active_calls = arrival
            .map(|arrival| arrival.active_calls.clone())
            .unwrap_or_default();
        Self {
            arrived_at,
            deadline: headers.timeout.map(|timeout| arrived_at + timeout),
            header_timeout: headers.header_timeout,
            unary_via_stream: headers.unary_via_stream,
            fallbacks: headers.fallbacks,
            priority: headers.priority,
            wants_report: false,
            wants_queue: false,
            stats: CallStats::of(arrival.and_then(|arrival| arrival.observation.as_ref())),
            identity,
            rate: extensions.get().copied(),
            // Among the extensions of gRPC-Web. The REST door sets its own.
            door: extensions.get().copied().unwrap_or(Door::Grpc),
            rpc: None,
            ledger: arrival
                .map(|arrival| arrival.ledger.clone())
                .unwrap_or_default(),
            subject: Mutex::default(),
            allowance: Mutex::new(None),
            body: extensions.get().cloned(),
            queue_position: QueuePosition::unwatched(),
            observation: arrival.and_then(|arrival| arrival.observation.clone()),
            guard: active_calls.add(),
            connection_cut: arrival.map(|arrival| arrival.connection_cut.clone()),
            deadline_observer: arrival.and_then(|arrival| arrival.deadline_observer.clone()),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Waits for a part of the request body, until the caller's deadline or for
    /// [`BODY_TIMEOUT`](body_timeout::BODY_TIMEOUT).
    ///
    /// # Errors
    /// [`Kind::Timeout`].
    pub async fn receive<T>(&self, body: impl Future<Output = T>) -> Result<T> {
        body_timeout::receive(self.deadline, body).await
    }

    /// The bytes of the request body; `None` if they are not counted.
    pub fn body(&self) -> Option<&ByteShare> {
        self.body.as_deref()
    }

    /// Takes over the bytes of the request body, for what is made of it.
    pub(super) fn hold_body(&self) -> Option<HeldBytes> {
        self.body.as_ref().map(|body| body.hold())
    }

    /// Completes with the error of [`cut`](Self::cut) when the call is cut.
    pub(super) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<Error> {
        self.guard.watch(context);
        self.cut().map_or(Poll::Pending, Poll::Ready)
    }

    /// Why the call must end before its answer: the end of the drain cuts all calls, a revocation
    /// can cut those of its key, and the end of a connection cuts those of the connection.
    pub(super) fn cut(&self) -> Option<Error> {
        if self.guard.is_cut() {
            return Some(Error::draining());
        }
        if self
            .connection_cut
            .as_ref()
            .is_some_and(ConnectionCut::is_set)
        {
            return Some(Error::connection_ended());
        }
        self.identity.is_cut().then(|| {
            let message = "This gateway key was revoked, and its running calls were ended";
            Error::new(ErrorCode::InvalidApiKey, message)
        })
    }

    /// Ends the call: the answer is complete.
    pub(super) fn finish(&self) {
        self.end(Ending::Finished, None);
    }

    /// Ends the call with an error, and logs the error.
    pub(super) fn fail(&self, error: &Error) {
        self.log(error);
        self.end(Ending::Failed, Some(error));
    }

    /// Names the RPC of a call that no model answers, for the log and the metrics.
    pub(super) fn note_rpc(&self, name: &'static str) {
        if let Some(observation) = &self.observation {
            observation.note_rpc(name);
        }
    }

    /// Notes that the answer is a stream, which begins.
    pub(super) fn note_stream(&self) {
        if let Some(observation) = &self.observation {
            observation.note_stream();
        }
    }

    /// Notes something for the trace of the call, if it needs notes.
    pub(super) fn trace(&self, note: impl FnOnce(&CallTrace)) {
        if let Some(trace) = self.stats.sent.trace() {
            note(trace);
        }
    }

    /// Takes over what the call may use. It is settled at the end of the call.
    pub(super) fn set_allowance(&self, allowance: Allowance) {
        *self.allowance() = Some(Box::new(allowance));
    }

    /// Notes that the call holds `units` units from now on, for a request that it sends.
    pub(super) fn hold_units(&self, units: u32) {
        self.stats.hold_units(units, self.arrived_at.elapsed());
        if let Some(allowance) = &mut *self.allowance() {
            allowance.hold_units(units);
        }
    }

    /// Notes that the call holds no units any more.
    pub(super) fn release_units(&self) {
        self.stats.release_units(self.arrived_at.elapsed());
        if let Some(allowance) = &mut *self.allowance() {
            allowance.release_units();
        }
    }

    /// Tells what is left of the key's limits for a minute, and how much the answer may have.
    pub(super) fn describe_limits(&self, headers: &mut HeaderMap) {
        if let Some(rate) = self.rate {
            rate.add_to(RateUnit::Requests, headers);
        }
        if let Some(allowance) = &*self.allowance() {
            if let Some(rate) = allowance.rate() {
                rate.add_to(RateUnit::Tokens, headers);
            }
            if let Some(tokens) = allowance.max_tokens() {
                headers.insert(MAX_TOKENS, tokens.into());
            }
        }
    }

    fn allowance(&self) -> MutexGuard<'_, Option<Box<Allowance>>> {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, ending: Ending, error: Option<&Error>) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::debug!(id = self.id(), end = ending.name(), "call ended");
        let allowance = self.allowance().take();
        let is_recorded = self.rpc.is_some() && self.ledger.is_on();
        if allowance.is_none() && !is_recorded && self.observation.is_none() {
            return;
        }
        let duration = self.arrived_at.elapsed();
        let used = self.used(ending, error, duration);
        if let Some(allowance) = allowance {
            allowance.settle(used.amounts());
        }
        self.record(ending, error, &used, duration);
    }

    /// The id of the call in logs. Empty for a call that no request began.
    pub(super) fn id(&self) -> &str {
        let id = self.observation.as_ref().map(Observation::id);
        id.unwrap_or_default()
    }

    fn log(&self, error: &Error) {
        let (cause, id) = (error.cause(), self.id());
        let upstream_id = error.upstream_request_id().unwrap_or_default();
        match error.kind() {
            // The caller's fault, which the caller is told. The message is not logged, because it
            // may quote the upstream.
            Kind::Invalid
            | Kind::NotFound
            | Kind::WrongMethod
            | Kind::WrongMediaType
            | Kind::WrongFrame
            | Kind::Unauthenticated
            | Kind::TooLarge
            | Kind::Limited
            | Kind::Cancelled => {
                tracing::debug!(id, upstream_id, code = error.code(), cause, "refused");
            }
            _ if error.is_draining() => {
                tracing::debug!(id, code = error.code(), "ended by the drain")
            }
            // It concerns every call at that time, and has been logged once.
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
        self.end(Ending::Cancelled, None);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of_gateway() -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(Identity::gateway());
        extensions
    }

    #[tokio::test]
    async fn a_request_that_was_not_authenticated_is_no_call_of_any_key() {
        let refused = Call::new(&HeaderMap::new(), &Extensions::new()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Internal);
    }

    #[tokio::test]
    async fn the_sooner_of_two_timeouts_counts_and_a_bad_one_is_refused() {
        let mut headers = HeaderMap::new();
        let call = |headers: &HeaderMap| Call::new(headers, &of_gateway());
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
        let mut extensions = of_gateway();
        let arrived_at = Instant::now();
        extensions.insert(Arrival {
            at: arrived_at,
            active_calls: ActiveCalls::default(),
            connection_cut: ConnectionCut::default(),
            ledger: Ledger::default(),
            observation: None,
            deadline_observer: None,
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
