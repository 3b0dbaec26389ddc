//! What the trace of one call gets to know until its end, as plain data. Only the spans of a call
//! that is recorded need it, so for other calls nothing is noted.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::Method;
use tokio::time::Instant;

use super::{
    context::{Context, ContextHeaders, SpanId, TraceId},
    spans,
};
use crate::{
    error::{Error, Refusal},
    telemetry::{finished::FinishedCall, traces::tracer::Tracer},
};

/// The largest number of attempts of one call with a span each.
const ATTEMPTS_MAX: usize = 32;

/// The largest number of events of one call.
const EVENTS_MAX: usize = 128;

/// Something that happens in a call, and is an event of its span.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// The call got its units.
    UnitsGranted {
        /// How many.
        units: u32,
        /// How long it waited for them.
        waited: Duration,
    },
    /// The first token of a streamed answer came.
    FirstToken,
    /// The request is sent to the same model again.
    Retry {
        /// The code of the error before.
        code: Cow<'static, str>,
        /// The wait before.
        wait: Duration,
    },
    /// Another model is asked.
    Fallback {
        /// The model before.
        from: Arc<str>,
        /// The model that is asked now.
        to: Arc<str>,
        /// The code of the error of the model before.
        code: Cow<'static, str>,
    },
    /// Upstream refused the request for want of units.
    UpstreamRefusal,
}

impl TraceEvent {
    /// The model `to` is asked because `from` failed with `error`.
    pub fn fallback(from: &Arc<str>, to: &Arc<str>, error: &Error) -> Self {
        Self::Fallback {
            from: Arc::clone(from),
            to: Arc::clone(to),
            code: Refusal::from(error).code,
        }
    }

    /// The request is sent to the same model again, after `error` and this `wait`.
    pub fn retry(error: &Error, wait: Duration) -> Self {
        let code = Refusal::from(error).code;
        Self::Retry { code, wait }
    }
}

/// The trace of one call.
pub struct CallTrace {
    tracer: Tracer,
    /// The context of the call's own span.
    pub(super) context: Context,
    /// The span of the caller.
    pub(super) parent: Option<SpanId>,
    /// Whether spans are made. If not, the context is only passed on.
    is_sampled: bool,
    pub(super) arrived_at: Instant,
    began: SystemTime,
    pub(super) method: Method,
    pub(super) path: Box<str>,
    notes: Mutex<Notes>,
}

/// What is noted while the call runs.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) attempts: Vec<Attempt>,
    pub(super) events: Vec<(Instant, TraceEvent)>,
    /// Events that were too many.
    pub(super) events_left_out: u32,
    /// Whether upstream streams the answer.
    pub(super) is_streamed: bool,
}

/// A request that was sent upstream.
pub(super) struct Attempt {
    pub(super) span_id: SpanId,
    pub(super) model: Box<str>,
    pub(super) began: Instant,
    pub(super) answered: Option<Instant>,
    /// When and why it failed. `None` if it ended with the call.
    pub(super) failure: Option<(Instant, Cow<'static, str>)>,
}

impl CallTrace {
    pub(super) fn new(
        tracer: Tracer,
        (context, parent): (Context, Option<SpanId>),
        is_sampled: bool,
        arrived_at: Instant,
        (method, path): (Method, Box<str>),
    ) -> Self {
        Self {
            tracer,
            context,
            parent,
            is_sampled,
            arrived_at,
            began: SystemTime::now(),
            method,
            path,
            notes: Mutex::default(),
        }
    }

    /// The id of the trace, if the call is recorded.
    pub(in crate::telemetry) fn recorded_id(&self) -> Option<impl fmt::Display + use<>> {
        self.is_sampled.then_some(self.context.trace_id)
    }

    /// Notes whether upstream streams the answers.
    pub fn set_streamed(&self, is_streamed: bool) {
        self.note(|notes| notes.is_streamed = is_streamed);
    }

    /// Notes that a request for `model` is sent upstream. Returns the headers for it, if the trace
    /// is passed on.
    pub fn begin_attempt(&self, model: Option<&str>) -> Option<Box<ContextHeaders>> {
        let span_id = SpanId::random();
        self.note(|notes| {
            if notes.attempts.len() < ATTEMPTS_MAX {
                notes.attempts.push(Attempt {
                    span_id,
                    model: model.unwrap_or_default().into(),
                    began: Instant::now(),
                    answered: None,
                    failure: None,
                });
            }
        });
        match self.tracer.passes_on() {
            true => self.context.with_span(span_id).headers(),
            false => None,
        }
    }

    /// Notes that the last request failed.
    pub fn fail_attempt(&self, error: &Error) {
        self.note(|notes| {
            if let Some(attempt) = notes.attempts.last_mut()
                && attempt.failure.is_none()
            {
                attempt.failure = Some((Instant::now(), Refusal::from(error).code));
            }
        });
    }

    /// Notes that the answer to the last request has begun.
    pub fn begin_answer(&self) {
        self.note(|notes| {
            let now = Instant::now();
            if let Some(attempt) = notes.attempts.last_mut() {
                attempt.answered = Some(now);
            }
            if notes.is_streamed {
                notes.add((now, TraceEvent::FirstToken));
            }
        });
    }

    /// Notes an event, which is made only if it is needed.
    pub fn add_event(&self, event: impl FnOnce() -> TraceEvent) {
        self.note(|notes| notes.add((Instant::now(), event())));
    }

    /// Makes the spans of the call, which has ended.
    pub(in crate::telemetry) fn end(
        &self,
        call: &FinishedCall<'_>,
        http_status: Option<u16>,
        request_id: &str,
    ) {
        if self.is_sampled {
            let notes = std::mem::take(&mut *self.notes());
            let names = self.tracer.names();
            let spans = spans::of_call(self, notes, names, call, http_status, request_id);
            self.tracer.record(spans);
        }
    }

    /// The time of the clock at this instant of the call, in nanoseconds since 1970.
    pub(super) fn unix_nanos(&self, at: Instant) -> u64 {
        let time = self.began + at.saturating_duration_since(self.arrived_at);
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since_epoch.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn trace_id(&self) -> TraceId {
        self.context.trace_id
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        if self.is_sampled {
            note(&mut self.notes());
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // No code panics while it holds the lock.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn add(&mut self, event: (Instant, TraceEvent)) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        } else {
            self.events_left_out += 1;
        }
    }
}
