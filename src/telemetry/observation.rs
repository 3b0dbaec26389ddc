//! What is seen of one request, from its arrival to its end. The last holder who lets go of it
//! writes the log line, counts the call in the metrics, and makes its spans if it is recorded.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{extract::Request, response::Response};
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use tracing::Level;

use super::{
    door,
    finished::{CallEnd, End, FinishedCall},
    line::{Line, Name, name},
    log,
    metrics::CallMetrics,
    traces::{CallTrace, Tracer},
};
use crate::error::Refusal;

/// The header, and gRPC metadata key, of a call's id, which the caller or the gateway chooses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may choose, in bytes. The gateway replaces a longer one.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The longest path that is logged, in bytes.
const PATH_BYTES_MAX: usize = 256;

/// The module that the log lines of calls name. `--log` can give it a level of its own.
const TARGET: &str = "featherwire::calls";

/// Sees all requests of a server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    /// Counts calls.
    pub metrics: CallMetrics,
    /// Begins their traces. `None` if there are no traces.
    pub tracer: Option<Tracer>,
}

/// What the log says of a call. The fields tell the rest.
const CALL_LINE: &str = "call";

/// What is seen of one request. Requests, answers, query strings and keys are not.
#[derive(Clone)]
pub struct Observation(Arc<Inner>);

struct Inner {
    id: HeaderValue,
    arrived_at: Instant,
    door: &'static str,
    /// Probes come all the time. Those that succeed are logged at `debug`, and not counted.
    is_probe: bool,
    /// The method and the path. `None` if no line is logged.
    head: Option<(Method, Box<str>)>,
    metrics: CallMetrics,
    /// `None` if there are no traces, or if this call is in none.
    trace: Option<Box<CallTrace>>,
    state: Mutex<State>,
}

/// What becomes known by and by.
#[derive(Default)]
struct State {
    rpc: Option<&'static str>,
    /// The HTTP status of the response, when its head is ready.
    status: Option<u16>,
    /// The error that the response is.
    error: Option<Refusal>,
    call: Option<CallEnd>,
    is_stream: bool,
}

impl Observation {
    /// Begins with the head of `request`. Gives it an id, if its caller has not chosen one.
    pub fn start(request: &Request, observer: &Observer) -> Self {
        let arrived_at = Instant::now();
        let id = match request.headers().get(REQUEST_ID) {
            Some(id) if is_id(id) => id.clone(),
            _ => new_id(),
        };
        let path = request.uri().path();
        let is_probe = is_probe(path);
        let head = tracing::enabled!(target: TARGET, Level::INFO).then(|| {
            let end = path.floor_char_boundary(PATH_BYTES_MAX);
            let path = path.get(..end).unwrap_or_default();
            (request.method().clone(), path.into())
        });
        let trace = match &observer.tracer {
            Some(tracer) if !is_probe => tracer.begin(request, arrived_at, PATH_BYTES_MAX),
            _ => None,
        };
        Self(Arc::new(Inner {
            id,
            arrived_at,
            door: door::of(request),
            is_probe,
            head,
            metrics: observer.metrics.clone(),
            trace,
            state: Mutex::default(),
        }))
    }

    /// The id of the call: printable ASCII, at most 128 bytes.
    pub fn id(&self) -> &str {
        // A printable one is a text.
        self.0.id.to_str().unwrap_or_default()
    }

    /// When the head of the request had come.
    pub fn arrived_at(&self) -> Instant {
        self.0.arrived_at
    }

    /// The trace of the call. `None` if nothing is to be noted for it.
    pub fn trace(&self) -> Option<&CallTrace> {
        self.0.trace.as_deref()
    }

    /// Notes which RPC is called, by its name in the contract. [`CallEnd`] tells it of calls that
    /// models answer.
    pub fn note_rpc(&self, rpc: &'static str) {
        self.0.state().rpc = Some(rpc);
    }

