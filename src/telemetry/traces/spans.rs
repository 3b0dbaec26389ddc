//! The spans of a call that has ended: one for the call, and one for each request that was sent
//! upstream. Their names and attributes follow OpenTelemetry's conventions for HTTP, RPC and
//! generative AI; those that begin with `featherwire.` are our own. docs/tracing.md lists them.
//!
//! No attribute has a text of a prompt or an answer, a key or a query string.

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

use super::{
    call_trace::{Attempt, CallTrace, Notes, TraceEvent},
    otlp::{
        Event, FLAG_KNOWN_REMOTE, FLAG_REMOTE, KeyValue, Span, SpanKind, Status, StatusCode, bool,
        double, int, text,
    },
    tracer::Names,
};
use crate::telemetry::{
    finished::{End, FinishedCall},
    metrics::operation_of,
};

/// The name of the provider in OpenTelemetry's conventions for generative AI.
const PROVIDER: &str = "featherless";

/// The type of the error of a call that its caller has left.
const CANCELLED: &str = "cancelled";

/// The codes of gRPC, in the order of their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The codes with which a server failed. With the others, the caller did something wrong.
const FAULTS_OF_SERVERS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// The spans of a call: its own, and those of its attempts.
pub(super) fn of_call(
    trace: &CallTrace,
    notes: Notes,
    names: &Names,
    call: &FinishedCall<'_>,
    http_status: Option<u16>,
    request_id: &str,
) -> Vec<Span> {
    let end = trace.arrived_at + call.duration;
    let mut spans = Vec::with_capacity(1 + notes.attempts.len());
    let last = notes.attempts.len().saturating_sub(1);
    for (place, attempt) in notes.attempts.iter().enumerate() {
        let answers = (place == last).then_some(call);
        let span = of_attempt(trace, attempt, notes.is_streamed, names, call, answers, end);
        spans.push(span);
    }
    let events = notes.events.into_iter();
    let events = events.flat_map(|(at, event)| events_of(trace, at, event));
    let route = (names.route_of)(&trace.method, &trace.path);
    let error = error_type(call);
    spans.push(Span {
        parent_span_id: trace
            .parent
            .map_or_else(Vec::new, |id| id.0.to_be_bytes().into()),
        flags: flags(trace, trace.parent.is_some()),
        name: name(trace, call, route.as_deref()),
        kind: SpanKind::Server.into(),
        events: events.collect(),
        dropped_events_count: notes.events_left_out,
        status: Some(status(is_fault(call, http_status), error.as_deref())),
        attributes: attributes(trace, call, route.as_deref(), http_status, request_id),
        ..span(trace, trace.context.span_id.0, (trace.arrived_at, end))
    });
    spans
}

fn span(trace: &CallTrace, id: u64, (began, ended): (Instant, Instant)) -> Span {
    Span {
        trace_id: trace.trace_id().0.to_be_bytes().into(),
        span_id: id.to_be_bytes().into(),
        trace_state: trace
            .context
            .state
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        start_time_unix_nano: trace.unix_nanos(began),
        end_time_unix_nano: trace.unix_nanos(ended.max(began)),
        ..Span::default()
    }
}

fn flags(trace: &CallTrace, has_remote_parent: bool) -> u32 {
    let remote = if has_remote_parent { FLAG_REMOTE } else { 0 };
    u32::from(trace.context.flags) | FLAG_KNOWN_REMOTE | remote
}

fn status(is_fault: bool, message: Option<&str>) -> Status {
    match is_fault {
        true => Status {
            code: StatusCode::Error.into(),
            message: message.unwrap_or_default().to_owned(),
        },
        false => Status::default(),
    }
}

/// The name of the span of a call. It has few values, so it has no path but that of a route.
fn name(trace: &CallTrace, call: &FinishedCall<'_>, route: Option<&str>) -> String {
    match (call.door, route) {
        ("rest", Some(route)) => format!("{} {route}", trace.method),
        ("rest", None) => trace.method.to_string(),
        (_, Some(method)) => method.to_owned(),
        (_, None) => call.door.to_owned(),
    }
}

