//! Begins the trace of each call: decides whether it is recorded, and takes its spans at its end.

use std::{borrow::Cow, sync::Arc};

use axum::extract::Request;
use http::Method;
use tokio::time::Instant;

use super::{
    call_trace::CallTrace,
    context::{Context, SAMPLED, SpanId, TraceId},
    otlp::Span,
    queue::Queue,
    sampler::Sampler,
};

/// Finds the route of a request: the template of its path, or the gRPC method without the first
/// slash. `None` for a path that is no route.
pub type RouteOf = dyn Fn(&Method, &str) -> Option<Cow<'static, str>> + Send + Sync;

/// What spans say of the gateway.
pub struct Names {
    /// Finds the route of a request.
    pub route_of: Arc<RouteOf>,
    /// The host of the upstream.
    pub upstream_host: Arc<str>,
    /// Its port.
    pub upstream_port: u16,
}

/// Begins the traces of calls. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    sampler: Sampler,
    queue: Queue,
    names: Names,
    /// Whether upstream gets the context.
    passes_on: bool,
}

impl Tracer {
    pub(super) fn new(sampler: Sampler, passes_on: bool, names: Names, queue: Queue) -> Self {
        Self(Arc::new(Inner {
            sampler,
            queue,
            names,
            passes_on,
        }))
    }

    /// Begins the trace of the call that `request` makes. `None` if nothing needs it. At most
    /// `path_bytes_max` bytes of the path are kept.
    pub(in crate::telemetry) fn begin(
        &self,
        request: &Request,
        arrived_at: Instant,
        path_bytes_max: usize,
    ) -> Option<Box<CallTrace>> {
        let caller = Context::of_caller(request.headers());
        let trace_id = match &caller {
            Some(caller) => caller.trace_id,
            None => TraceId::random(),
        };
        let is_sampled = self.0.sampler.samples(caller.as_ref(), trace_id);
        if !is_sampled && !self.0.passes_on {
            return None;
        }
        let parent = caller.as_ref().map(|caller| caller.span_id);
        let flags = caller.as_ref().map_or(0, |caller| caller.flags) & !SAMPLED;
        let context = Context {
            trace_id,
            span_id: SpanId::random(),
            flags: flags | if is_sampled { SAMPLED } else { 0 },
            state: caller.and_then(|caller| caller.state),
        };
        let path = request.uri().path();
        let path = path.get(..path.floor_char_boundary(path_bytes_max));
        Some(Box::new(CallTrace::new(
            self.clone(),
            (context, parent),
            is_sampled,
            arrived_at,
            (request.method().clone(), path.unwrap_or_default().into()),
        )))
    }

    /// How many spans were lost.
    pub fn lost_spans(&self) -> u64 {
        self.0.queue.lost()
    }

    pub(super) fn passes_on(&self) -> bool {
        self.0.passes_on
    }

    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }

    pub(super) fn record(&self, spans: Vec<Span>) {
        self.0.queue.push(spans);
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer")
            .field("sampler", &self.0.sampler)
            .field("passes_on", &self.0.passes_on)
            .finish_non_exhaustive()
    }
}
