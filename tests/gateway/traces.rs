//! Traces: the spans of calls, as a collector gets them.

use std::time::Duration;

use featherwire::config::{Given, Serve};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};

use crate::support::{Collector, Gateway, collector::value};

mod context;
mod export;
mod spans;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

/// The header of a caller in this trace, which is recorded or not.
fn parent(flags: &str) -> String {
    format!("00-{TRACE_ID}-{CALLERS_SPAN}-{flags}")
}

/// Configures traces for this collector.
fn traced(config: &mut Serve, collector: &Collector) {
    config.tracing.otlp_endpoint = Some(Given::Value(collector.url()));
    config.tracing.trace_delay = Given::Value(Duration::from_millis(1));
}

async fn traced_gateway(upstream: std::net::SocketAddr, collector: &Collector) -> Gateway {
    Gateway::with(upstream, |config| traced(config, collector)).await
}

/// The span of a call, and the spans of its attempts in their order.
fn of_call(spans: &[Span]) -> (&Span, Vec<&Span>) {
    let of_kind = |kind: SpanKind| spans.iter().filter(move |span| span.kind == kind as i32);
    let mut calls = of_kind(SpanKind::Server);
    let call = calls.next().unwrap();
    assert!(calls.next().is_none(), "one call");
    let mut attempts: Vec<_> = of_kind(SpanKind::Client).collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    for attempt in &attempts {
        assert_eq!(attempt.trace_id, call.trace_id);
        assert_eq!(attempt.parent_span_id, call.span_id);
        assert!(attempt.start_time_unix_nano >= call.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano >= attempt.start_time_unix_nano);
    }
    (call, attempts)
}

#[track_caller]
fn has(span: &Span, expected: &[(&str, &str)]) {
    for (name, text) in expected {
        let found = value(&span.attributes, name);
        assert_eq!(found.as_deref(), Some(*text), "{name} of {}", span.name);
    }
}