fn attributes(
    trace: &CallTrace,
    call: &FinishedCall<'_>,
    route: Option<&str>,
    http_status: Option<u16>,
    request_id: &str,
) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(24);
    if call.door == "rest" {
        attributes.push(text("http.request.method", trace.method.as_str()));
        attributes.push(text("url.path", &*trace.path));
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(http_status.map(|status| int("http.response.status_code", status)));
    } else {
        let system = match call.door {
            "connect" => "connect_rpc",
            _ => "grpc",
        };
        attributes.push(text("rpc.system", system));
        if let Some((service, method)) = route.and_then(|route| route.split_once('/')) {
            attributes.push(text("rpc.service", service));
            attributes.push(text("rpc.method", method));
        }
        match (call.door, call.error) {
            ("connect", Some(error)) => {
                let code = error.grpc.to_ascii_lowercase();
                attributes.push(text("rpc.connect_rpc.error_code", code));
            }
            ("connect", None) => {}
            _ => attributes.push(int("rpc.grpc.status_code", grpc_code(call))),
        }
    }
    attributes.extend(error_type(call).map(|error| text("error.type", error)));
    attributes.push(text("featherwire.door", call.door));
    attributes.push(text("featherwire.end", call.end.name()));
    attributes.push(text("featherwire.request_id", request_id));
    attributes.extend(call.key.map(|key| text("featherwire.key", key)));
    attributes.extend(call.rpc.map(|rpc| text("featherwire.rpc", rpc)));
    if let Some(model) = call.model {
        if !model.model.is_empty() {
            attributes.push(text("featherwire.model", &*model.model));
        }
        attributes.push(int("featherwire.waited_ms", model.waited_ms));
        attributes.push(int("featherwire.units", model.units));
        attributes.push(int("featherwire.unit_ms", model.unit_ms));
        attributes.push(int("featherwire.attempts", model.attempts));
        attributes.push(int("featherwire.fallbacks", model.fallbacks));
        let first_token = model.first_token_ms;
        attributes.extend(first_token.map(|ms| int("featherwire.first_token_ms", ms)));
    }
    attributes
}

/// The span of one request that was sent upstream. `answers` is the call, if it is the last one.
fn of_attempt(
    trace: &CallTrace,
    attempt: &Attempt,
    is_streamed: bool,
    names: &Names,
    call: &FinishedCall<'_>,
    answers: Option<&FinishedCall<'_>>,
    end: Instant,
) -> Span {
    let operation = operation_of(call.rpc.unwrap_or_default());
    let ended = attempt.failure.as_ref().map_or(end, |(at, _)| *at);
    let code = match (&attempt.failure, answers) {
        (Some((_, code)), _) => Some(code.clone()),
        (None, Some(call)) => error_type(call),
        (None, None) => None,
    };
    let is_fault = code.as_deref().is_some_and(|code| code != CANCELLED);
    let model = &*attempt.model;
    let mut attributes = Vec::with_capacity(16);
    attributes.push(text("gen_ai.operation.name", operation));
    attributes.push(text("gen_ai.provider.name", PROVIDER));
    attributes.push(text("gen_ai.request.model", model));
    attributes.push(bool("gen_ai.request.stream", is_streamed));
    attributes.push(text("server.address", &*names.upstream_host));
    attributes.push(int("server.port", names.upstream_port));
    attributes.extend(code.as_deref().map(|code| text("error.type", code)));
    if let Some(answered) = attempt.answered {
        attributes.push(text("gen_ai.response.model", model));
        if is_streamed {
            let after = answered.saturating_duration_since(attempt.began);
            let name = "gen_ai.response.time_to_first_chunk";
            attributes.push(double(name, after.as_secs_f64()));
        }
        if let Some(end) = answers.and_then(|call| call.model) {
            attributes.push(int("gen_ai.usage.input_tokens", end.tokens.prompt));
            attributes.push(int("gen_ai.usage.output_tokens", end.tokens.completion));
        }
    }
    let end_of_model = answers.and_then(|call| call.model);
    let upstream_id = end_of_model.and_then(|model| model.upstream_request_id.as_deref());
    attributes.extend(upstream_id.map(|id| text("featherwire.upstream_request_id", id)));
    Span {
        parent_span_id: trace.context.span_id.0.to_be_bytes().into(),
        flags: flags(trace, false),
        name: format!("{operation} {model}"),
        kind: SpanKind::Client.into(),
        status: Some(status(is_fault, code.as_deref())),
        attributes,
        ..span(trace, attempt.span_id.0, (attempt.began, ended))
    }
}

