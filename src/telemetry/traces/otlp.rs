//! The messages of OTLP, as far as spans need them.

pub(super) use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_client::TraceServiceClient,
    },
    common::v1::KeyValue,
    trace::v1::{
        ResourceSpans, Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ScopeSpans, SpanFlags},
};

use crate::build_info;

/// The flag of a span which tells whether its parent is in another process.
pub(super) const FLAG_KNOWN_REMOTE: u32 = SpanFlags::ContextHasIsRemoteMask as u32;

/// The flag of a span whose parent is in another process.
pub(super) const FLAG_REMOTE: u32 = SpanFlags::ContextIsRemoteMask as u32;

/// An attribute with a text.
pub(super) fn text(name: &str, value: impl Into<String>) -> KeyValue {
    attribute(name, Value::StringValue(value.into()))
}

/// An attribute with a whole number.
pub(super) fn int(name: &str, value: impl TryInto<i64>) -> KeyValue {
    attribute(name, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

/// An attribute with a number.
pub(super) fn double(name: &str, value: f64) -> KeyValue {
    attribute(name, Value::DoubleValue(value))
}

/// An attribute with a truth value.
pub(super) fn bool(name: &str, value: bool) -> KeyValue {
    attribute(name, Value::BoolValue(value))
}

/// The request with these spans of the process that `resource` describes.
pub(super) fn request(
    resource: &[(String, String)],
    spans: Vec<Span>,
) -> ExportTraceServiceRequest {
    let attributes = resource.iter().map(|(name, value)| text(name, value));
    let scope = InstrumentationScope {
        name: "featherwire".to_owned(),
        version: build_info::VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