    /// Notes that the answer is a stream, which begins.
    pub fn note_stream(&self) {
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.is_stream, true) {
            self.0.metrics.begin_stream();
        }
    }

    /// Notes how the call of the request ended.
    pub fn note_end(&self, call: CallEnd) {
        self.0.state().call = Some(call);
    }

    /// Notes the head of the response, and tells the caller the id.
    pub fn answer(self, response: &mut Response) {
        let mut state = self.0.state();
        state.status = Some(response.status().as_u16());
        state.error = Refusal::of_response(response.extensions());
        drop(state);
        response.headers_mut().insert(REQUEST_ID, self.0.id.clone());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.is_stream {
            self.metrics.end_stream();
        }
        let is_quiet = self.is_probe && state.error.is_none();
        if is_quiet && !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return;
        }
        let call = state.call.as_ref();
        // A call that is dropped without an end has one if the response says so.
        let of_call = call.filter(|call| call.end != End::Cancelled || state.error.is_none());
        let (end, error) = match of_call {
            Some(call) => (call.end, call.error.as_ref()),
            None if state.error.is_some() => (End::Failed, state.error.as_ref()),
            None if state.status.is_some() => (End::Finished, None),
            None => (End::Cancelled, None),
        };
        let finished = FinishedCall {
            door: self.door,
            rpc: call.and_then(|call| call.rpc).or(state.rpc),
            key: call.map(|call| &*call.key),
            end,
            error,
            duration: call.map_or_else(|| self.arrived_at.elapsed(), |call| call.duration),
            model: call.and_then(|call| call.model.as_ref()),
        };
        if !is_quiet {
            self.metrics.record(&finished);
        }
        if let Some(trace) = &self.trace {
            let id = self.id.to_str().unwrap_or_default();
            trace.end(&finished, state.status, id);
        }
        if let Some((method, path)) = &self.head {
            let level = if is_quiet { Level::DEBUG } else { Level::INFO };
            log::write(level, TARGET, CALL_LINE, |line| {
                line.text_field(name!("method"), method.as_str());
                // An RPC has one path for each door.
                if finished.rpc.is_none() {
                    line.text_field(name!("path"), path);
                }
                write(line, &finished, state.status);
                line.text_field(name!("id"), self.id.to_str().unwrap_or_default());
                if let Some(id) = self.trace.as_ref().and_then(|trace| trace.recorded_id()) {
                    line.text_field(name!("trace_id"), &id.to_string());
                }
            });
        }
    }
}

/// Writes the fields of a call. What it does not have has no field.
fn write(line: &mut Line<'_>, call: &FinishedCall<'_>, http_status: Option<u16>) {
    let known_text = |line: &mut Line<'_>, name: &Name, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            line.text_field(name, value);
        }
    };
    line.word_field(name!("door"), call.door);
    if let Some(rpc) = call.rpc {
        line.word_field(name!("rpc"), rpc);
    }
    known_text(line, name!("key"), call.key);
    if let Some(model) = call.model {
        known_text(line, name!("model"), Some(&model.model));
        if model.asked != model.model {
            known_text(line, name!("model_asked"), Some(&model.asked));
        }
    }
    line.word_field(name!("end"), call.end.name());
    line.known_field(name!("status"), http_status.map(u64::from));
    let grpc_status = match (call.door, call.end) {
        ("rest", _) => None,
        (_, End::Finished) => Some("OK"),
        (_, End::Cancelled) => Some("CANCELLED"),
        (_, End::Failed) => call.error.map(|error| error.grpc),
    };
    if let Some(status) = grpc_status {
        line.word_field(name!("grpc_status"), status);
    }
    known_text(line, name!("code"), call.error.map(|error| &*error.code));
    if let Some(model) = call.model {
        line.number_field(name!("waited_ms"), model.waited_ms);
        line.known_field(name!("first_token_ms"), model.first_token_ms);
    }
    let duration = u64::try_from(call.duration.as_millis()).unwrap_or(u64::MAX);
    line.number_field(name!("duration_ms"), duration);
    if let Some(model) = call.model {
        line.number_field(name!("prompt_tokens"), model.tokens.prompt);
        line.number_field(name!("completion_tokens"), model.tokens.completion);
        line.number_field(name!("units"), model.units);
        // What nearly all calls have in common is left out: lines are many, and their bytes cost.
        if model.attempts != 1 {
            line.number_field(name!("attempts"), model.attempts);
        }
        if model.fallbacks > 0 {
            line.number_field(name!("fallbacks"), model.fallbacks);
        }
        if call.end == End::Failed {
            let id = model.upstream_request_id.as_deref();
            known_text(line, name!("upstream_id"), id);
        }
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation")
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

/// Whether load balancers and monitors ask for `path` all the time.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics") || path.starts_with("/grpc.health.v1.")
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// 32 random hexadecimal digits. Each call has an id, and `format!` takes several times as long.
fn new_id() -> HeaderValue {
    let mut bits = fastrand::u128(..);
    let id: [u8; 32] = std::array::from_fn(|_| {
        let digit = (bits & 0xf) as u8;
        bits >>= 4;
        if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        }
    });
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