/// The events for something that happened. Units that came after a wait are two events.
fn events_of(trace: &CallTrace, at: Instant, event: TraceEvent) -> Vec<Event> {
    let made = |at: Instant, name: &str, attributes: Vec<KeyValue>| Event {
        time_unix_nano: trace.unix_nanos(at),
        name: name.to_owned(),
        attributes,
        ..Event::default()
    };
    match event {
        TraceEvent::UnitsGranted { units, waited } => {
            let mut events = Vec::with_capacity(2);
            if waited >= Duration::from_millis(1) {
                let since = at.checked_sub(waited).unwrap_or(at);
                events.push(made(since, "queued", Vec::new()));
            }
            let attributes = vec![
                int("featherwire.units", units),
                int("featherwire.waited_ms", milliseconds(waited)),
            ];
            events.push(made(at, "units_granted", attributes));
            events
        }
        TraceEvent::FirstToken => vec![made(at, "first_token", Vec::new())],
        TraceEvent::Retry { code, wait } => {
            let attributes = vec![
                text("error.type", code),
                int("featherwire.wait_ms", milliseconds(wait)),
            ];
            vec![made(at, "retry", attributes)]
        }
        TraceEvent::Fallback { from, to, code } => {
            let attributes = vec![
                text("featherwire.fallback.from", &*from),
                text("featherwire.fallback.to", &*to),
                text("error.type", code),
            ];
            vec![made(at, "fallback", attributes)]
        }
        TraceEvent::UpstreamRefusal => vec![made(at, "upstream_refusal", Vec::new())],
    }
}

/// The `error.type` of a call; `None` if it succeeded.
fn error_type(call: &FinishedCall<'_>) -> Option<Cow<'static, str>> {
    match (call.end, call.error) {
        (End::Finished, _) => None,
        (End::Cancelled, _) => Some(CANCELLED.into()),
        (End::Failed, Some(error)) if !error.code.is_empty() => Some(error.code.clone()),
        (End::Failed, Some(error)) => Some(error.grpc.into()),
        (End::Failed, None) => Some("_OTHER".into()),
    }
}

/// Whether the gateway, or what is behind it, is at fault.
fn is_fault(call: &FinishedCall<'_>, http_status: Option<u16>) -> bool {
    if call.end != End::Failed {
        return false;
    }
    match http_status {
        // A stream that has begun has the status of success.
        Some(status) if call.door == "rest" => !(400..500).contains(&status),
        _ => call
            .error
            .is_none_or(|error| FAULTS_OF_SERVERS.contains(&error.grpc)),
    }
}

fn grpc_code(call: &FinishedCall<'_>) -> u32 {
    let name = match (call.end, call.error) {
        (End::Finished, _) => "OK",
        (End::Cancelled, _) => "CANCELLED",
        (End::Failed, error) => error.map_or("UNKNOWN", |error| error.grpc),
    };
    let number = GRPC_CODES.iter().position(|code| *code == name);
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(2)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
